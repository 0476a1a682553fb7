"""Networks as C headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tflites import Net

from convert.tflite_file import c_array
from convert.tflite_file.flatbuffer import read
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest

MANIFEST = Manifest("net */ 1", ("a", "b"), InputSpec(4, 4, 1, (0.0,), (255.0,)))


def network() -> bytes:
    net = Net()
    image, one, two, out = (net.tensor(1, 4, 4, n) for n in (1, 8, 2, 2))
    net.op("RELU", [image], [one])
    net.op("RELU6", [one], [two])
    net.op("MEAN", [two], [out])
    return net.bytes([image], [out])


def test_the_most_that_lives_at_once_is_counted() -> None:
    assert c_array.peak(read(network(), "net")) == 16 * 8 + 16 * 2, "the second operation reads 8 and writes 2 channels"


def test_what_a_person_must_know_is_said() -> None:
    text = c_array.header(network(), MANIFEST, "my-net.h")
    for part in ("net * / 1: a, b", "MicroMutableOpResolver<3>: MEAN, RELU, RELU6", "mean 0, std 255", "#define MY_NET_ACTIVATION_BYTES 160",
                 "#define MY_NET_CLASSES 2", "#define MY_NET_INPUT_SCALE ", "#define MY_NET_LOGITS_ZERO_POINT "):  # fmt: skip
        assert part in text, part
    assert c_array.header(network(), MANIFEST, "2.h").count("#ifndef _2_H_") == 1


@pytest.mark.parametrize(("compiler", "language"), [("gcc", "c11"), ("g++", "c++17")])
def test_a_compiler_gets_the_same_bytes(compiler: str, language: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    (tmp_path / "net.h").write_text(c_array.header(network(), MANIFEST, "net.h"))
    source = tmp_path / ("main.c" if compiler == "gcc" else "main.cc")
    source.write_text(
        '#include <stdio.h>\n#include "net.h"\n'
        "int main(void) { fwrite(net, 1, sizeof net, stdout); return (int)((unsigned long)net % 16); }\n"
    )
    command = [compiler, f"-std={language}", "-Wall", "-Wextra", "-Werror", "-pedantic", str(source), "-o", "net"]
    subprocess.run(command, cwd=tmp_path, check=True)
    result = subprocess.run([tmp_path / "net"], capture_output=True)
    assert (result.returncode, result.stdout) == (0, network())
