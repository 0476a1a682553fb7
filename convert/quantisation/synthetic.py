"""Representative images made from the network itself, for those whose X-rays may not leave the hospital.

A batch-normalised network remembers the mean and the variance that each channel
had on its training images. Noise with the spectrum of radiographs is changed by
gradient descent until the network sees the same again, as in ZeroQ (Cai et al.,
CVPR 2020) and DeepInversion (Yin et al., CVPR 2020); the idea of calibrating from
these statistics is that of Data-Free Quantization (Nagel et al., ICCV 2019).

Where batch normalisation has been folded away, the same numbers can be kept in the
``.keras`` file; ``training/finetune.py`` does so.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.float_input import normalise
from convert.progress import track
from convert.source.frozen import only
from covidnet_lite.errors import ConversionError
from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec

ENTRY = "statistics.npz"  # beside network.ENTRY in a .keras file

Floats = npt.NDArray[np.float32]
Statistics = dict[str, tuple[Floats, Floats]]  # layer -> mean and standard deviation of each channel it puts out

STEPS = 25
BATCH = 16  # images optimised together: memory, and statistics that one batch can meet
STEP = 8.0  # gray levels, at first
CONFIDENCE = 0.99  # in its class, which each image is given in turn
WEIGHT = 1.5  # of the class against the statistics
TINT = 0.4  # of the colours against what all three share
SLOPE = 1.5  # amplitude ~ 1 / frequency ** SLOPE, as in mammograms (Burgess et al., Medical Physics 2001)


@dataclass(frozen=True, eq=False)
class Synthetic:
    """Images, and how near their statistics are to those of the training images.

    Attributes:
        images: ``(count, height, width)`` uint8, in colour ``(count, height, width, 3)``, as
            :func:`convert.quantisation.representative_images.pixels` returns images.
        matched: how many tensors' statistics were matched; 0 where the network keeps none.
        before, after: mean square deviation of channels' means and standard deviations, in units of the latter.
    """

    images: npt.NDArray[np.uint8]
    matched: int = 0
    before: float = 0.0
    after: float = 0.0


@dataclass(frozen=True, eq=False)
class _Target:
    """What a layer puts out on the images it was trained on: per channel, ``(channels,)`` float32."""

    layer: Any
    mean: Floats
    std: Floats


def make(
    model: Any | None, spec: InputSpec, count: int, seed: int = 0, statistics: Statistics | None = None
) -> Synthetic:
    """Images on which the network's batch statistics are those of its training images.

    Args:
        model: a Keras model that takes ``(n, height, width, 1 or 3)`` float32 as
            :func:`convert.float_input.normalise` makes it; ``None`` where there is only a ``.tflite``:
            then the images are smooth noise.
        spec: its input.
        count: how many.
        seed: the same seed gives the same images, on the same machine and versions.
        statistics: of layers without batch normalisation, from :func:`read_statistics`.

    Raises:
        ConversionError: the statistics belong to another network.
    """
    rng = np.random.default_rng(seed)
    noise = np.stack([_planes(rng, spec) for _ in range(count)])
    targets = _targets(model, statistics or {}) if model is not None else []
    if not targets:
        return Synthetic(_to_input(noise, spec))
    batches = np.array_split(noise, -(-count // BATCH))
    progress = track(batches, len(batches), "making synthetic images")
    results = [_match(model, targets, batch, spec) for batch in progress]
    images = _to_input(np.concatenate([batch for batch, *_ in results]), spec)
    before, after = (float(np.mean(d)) for d in zip(*(d[1:] for d in results)))
    return Synthetic(images, len(targets), before, after)


def record(model: Any, inputs: Floats) -> Statistics:
    """Statistics of every convolution and dense layer of a Keras model on ``(n, height, width, channels)`` inputs."""
    layers_with_kernel = [layer for layer in _layers(model) if hasattr(layer, "kernel")]
    sums: dict[str, npt.NDArray[np.float64]] = {}
    for start in range(0, len(inputs), BATCH):
        with _collect_outputs(layers_with_kernel) as outputs:
            model(inputs[start : start + BATCH], training=False)
        for layer, values in outputs:
            flat = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
            powers = np.stack([(flat**power).sum(axis=0) for power in range(3)])
            sums[layer.name] = sums.get(layer.name, 0.0) + powers
    means = {name: (total[1] / total[0], total[2] / total[0]) for name, total in sums.items()}
    return {
        name: (np.float32(mean), np.float32(np.sqrt(np.maximum(square - mean**2, 0))))
        for name, (mean, square) in means.items()
    }


def to_npz(statistics: Statistics) -> bytes:
    """Half precision, ``(2, channels)`` a layer; the same statistics give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, pair in sorted(statistics.items()):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.stack(pair).astype(np.float16), version=(1, 0))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), array.getvalue())
    return buffer.getvalue()


def read_statistics(path: Path) -> Statistics | None:
    """What :func:`training.fit.checkpoint.save` kept in a ``.keras`` file; ``None`` where there is nothing.

    Raises:
        ConversionError: the entry is damaged.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as file:
            if ENTRY not in file.namelist():
                return None
            with np.load(io.BytesIO(file.read(ENTRY)), allow_pickle=False) as arrays:
                pairs = {name: arrays[name].astype(np.float32) for name in arrays.files}
        return {name: (mean, std) for name, (mean, std) in pairs.items()}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConversionError(f"{path}: the statistics in it are damaged ({error}); save it again") from error


def _amplitudes(height: int, width: int) -> Floats:
    """How strong each frequency of a real Fourier transform is in a radiograph, ``(height, width // 2 + 1)``.

    Random coefficients times these make an image whose gray levels have standard deviation 1.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    amplitudes = frequency**-SLOPE
    return np.asarray(amplitudes * height * width / np.sqrt(4 * (amplitudes**2).sum()), np.float32)


def _noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """One smooth random image with every gray level equally often, ``(height, width)`` within 0..255."""
    amplitudes = _amplitudes(height, width)
    coefficients = rng.normal(size=amplitudes.shape) + 1j * rng.normal(size=amplitudes.shape)
    return _equalise_levels(np.fft.irfft2(coefficients * amplitudes, (height, width)))


def _equalise_levels(values: npt.NDArray[Any]) -> Floats:
    """The same order of pixels from dark to bright, with every gray level equally often."""
    rank = values.ravel().argsort().argsort()
    return np.asarray((rank.reshape(values.shape) + 0.5) / rank.size * 255, np.float32)


def _planes(rng: np.random.Generator, spec: InputSpec) -> Floats:
    """One random image, ``(1, height, width)``, in colour ``(3, height, width)``: mostly gray, as photographs are."""
    shared = _noise(rng, spec.height, spec.width)
    if not spec.in_colour:
        return shared[None]
    mixed = ((1 - TINT) * shared + TINT * _noise(rng, spec.height, spec.width) for _ in range(3))
    return np.stack([_equalise_levels(plane) for plane in mixed])


def _to_input(images: Floats, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """``(n, 1 or 3, height, width)`` levels -> what the device makes of such images, as if they showed lungs alone."""
    levels = np.rint(images).astype(np.uint8)
    if spec.in_colour:
        return np.moveaxis(levels, 1, -1)
    spec = replace(spec, lungs=b"")
    return np.stack([fit(Image.fromarray(plane), spec) for (plane,) in levels])


def _targets(model: Any, statistics: Statistics) -> list[_Target]:
    targets, unused = [], dict(statistics)
    for layer in _layers(model):
        if hasattr(layer, "moving_variance"):  # batch normalisation, of Keras 3 or 2
            variance = np.asarray(layer.moving_variance)
            std = np.sqrt(variance / (variance + layer.epsilon))
            mean = np.asarray(layer.beta) if layer.center else np.zeros_like(std)
            targets.append(_Target(layer, mean, std * np.abs(layer.gamma) if layer.scale else std))
        elif layer.name in unused:
            targets.append(_Target(layer, *unused.pop(layer.name)))
    foreign = [*unused, *(t.layer.name for t in targets if t.layer.output.shape[-1] != len(t.mean))]
    if foreign:
        raise ConversionError(
            f"the statistics of {', '.join(foreign[:5])} belong to another network; make the images without them"
        )
    return targets


def _layers(model: Any) -> Iterator[Any]:
    """Its layers, and those of models inside it."""
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else (layer,)


@contextlib.contextmanager
def _collect_outputs(layers: Sequence[Any]) -> Iterator[list[tuple[Any, Any]]]:
    """Collects what these layers put out while their model is called, however deep inside it they are."""
    outputs: list[tuple[Any, Any]] = []

    def recording(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **kwargs: Any) -> Any:
            out = call(*args, **kwargs)
            outputs.append((layer, out))
            return out

        return calling

    for layer in layers:
        layer.call = recording(layer, layer.call)
    try:
        yield outputs
    finally:
        for layer in layers:
            del layer.call  # the class's own again


def _match(model: Any, targets: list[_Target], images: Floats, spec: InputSpec) -> tuple[Floats, float, float]:
    """One batch of images, optimised; the distance before and after."""
    import keras
    import tensorflow as tf

    amplitudes = _amplitudes(spec.height, spec.width)
    if not spec.equalise:  # which would undo it
        amplitudes[0, 0] = amplitudes.max()  # brightness may change too
    shift, scale = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    change = keras.Variable(np.zeros((2, *images.shape[:2], *amplitudes.shape), np.float32))
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(STEP, STEPS))
    adam.build([change])

    first = np.asarray(_class_outputs(model(normalise(_to_input(images[:1], spec), spec), training=False)))
    probabilities = bool((first >= 0).all() and abs(first.sum() - 1) < 1e-4)

    def levels() -> Any:
        coefficients = tf.complex(change.value[0], change.value[1]) * amplitudes
        return tf.clip_by_value(images + tf.signal.irfft2d(coefficients, (spec.height, spec.width)), 0.0, 255.0)

    def step() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(change.value)
            inputs = (tf.transpose(levels(), (0, 2, 3, 1)) - shift) / scale
            distance, cross_entropy = _distance(model, targets, inputs, probabilities)
            loss = distance + WEIGHT * cross_entropy
        adam.apply([tape.gradient(loss, change.value, unconnected_gradients="zero")])
        return distance

    fast = tf.function(step, autograph=False)
    distances = [float(fast()) for _ in range(STEPS)]
    return np.asarray(levels()), distances[0], distances[-1]


def _distance(model: Any, targets: list[_Target], inputs: Any, probabilities: bool) -> tuple[Any, Any]:
    """How far the layers are from their statistics; the cross-entropy of a confident answer for each class in turn."""
    import tensorflow as tf

    by_layer = {id(target.layer): target for target in targets}
    with _collect_outputs([target.layer for target in targets]) as outputs:
        answers = _class_outputs(model(inputs, training=False))
    distances = []
    for layer, values in outputs:
        target = by_layer[id(layer)]
        mean, variance = tf.nn.moments(values, list(range(len(values.shape) - 1)))
        deviation = tf.square(mean - target.mean) + tf.square(tf.sqrt(variance + 1e-8) - target.std)
        distances.append(tf.reduce_mean(deviation / (1e-3 + np.square(target.std))))
    classes = answers.shape[-1]
    class_targets = np.eye(classes, dtype=np.float32)[np.arange(answers.shape[0]) % classes] * CONFIDENCE
    class_targets += (1 - CONFIDENCE) / classes
    log_probabilities = tf.math.log(answers + 1e-9) if probabilities else tf.nn.log_softmax(answers)
    return tf.reduce_mean(distances), -tf.reduce_mean(tf.reduce_sum(class_targets * log_probabilities, axis=-1))


def _class_outputs(out: Any) -> Any:
    """Logits or probabilities among a network's outputs, ``(n, classes)``."""
    import tensorflow as tf

    out = only(out)
    if isinstance(out, dict):
        out = out.get("logits", next(iter(out.values())))
    return out if len(out.shape) == 2 else tf.reduce_mean(out, axis=list(range(1, len(out.shape) - 1)))
