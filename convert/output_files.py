"""What a conversion writes: the networks, their other forms, the records beside them and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.edgetpu import compiler, lint
from convert.judge import judgement, report
from convert.judge.judgement import path_beside
from convert.options import Options
from convert.quantisation import calibration_data
from convert.quantisation.calibration_data import CalibrationData
from convert.quantised_network import QuantisedNetwork
from convert.tflite_file import batch, c_array
from covidnet_lite import files


def write(
    options: Options,
    result: report.Report,
    calibration: CalibrationData | None,
    quantised: list[QuantisedNetwork],
    log: Callable[[str], Any],
) -> None:
    """Everything at once: all files or none."""
    contents: dict[Path, bytes | str] = {options.output_paths[c.scheme]: c.model.data for c in result.candidates}
    compiled, compiled_path = None, Path()
    if options.edgetpu:
        int8 = next(c for c in result.candidates if c.scheme == "int8")
        int8_path = options.output_paths["int8"]
        log("\n" + lint.text(lint.check(int8.model.data, int8_path.name), int8_path.name))
        compiled = compiler.compile_if_installed(replace(int8.model, path=int8_path))
        compiled_path = compiler.name_beside(int8_path)
    if compiled:
        contents.update({compiled_path: compiled.data, compiled_path.with_suffix(".log"): compiled.printed})
    if options.format == "c-array":
        for m in quantised:
            header_path = c_array.name_beside(options.output_paths[m.scheme])
            contents[header_path] = c_array.header(m.graph, m.manifest, header_path.name)
    batches = [
        (batch.name_beside(options.output_paths[m.scheme], options.batch), m) for m in quantised if options.batch > 1
    ]
    contents.update({path: batch.with_batch(m.graph, options.batch) for path, m in batches})
    if options.record:
        contents.update(_records(options.stem, result, calibration, quantised))
    if options.report:
        contents.update({options.report / name: content for name, content in result.contents().items()})
    files.write_all(contents)
    for c in result.candidates:
        log(f"wrote {options.output_paths[c.scheme]}  sha256 {c.model.sha256}")
    if options.format == "c-array":
        for c in result.candidates:
            log(f"wrote {c_array.name_beside(options.output_paths[c.scheme])}")
    for path, _ in batches:
        log(f"wrote {path}  for {options.batch} images at a time, without a manifest")
    if compiled:
        log(f"wrote {compiled_path}  {compiled.log.edge_tpu or 'some'} operations on the Edge TPU")
    if options.report:
        log(f"wrote {options.report / 'report.md'}")


def _records(
    stem: Path, result: report.Report, calibration: CalibrationData | None, quantised: list[QuantisedNetwork]
) -> dict[Path, bytes | str]:
    """What ``--record`` keeps beside the network: numbers instead of images."""
    contents: dict[Path, bytes | str] = {}
    if calibration is not None:
        attempt = result.attempts[-1] if result.attempts else None
        method = (attempt.fallback.name, attempt.clip, attempt.wide, attempt.fallback.base) if attempt else ("", "", ())
        recorded = attempt.calibration if attempt else calibration  # a fallback may have learnt more from the images
        contents[path_beside(stem, ".ranges.json")] = calibration_data.to_json(recorded, *method)
    position = next((i for i, m in enumerate(quantised) if m.scheme == "int8"), 0)
    contents.update(judgement.contents(quantised[position].judgement, stem))
    if quantised[position].scheme == "int8" and result.candidates[position].agreement:
        figures = report.figures("int8", result.candidates[position].agreement)
        contents[path_beside(stem, ".figures.json")] = json.dumps(figures, indent=1) + "\n"
    return contents
