"""Read, fit, run, judge: one radiograph from any source to a Prediction."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from . import radiograph
from .box import WHOLE, Box
from .codes import Code, Note
from .dicom_in.examination import Examination
from .errors import CovidNetLiteError, ModelError, NotAChestRadiograph, UnsignedNetworkWarning
from .evidence.place import Place, locate
from .network import model as models
from .network import trial
from .network.guard import is_blank
from .network.interpreter import Interpreter, available_cores
from .network.lungs import inside, load_finder, view
from .network.manifest import Manifest
from .network.preprocess import gray_table, levels, look_up, resize
from .prediction import Failure, Prediction, judge
from .radiograph import Source
from .unforeseen import unforeseen

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A radiograph on its way: the network's input, or why it never gets one."""

    name: str
    source: Source
    timings: dict[str, float]
    values: npt.NDArray[Any] | None = None
    refusal: str | None = None
    view: Box = WHOLE
    examination: Examination | None = None
    notes: tuple[Note, ...] = ()
    code: Code | None = None  # of the refusal


Outputs = list[npt.NDArray[Any]]  # as stored
_RELOADING = threading.Lock()


class Classifier:
    """A network, loaded once, for many radiographs and many threads."""

    def __init__(
        self,
        model: str | os.PathLike[str] = models.DEFAULT,
        runtime: str | None = None,
        threads: int | None = None,
        manifest: Manifest | None = None,
        exact: bool = False,
        edgetpu: str | None = None,
        read: Callable[..., radiograph.Radiograph] | None = None,
        unsigned: Literal["warn", "refuse", "allow"] = "warn",
    ) -> None:
        """Loads a network.

        Args:
            model: a shipped network's name, or the path of a ``.tflite``.
            runtime: ``litert``, ``tflite_runtime`` or ``tensorflow``; ``None`` takes the first installed.
            threads: for one inference; ``None`` for one a core, four at most.
            manifest: for a ``.tflite`` without one.
            exact: decode JPEG files in full before they are reduced.
            edgetpu: for a network compiled for the Edge TPU, which of several runs it: ``usb``, ``pci``, ``usb:N``,
                ``pci:N`` or ``:N``; ``None`` for the first found.
            read: reads a radiograph in place of :func:`covidnet_lite.radiograph.read`, as
                :meth:`covidnet_lite.readers.pool.Readers.read` does in a process of its own.

            unsigned: what becomes of a network that no trusted key has signed: it is used with a warning, refused, or
                used. It is run once in a process of its own before it is loaded into this one.

        Raises:
            ModelError: the network is missing, damaged, contradicts its manifest, is not signed where it must be, or
                ends a process that runs it.
            BackendError: no runtime takes it, or there is no Edge TPU for one that needs it.
        """
        self.model = models.load(model, manifest)
        self.manifest = self.model.manifest
        if self.model.signed.by is None and not self.model.is_shipped:  # else only its manifest is another
            _object_to(self.model, unsigned)
            trial.survive(self.model, runtime, threads, edgetpu)
        self._runtime, self._threads, self._edgetpu = runtime, threads, edgetpu
        self._orphans: list[Interpreter] = []
        self._spares: list[Interpreter] = []  # of one thread, for classify_many
        self._load()
        self._exact = exact
        self._reader = read

    def _load(self) -> None:
        self._interpreter = Interpreter(self.model, self._runtime, self._threads, self._edgetpu)
        load_finder(self.manifest.input, self._interpreter.runtime, str(self.model.path))
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def read(self) -> Callable[..., radiograph.Radiograph]:
        """What reads radiographs: here, or in a process of its own."""
        return self._reader or radiograph.read

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.manifest.labels

    @property
    def runtime(self) -> str:
        """The TFLite runtime in use."""
        return self._interpreter.runtime

    @property
    def edgetpu(self) -> bool:
        """Whether an Edge TPU runs the network."""
        return self._interpreter.edgetpu

    def classify(self, img: Source) -> Prediction:
        """Classifies one radiograph.

        Args:
            img: a path, bytes, a binary file, a PIL image, an array or a DICOM
                file; see :func:`covidnet_lite.radiograph.read`.

        Raises:
            InputError: ``img`` holds no readable image.
            MissingExtraError: a DICOM file, and pydicom is not installed.
            UnforeseenError: anything else went wrong; the log has its traceback.
        """
        return self._one(img, wait=True)

    def classify_many(self, images: Iterable[Source]) -> Iterator[Prediction | Failure]:
        """Classifies many, lazily and in order; one that cannot be read becomes a :class:`Failure`.

        As many at a time as there are cores: one is read while another is in the network, and where the network is
        taken a spare with one thread is made. An Edge TPU takes one after the other. An error that ``images`` itself
        raises ends the iteration.
        """
        from concurrent.futures import ThreadPoolExecutor  # one radiograph alone does without

        workers = available_cores()
        with ThreadPoolExecutor(workers, thread_name_prefix="covidnet-lite") as pool:
            waiting: deque[Future[Prediction | Failure]] = deque()
            try:
                for img in images:
                    waiting.append(pool.submit(self._one_of_many, img))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _one_of_many(self, img: Source) -> Prediction | Failure:
        try:
            return self._one(img, wait=False)
        except CovidNetLiteError as error:
            return Failure(radiograph.name_of(img), error)

    def _one(self, img: Source, wait: bool) -> Prediction:
        try:
            return self._judge(self._prepare(img), wait)
        except CovidNetLiteError:
            raise
        except Exception as error:
            raise unforeseen(radiograph.name_of(img), error) from error

    def _prepare(self, img: Source) -> _Prepared:
        name, start = radiograph.name_of(img), time.perf_counter()
        if hasattr(img, "read") and not isinstance(img, os.PathLike):
            img = radiograph.read_all(img, name)  # a stream is read once, but may be needed for the heat map
        try:
            spec = self.manifest.input
            found = self.read(img, spec.at_least, name, self._exact, spec.in_colour)
        except NotAChestRadiograph as objection:
            why = str(objection).removeprefix(f"{name}: ")
            return _Prepared(name, img, {"read": _ms(start)}, refusal=why, code=objection.code)
        image, examined = found.image, found.examination
        read, start = _ms(start), time.perf_counter()
        # A radiograph without contrast shows nothing; another picture may be of one colour and say much.
        empty = self.manifest.is_of_radiographs and is_blank(image)
        seen, blank = WHOLE, Code.BLANK if empty else None
        if spec.lungs and not blank:
            seen = view(image, spec, self._interpreter.runtime)
        small = resize(image, spec, seen)
        if seen != WHOLE and is_blank(small):
            blank = Code.BLANK_LUNGS
        if blank:
            timings = {"read": read, "fit": _ms(start)}
            return _Prepared(name, img, timings, None, blank.public, seen, examined, found.notes, blank)
        # Equalisation, normalisation and quantisation in one look-up: (channels, 256)[:, (h, w)].
        tables = self._interpreter.tables[:, gray_table(small, spec)]
        values = look_up(tables, levels(small, spec))
        return _Prepared(name, img, {"read": read, "fit": _ms(start)}, values, None, seen, examined, found.notes)

    def _run(self, values: npt.NDArray[Any], wait: bool = True) -> Outputs:
        """The network's outputs; while another thread has it, waits, or runs a spare one with one thread."""
        if self._pid != os.getpid():
            # Forked: the runtime's threads stayed behind, and freeing the interpreter would wait for them.
            with _RELOADING:
                if self._pid != os.getpid():
                    self._orphans.append(self._interpreter)
                    self._load()
        if self._lock.acquire(blocking=wait or self.edgetpu):
            try:
                return self._interpreter.run(values)
            finally:
                self._lock.release()
        try:
            spare = self._spares.pop()
        except IndexError:
            spare = Interpreter(self.model, self.runtime, threads=1)
        outputs = spare.run(values)
        self._spares.append(spare)
        return outputs

    def _judge(self, prepared: _Prepared, wait: bool = True) -> Prediction:
        name, timings = prepared.name, dict(prepared.timings)
        if prepared.values is None:
            return Prediction(
                name,
                "refused",
                (),
                prepared.refusal,
                {},
                timings,
                self.model.name,
                self.model.sha256,
                signed_by=self.model.signed.by,
                source=prepared.source,
                view=prepared.view,
                examination=prepared.examination,
                notes=prepared.notes,
                code=prepared.code,
            )
        start = time.perf_counter()
        outputs = self._run(prepared.values, wait)
        timings["run"], start = _ms(start), time.perf_counter()
        real = {name: self._interpreter.dequantise(i, outputs[i])[0] for name, i in self.manifest.outputs.items()}
        guard = self.manifest.guard
        distance = float(guard.distance(real["embedding"])) if guard else None
        wrongly = guard.shown_wrongly(real["embedding"]) if guard else None
        place, extent = _survey(real.get("evidence"), self.manifest, prepared)
        verdict = judge(real["logits"], distance, self.manifest, wrongly, place)
        seen = verdict.status != "refused"
        point, scale = self.manifest.operating_point, self.manifest.extent
        timings["judge"] = _ms(start)
        return Prediction(
            name, verdict.status, verdict.labels, verdict.reason, verdict.probabilities, timings,
            self.model.name, self.model.sha256, real.get("evidence") if seen else None, distance, prepared.source,
            prepared.view, prepared.examination, self.manifest.negative,
            extent if seen else None,
            scale.error if scale and seen and extent is not None else None,
            place if seen else None,
            point.track_record(verdict.labels) if point and verdict.labels else None,
            prepared.notes,
            verdict.code,
            self.model.signed.by,
        )  # fmt: skip


def _object_to(model: models.Model, unsigned: str) -> None:
    objection = f"{model.path}: {model.signed.objection}"
    if unsigned == "refuse":
        raise ModelError(
            f"{objection}; sign it (covidnet-lite models sign), or run it all the same with --allow-unsigned"
        )
    if unsigned == "warn":
        warnings.warn(f"{objection}; whoever made it decides what it answers", UnsignedNetworkWarning, stacklevel=3)


def _survey(
    evidence: npt.NDArray[np.float32] | None, manifest: Manifest, prepared: _Prepared
) -> tuple[Place | None, float | None]:
    """Where the positive evidence lies, and how much of the lungs is opaque, as far as the manifest tells how."""
    point, scale = manifest.operating_point, manifest.extent
    if point is None or evidence is None or not np.isfinite(evidence).all():
        return None, None
    negative, box = manifest.labels.index(point.negative), inside(prepared.view)
    orientation = prepared.examination.orientation if prepared.examination else ""
    place = locate(evidence, negative, box, scale.offset if scale else 0.0, point.inside_from, orientation)
    return place, scale(evidence, negative, box) if scale else None


def _ms(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


@lru_cache(maxsize=4)
def _cached(model: str, runtime: str | None, threads: int | None) -> Classifier:
    return Classifier(model, runtime, threads)


def classify(
    img: Source,
    model: str | os.PathLike[str] = models.DEFAULT,
    runtime: str | None = None,
    threads: int | None = None,
) -> Prediction:
    """Classifies one radiograph; the network stays loaded for the next call.

    See :class:`Classifier` for the arguments and the errors.
    """
    return _cached(os.fspath(model), runtime, threads).classify(img)
