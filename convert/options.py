"""What a conversion is asked to do, and whether it could write what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convert.edgetpu import compiler
from convert.quantisation.calibration_data import SYNTHETIC
from convert.quantisation.scope import EVERYTHING, Scope
from convert.source.scaling import Scaling
from convert.tflite_file import batch, c_array
from covidnet_lite import files
from covidnet_lite.errors import ConversionError


@dataclass(frozen=True)
class Options:
    """What to convert and how; ``covidnet-lite convert --help`` says it in words.

    Attributes:
        network: ``.keras``, ``.h5``, SavedModel, ``.onnx``, ``.pt2`` or float ``.tflite``.
        out: the ``.tflite`` to write; with several schemes ``_SCHEME`` is added to its name.
        schemes: keys of :data:`convert.quantisation.scheme.SCHEMES`.
        calibration: a folder, a manifest, an ``.npz``, or ``synthetic``.
        ranges: recorded activations; read beside the network where neither is given.
        count: how many representative images.
        data: labelled images to fit and judge on.
        min_agreement: share of the held-out images on which int8 must name float's class.
        write_best: write the best there is, marked, where none reaches that share.
        scope: layers kept off 8 bits.
        report: a folder to write a report to.
        record: keep numbers beside the network, so that no image is needed next time.
        force: write over files that are there.
        labels, input_range, equalise, scaled, colour: see :func:`convert.source.network.load`.
        name, version, licence: for the manifest.
        target_error: share of wrong answers allowed before the network abstains.
        format: ``tflite``, or ``c-array`` for a C header beside each file.
        batch: more than 1 for a second file beside each, for so many images at a time.
        edgetpu: lint for the Edge TPU, and compile where the compiler is installed.
    """

    network: Path
    out: Path
    schemes: tuple[str, ...] = ("int8",)
    calibration: Path | None = None
    ranges: Path | None = None
    count: int | None = None
    data: Path | None = None
    min_agreement: float = 0.99
    write_best: bool = False
    scope: Scope = EVERYTHING
    report: Path | None = None
    record: bool = False
    force: bool = False
    labels: tuple[str, ...] | None = None
    input_range: tuple[float, float] | None = None
    equalise: bool | None = None
    scaled: Scaling | None = None
    colour: str = ""
    name: str = ""
    version: str = ""
    licence: str = ""
    target_error: float = 0.05
    edgetpu: bool = False
    format: str = "tflite"
    batch: int = 1

    @property
    def output_paths(self) -> dict[str, Path]:
        """Scheme -> the file it is written to."""
        several = len(self.schemes) > 1
        return {s: self.out.with_name(f"{self.out.stem}_{s}.tflite") if several else self.out for s in self.schemes}

    @property
    def stem(self) -> Path:
        """What is recorded beside the network begins with this."""
        return stem_of(self.network)

    @property
    def calibration_is_on_disk(self) -> bool:
        """Whether calibration names images, which may have labels and splits."""
        return self.calibration is not None and not self.calibration_is_synthetic and not self._is_npz

    @property
    def _is_npz(self) -> bool:
        return self.calibration is not None and self.calibration.suffix.lower() == ".npz"

    @property
    def calibration_is_synthetic(self) -> bool:
        """Whether the network makes its own."""
        return self.calibration == Path(SYNTHETIC)


def stem_of(network: Path) -> Path:
    """A network's path without the suffix of a file; a folder has none."""
    return network if network.is_dir() else network.with_suffix("")


def check_output_paths(options: Options) -> None:
    """Finds out before the long work that a file can't be written, or would replace another.

    Raises:
        ConversionError, OutputError: it can't, or would.
    """
    out = options.out
    if out.is_dir() or not out.name:
        raise ConversionError(f"{out}: is a folder; give the name of the .tflite to write")
    paths = list(options.output_paths.values())
    if options.edgetpu:
        if "int8" not in options.output_paths:
            raise ConversionError("--edgetpu: the Edge TPU runs int8 alone; put int8 among the --schemes")
        paths.append(compiler.name_beside(options.output_paths["int8"]))
    if options.format == "c-array":
        paths += [c_array.name_beside(path) for path in options.output_paths.values()]
    if options.batch > 1:
        paths += [batch.name_beside(path, options.batch) for path in options.output_paths.values()]
    for path in paths:
        for source in (options.network, options.ranges):
            if source is not None and path.exists() and source.exists() and path.samefile(source):
                raise ConversionError(f"{path}: is what the conversion is made from; choose another name with -o")
        if path.exists() and not options.force:
            raise ConversionError(f"{path}: is there already; pass --force to replace it, or -o for another name")
    _check_writable(out.parent)
    if options.report:
        _check_writable(options.report)
        existing = [name for name in ("report.json", "report.md") if (options.report / name).exists()]
        if existing and not options.force:
            raise ConversionError(f"{options.report / existing[0]}: is there already; pass --force to replace it")


def _check_writable(folder: Path) -> None:
    """Tries the nearest folder that is there; those below it are made when all has worked."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    files.check_folder(folder)
