"""A prediction -> DICOM instances for the study it came from (extra: ``dicom-out``).

A Structured Report states the network's answer, or that it abstained; a Secondary Capture shows the evidence map of an
answer. An abstention has none, since a hot spot would be read as a finding. Both belong to the patient and the study of
the source, in series of their own. Their UIDs are derived from the source, the network and the kind: the same
radiograph gives the same instances.
"""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from .. import files
from ..errors import MissingExtraError
from ..output import DICOM_RESULTS, shortened
from ..prediction import Prediction
from . import origin as dicom_origin
from . import secondary_capture, structured_report

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset


def require() -> None:
    """Checks that the extra is installed, before long work begins.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise MissingExtraError("DICOM results need the extra: pip install 'covidnet-lite[dicom-out]'") from None


def make(
    prediction: Prediction,
    source: str | os.PathLike[str] | bytes | Dataset,
    image: Image.Image | None = None,
    capture: bool | None = None,
) -> list[Dataset]:
    """The Structured Report and, where there is an answer and its evidence map, the Secondary Capture.

    Args:
        prediction: of ``source``.
        source: the DICOM file, by path or as bytes; or its header, where the image is known.
        image: the radiograph, for the Secondary Capture; ``None`` for the prediction's own, or else to read it again.
        capture: ``False`` for no Secondary Capture; ``True`` for one without an answer too, which shows the radiograph
            with the words and no evidence map, as long as the prediction has the image.

    Raises:
        InputError: the source is no DICOM file, or lacks a UID that results refer to.
        MissingExtraError: highdicom is not installed.
    """
    require()
    from pydicom.uid import ComputedRadiographyImageStorage

    origin, names = dicom_origin.read(source, prediction.name)
    kind = origin.SOPClassUID
    if kind.type != "SOP Class":  # a private class: highdicom knows only those of the standard
        origin.SOPClassUID = ComputedRadiographyImageStorage
    results = [structured_report.build(prediction, origin)]
    has_map = bool(prediction.labels) and prediction.evidence is not None
    display = image or prediction.image or (source if has_map else None)
    if display is not None and capture is not False and (has_map or (capture and not prediction.labels)):
        results.append(secondary_capture.build(prediction, origin, display))
    for result in results:
        result.update(names)
        if origin.SOPClassUID != kind:
            _set_class(result, kind)
    return results


def _set_class(result: Dataset, kind: str) -> None:
    """Sets the class of the source in every reference of a result to ``kind``."""

    def correct(_: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = kind

    result.walk(correct)


def write(prediction: Prediction, source: str | os.PathLike[str] | bytes, folder: Path) -> list[Path]:
    """Writes the results of :func:`make` as ``NAME.NUMBER.sr.dcm`` and ``NAME.NUMBER.sc.dcm``.

    The number, eight digits, is derived from the source, so that two radiographs with the same name do not collide.

    Raises:
        InputError, MissingExtraError: as for :func:`make`.
        OutputError: the folder cannot be written to; none of the files is written.
    """
    results = make(prediction, source)
    stem, number = PurePath(prediction.name).stem.strip("<>") or "image", results[0].SOPInstanceUID[-8:]
    contents = {
        Path(folder) / shortened(stem, f".{number}{suffix}"): encode(data)
        for suffix, data in zip(DICOM_RESULTS, results)
    }
    files.write_all(contents)
    return list(contents)


def encode(data: Dataset) -> bytes:
    """A DICOM object as a file."""
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
