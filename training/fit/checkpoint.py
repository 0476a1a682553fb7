"""A fine-tuned network on disk: a ``.keras`` file that says its labels and its input.

Weights are stored in half precision, which Keras turns back into single
precision when it loads them; ``evaluate.py`` shows that nothing is lost. What
each layer puts out on training images may be kept too, as batch normalisation
does, so that images to calibrate with can be made from the network itself.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from convert.quantisation import synthetic
from convert.source.network import ENTRY, LUNGS
from covidnet_lite.errors import DatasetError
from covidnet_lite.network.input_spec import InputSpec

_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def save(
    network: keras.Model,
    path: Path,
    labels: tuple[str, ...],
    spec: InputSpec,
    facts: dict[str, Any],
    statistics: synthetic.Statistics | None = None,
) -> None:
    """Writes the network and, inside the same file, what a converter must know of it.

    Args:
        network: takes what ``spec`` prepares.
        path: the ``.keras`` file, written over where there is one.
        labels: in the order of the logits.
        spec: how a radiograph is prepared.
        facts: plain types, for the manifest.
        statistics: from :func:`convert.quantisation.synthetic.record`, for a network without batch normalisation.
    """
    saved_by_keras = path.with_name(f".{path.stem}.tmp.keras")
    network.save(saved_by_keras)
    temporary = path.with_name(f".{path.name}.tmp")
    with zipfile.ZipFile(saved_by_keras) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "metadata.json":  # holds the date, which would change the file's hash every day
                data = json.dumps({**json.loads(data), "date_saved": ""}).encode()
            target.writestr(
                zipfile.ZipInfo(name, _FIXED_TIME),
                _halved(data) if name.endswith(".h5") else data,
                zipfile.ZIP_DEFLATED,
            )
        entry = {"labels": list(labels), "input": spec.to_dict(), **facts}
        target.writestr(zipfile.ZipInfo(ENTRY, _FIXED_TIME), json.dumps(entry, indent=1), zipfile.ZIP_DEFLATED)
        if spec.lungs:
            target.writestr(zipfile.ZipInfo(LUNGS, _FIXED_TIME), spec.lungs, zipfile.ZIP_DEFLATED)
        if statistics:
            entry_info = zipfile.ZipInfo(synthetic.ENTRY, _FIXED_TIME)
            target.writestr(entry_info, synthetic.to_npz(statistics), zipfile.ZIP_DEFLATED)
    saved_by_keras.unlink()
    temporary.replace(path)


def load(path: Path, reference: keras.Model, labels: Sequence[str]) -> keras.Model:
    """A network that :func:`save` wrote, for use beside ``reference``: of the same input, map and labels.

    Raises:
        DatasetError: the file is missing or no such network, or differs in one of these.
    """
    try:
        network = keras.models.load_model(path, compile=False)
        with zipfile.ZipFile(path) as archive:
            saved_labels = json.loads(archive.read(ENTRY))["labels"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: is no network that training/finetune.py wrote ({error})") from error
    if list(saved_labels) != list(labels):
        raise DatasetError(f"{path}: knows {', '.join(saved_labels)}, and the recipe {', '.join(labels)}")
    for part, own, expected in (
        ("input", network.input.shape, reference.input.shape),
        ("evidence map", network.output["evidence"].shape, reference.output["evidence"].shape),
    ):
        if own[1:] != expected[1:]:
            raise DatasetError(f"{path}: its {part} is {own[1:]}, and that of the recipe's network {expected[1:]}")
    return network


def _halved(data: bytes) -> bytes:
    """An HDF5 file with every float32 array in half precision."""
    out = io.BytesIO()
    with h5py.File(io.BytesIO(data), "r") as source, h5py.File(out, "w", track_order=True) as target:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                half = values.astype(np.float16) if values.dtype == np.float32 else values
                copied = target.create_dataset(name, data=half, track_times=False)
            else:
                copied = target.require_group(name)
            copied.attrs.update(item.attrs)

        source.visititems(copy)
        target.attrs.update(source.attrs)
    return out.getvalue()
