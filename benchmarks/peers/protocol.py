"""How a peer is asked, so that each is a process of its own with its own Python, memory and start.

``python NAME.py MODEL LOGITS THREADS`` loads and prints ``ready``. For each path, a line of standard input, it does one
classification from file to label and prints its nanoseconds and the index of the highest logit, or ``failed`` and why.
At the end of its input it prints its peak memory in kB. Imports next to nothing, since cold starts are measured.
"""

import sys
import time


def arguments():
    """The network's file, the position of the logits among its outputs, and threads."""
    model, logits, threads = sys.argv[1:]
    return model, int(logits), int(threads)


def serve(classify):
    """Answers with ``classify(path)``, the index of a label, until the input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        path = line.rstrip("\n")
        start = time.perf_counter_ns()
        try:
            label = int(classify(path))
        except Exception as error:
            print("failed", type(error).__name__, *str(error).split(), flush=True)
        else:
            print(time.perf_counter_ns() - start, label, flush=True)
    print(peak())


def peak():
    """Peak memory of this process in kB (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
