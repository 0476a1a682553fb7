"""Made-up TFLite files and a made-up compiler, for the tests of ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from convert.tflite_file.flatbuffer import portable


def unpacked(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def packed(contents: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(contents.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def results(data: bytes, seed: int = 0) -> list[Any]:
    """What a network puts out for noise."""
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    picture = np.random.default_rng(seed).integers(-128, 128, details["shape"], np.int8)
    interpreter.set_tensor(details["index"], picture)
    interpreter.invoke()
    return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]


class Net:
    """A graph, tensor by tensor."""

    def __init__(self) -> None:
        self.contents = schema.ModelT(version=3)
        self.graph = schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
        self.contents.subgraphs = [self.graph]
        self.contents.operatorCodes = []
        self.contents.buffers = [schema.BufferT()]

    def tensor(self, *shape: int, kind: str = "INT8", scales: int = 1, signature: Any = None) -> int:
        index = len(self.graph.tensors)
        quantization = schema.QuantizationParametersT(scale=[0.1] * scales, zeroPoint=[0] * scales)
        self.graph.tensors.append(
            schema.TensorT(
                shape=list(shape),
                type=getattr(schema.TensorType, kind),
                buffer=0,
                name=f"t{index}".encode(),
                quantization=quantization if scales else None,
                shapeSignature=signature,
                hasRank=True,
            )
        )
        return index

    def constant(self, values: Any, scales: int = 1) -> int:
        index = self.tensor(*values.shape, kind=str(values.dtype).upper(), scales=scales)
        self.graph.tensors[index].buffer = len(self.contents.buffers)
        self.contents.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        return index

    def op(self, name: str, inputs: list[int], outputs: list[int], version: int = 1, options: Any = None) -> None:
        builtin = getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=version)
        self.contents.operatorCodes.append(code)
        kind = type(options).__name__.removesuffix("T") if options else "NONE"
        self.graph.operators.append(
            schema.OperatorT(
                opcodeIndex=len(self.contents.operatorCodes) - 1,
                inputs=inputs,
                outputs=outputs,
                builtinOptions=options,
                builtinOptionsType=getattr(schema.BuiltinOptions, kind),
            )
        )

    def bytes(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        return packed(self.contents)


def as_compiled(data: bytes, reverse: bool = False, rename: bool = False) -> bytes:
    """A network as the compiler leaves it: one operation, the same inputs and outputs."""
    contents = unpacked(portable(data))
    graph = contents.subgraphs[0]
    contents.operatorCodes = [
        schema.OperatorCodeT(builtinCode=32, deprecatedBuiltinCode=32, customCode=b"edgetpu-custom-op")
    ]
    outputs = list(graph.outputs)[:: -1 if reverse else 1]
    graph.outputs = outputs
    graph.operators = [schema.OperatorT(opcodeIndex=0, inputs=list(graph.inputs), outputs=outputs)]
    if rename:
        graph.tensors[outputs[0]].name = b"other"
    return packed(contents)


def fake_compiler(folder: Path, log: str, result: bytes | None = None, code: int = 0, before: str = "") -> Path:
    """An ``edgetpu_compiler`` in a folder that says and writes what a test wants."""
    folder.mkdir()
    (folder / "log").write_text(log)
    if result is not None:
        (folder / "result").write_bytes(result)
    program = folder / "edgetpu_compiler"
    program.write_text(
        f"""#!/bin/sh
here={folder}
echo "$@" > $here/arguments
while [ $# -gt 1 ]; do
    case $1 in --out_dir) out=$2; shift 2;; --timeout_sec) shift 2;; *) shift;; esac
done
{before}
cp "$1" $here/given
name=$(basename "$1" .tflite)
cat $here/log
if [ -f $here/result ]; then cp $here/result "$out/${{name}}_edgetpu.tflite"; cp $here/log "$out/${{name}}_edgetpu.log"; fi
exit {code}
"""
    )
    program.chmod(0o755)
    return folder
