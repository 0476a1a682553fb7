"""A made-up ``libedgetpu``, for tests where no Coral is at hand: it takes ``edgetpu-custom-op`` as the real one does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Of the C interface, as much as is touched; TensorFlow's common.h has all of it. A machine with one USB device, whose
# "network" copies its input to each output, over and over. The real library says nothing either when it finds no device.
SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct { int type; void *data; IntArray *dims; float scale; int zero_point; int allocation; size_t bytes;
                 const void *mapping; const char *name; void *delegate; int handle; char stale, variable;
                 int quantization; void *parameters, *sparsity; IntArray *signature; } Tensor;
typedef struct { IntArray *inputs, *outputs; } Node;
typedef struct Context Context;
typedef struct { void *init, *free; int (*prepare)(Context *, Node *); int (*invoke)(Context *, Node *);
                 void *profiling; int32_t builtin; const char *name; int version; void *external, *async;
                 uint64_t inplace; } Registration;
struct Context { size_t count; int (*plan)(Context *, IntArray **); Tensor *tensors; void *impl, *resize, *report, *add;
                 int (*node)(Context *, int, Node **, Registration **);
                 int (*replace)(Context *, Registration, const IntArray *, void *); };
typedef struct Delegate { void *data; int (*prepare)(Context *, struct Delegate *); void *from, *to, *free;
                          int64_t flags; void *opaque; } Delegate;

static int ready(Context *context, Node *node) { return 0; }

static int copy(Context *context, Node *node) {
#ifdef UNPLUGGED
    return 1;
#endif
    Tensor *in = context->tensors + node->inputs->data[0];
    for (int i = 0; i < node->outputs->size; i++) {
        Tensor *out = context->tensors + node->outputs->data[i];
        for (size_t k = 0; k < out->bytes; k++) ((char *)out->data)[k] = ((char *)in->data)[k % in->bytes];
    }
    return 0;
}

static int take(Context *context, Delegate *delegate) {
    Registration ours = {.prepare = ready, .invoke = copy, .name = "FakeEdgeTpu", .version = 1}, *found;
    IntArray *plan, *taken;
    Node *node;
    context->plan(context, &plan);
    taken = calloc(1 + plan->size, sizeof(int));
    for (int i = 0; i < plan->size; i++) {
        context->node(context, plan->data[i], &node, &found);
        if (found->name && !strcmp(found->name, "edgetpu-custom-op")) taken->data[taken->size++] = plan->data[i];
    }
#ifdef IDLE
    taken->size = 0;
#endif
    int status = context->replace(context, ours, taken, delegate);
    free(taken);
    return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
#ifdef NO_DEVICE
    return NULL;
#endif
    for (size_t i = 0; i < count; i++)
        if (!strcmp(keys[i], "device") && strcmp(values[i], "usb") && strcmp(values[i], "usb:0") && strcmp(values[i], ":0"))
            return NULL;
    Delegate *made = calloc(1, sizeof(Delegate));
    made->prepare = take;
    made->flags = 1;  // AllowDynamicTensors, as the real one: else the graph is prepared before it is taken
    return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
"""


def compiled_library(folder: Path, behaviour: str = "") -> Path:
    """The library, built; ``NO_DEVICE``, ``IDLE`` (it takes nothing) and ``UNPLUGGED`` (it fails when run) misbehave."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to build a made-up libedgetpu")
    source, library = folder / "fake.c", folder / f"libedgetpu{behaviour}.so.1"
    source.write_text(SOURCE)
    flags = ["-shared", "-fPIC", "-O1", *([f"-D{behaviour}"] if behaviour else [])]
    subprocess.run([compiler, *flags, source, "-o", library], check=True)
    return library
