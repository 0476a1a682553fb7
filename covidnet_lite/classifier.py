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

from . import radiograph as radiographs
from .box import WHOLE, Box
from .codes import Code
from .errors import CovidNetLiteError, ModelError, NotAChestRadiograph, UnsignedNetworkWarning
from .evidence import heatmap
from .evidence.maps import local_probabilities
from .evidence.place import Place, locate
from .network import model as models
from .network.guard import is_blank
from .network.interpreter import Interpreter, available_cores
from .network.lungs import load_finder, lung_box, view
from .network.manifest import Manifest
from .network.preprocess import prepare
from .prediction import Failure, Prediction, Verdict, judge
from .radiograph import Radiograph, Source
from .unforeseen import unforeseen

if TYPE_CHECKING:
    from concurrent.futures import Future

    from PIL import Image

    from .site.site import Site


@dataclass(frozen=True, eq=False)
class _Request:
    """A radiograph on its way to the network.

    Attributes:
        name: what to call it.
        source: where it was read from.
        timings: milliseconds of each stage so far.
        values: the network's input; or a verdict, where the network is not run.
        radiograph: as it was read; ``None`` where its header rules it out.
        view: the part of the radiograph that the network sees.
    """

    name: str
    source: Source
    timings: dict[str, float]
    values: npt.NDArray[Any] | Verdict
    radiograph: Radiograph | None = None
    view: Box = WHOLE


@dataclass(frozen=True, eq=False)
class _Localisation:
    """What the evidence map shows; the attributes are those of :class:`Prediction`."""

    evidence: npt.NDArray[np.float32] | None = None
    place: Place | None = None
    extent: float | None = None
    extent_error: float | None = None


_NO_LOCALISATION = _Localisation()
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
        read: Callable[..., Radiograph] | None = None,
        site: Site | str | os.PathLike[str] | None = None,
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
            site: the hospital whose thresholds apply, or the path of its file (docs/site.md).
            unsigned: whether a network that no trusted key has signed is used with a warning, refused, or used. It is
                run once in a process of its own before it is loaded into this one.

        Raises:
            SiteError: the site's file cannot be used, or was fitted for another network.
            ModelError: the network is missing, damaged, contradicts its manifest, is not signed where it must be, or
                ends a process that runs it.
            BackendError: no runtime takes it, or there is no Edge TPU for one that needs it.
        """
        self.model = models.load(model, manifest)
        self.site = _read_site(site) if isinstance(site, (str, os.PathLike)) else site
        manifest = self.model.manifest
        self.manifest = self.site.applied(manifest, self.model.sha256) if self.site else manifest
        self.on_prediction: Callable[[Prediction], None] | None = None  # called with each prediction
        if self.model.signature.by is None and not self.model.is_shipped:  # else only its manifest is another
            _check_signature(self.model, unsigned)
            from .network import trial  # its imports would cost every start some milliseconds

            trial.try_in_child(self.model, runtime, threads, edgetpu)
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
    def read(self) -> Callable[..., Radiograph]:
        """What reads radiographs: here, or in a process of its own."""
        return self._reader or radiographs.read

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.manifest.labels

    @property
    def identity(self) -> str:
        """Identifies what answers: the network's SHA-256, and the site's if there is one."""
        return self.model.sha256 + (f"+{self.site.digest}" if self.site else "")

    @property
    def runtime(self) -> str:
        """The TFLite runtime in use."""
        return self._interpreter.runtime

    @property
    def edgetpu(self) -> bool:
        """Whether an Edge TPU runs the network."""
        return self._interpreter.edgetpu

    def classify(self, img: Source, keep_image: bool = False) -> Prediction:
        """Classifies one radiograph.

        Args:
            img: a path, bytes, a binary file, a PIL image, an array or a DICOM
                file; see :func:`covidnet_lite.radiograph.read`.
            keep_image: keep the radiograph, reduced for a screen, in the prediction: one to four megabytes, for which
                its evidence map needs no second decoding.

        Raises:
            InputError: ``img`` holds no readable image.
            MissingExtraError: a DICOM file, and pydicom is not installed.
            UnforeseenError: anything else went wrong; the log has its traceback.
        """
        return self._classify(img, keep_image, wait=True)

    def classify_many(self, images: Iterable[Source], keep_images: bool = False) -> Iterator[Prediction | Failure]:
        """Classifies many radiographs, lazily and in order; one that cannot be read becomes a :class:`Failure`.

        Works on as many at a time as there are cores: one is read while another is in the network, and while the
        network is busy, another thread uses a spare one. An Edge TPU takes one after the other. An error that
        ``images`` itself raises ends the iteration. ``keep_images`` is as for :meth:`classify`; do not hold on to the
        predictions then, or memory holds all of their images.
        """
        from concurrent.futures import ThreadPoolExecutor  # one radiograph alone does without

        workers = available_cores()
        with ThreadPoolExecutor(workers, thread_name_prefix="covidnet-lite") as pool:
            waiting: deque[Future[Prediction | Failure]] = deque()
            try:
                for img in images:
                    waiting.append(pool.submit(self._classify_or_fail, img, keep_images))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def image_of(self, prediction: Prediction) -> Image.Image:
        """The radiograph of a prediction, reduced for a screen: as kept in the prediction, or else read again.

        Raises:
            InputError: the radiograph cannot be read any more.
        """
        if prediction.image is not None:
            return prediction.image
        assert prediction.source is not None, "only another program's prediction has no source"
        return self.read(prediction.source, heatmap.SIZE).image

    def _classify_or_fail(self, img: Source, keep_image: bool) -> Prediction | Failure:
        try:
            return self._classify(img, keep_image, wait=False)
        except CovidNetLiteError as error:
            return Failure(radiographs.name_of(img), error)

    def _classify(self, img: Source, keep_image: bool, wait: bool) -> Prediction:
        try:
            result = self._judge(self._prepare(img, keep_image), wait)
            if self.on_prediction:
                self.on_prediction(result)
            return result
        except CovidNetLiteError:
            raise
        except Exception as error:
            raise unforeseen(radiographs.name_of(img), error) from error

    def _prepare(self, img: Source, keep_image: bool) -> _Request:
        name, start = radiographs.name_of(img), time.perf_counter()
        if hasattr(img, "read") and not isinstance(img, os.PathLike):
            img = radiographs.read_all(img, name)  # a stream is read once, but may be needed for the heat map
        spec, options = self.manifest.input, {"display": heatmap.SIZE} if keep_image else {}
        try:
            radiograph = self.read(img, spec.at_least, name, self._exact, spec.in_colour, **options)
        except NotAChestRadiograph as objection:
            refusal = Verdict("refused", reason=str(objection).removeprefix(f"{name}: "), code=objection.code)
            return _Request(name, img, {"read": _ms(start)}, refusal)
        timings, start = {"read": _ms(start)}, time.perf_counter()
        # A radiograph without contrast shows nothing; another kind of image may be of one colour and still valid.
        if self.manifest.is_of_radiographs and is_blank(radiograph.image.histogram()):
            return _Request(name, img, {**timings, "fit": _ms(start)}, _blank(Code.BLANK), radiograph)
        prepared = prepare(radiograph.image, spec, view(radiograph.image, spec, self._interpreter.runtime))
        if prepared.view != WHOLE and is_blank(prepared.histogram):
            values: npt.NDArray[Any] | Verdict = _blank(Code.BLANK_LUNGS)
        else:
            values = prepared.values(self._interpreter.tables)
        return _Request(name, img, {**timings, "fit": _ms(start)}, values, radiograph, prepared.view)

    def _run(self, values: npt.NDArray[Any], wait: bool = True) -> Outputs:
        """The network's outputs; while another thread uses it, waits, or runs a spare one with one thread."""
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

    def _judge(self, request: _Request, wait: bool = True) -> Prediction:
        if isinstance(request.values, Verdict):
            return self._prediction(request, request.values, request.timings)
        start = time.perf_counter()
        outputs = self._run(request.values, wait)
        timings, start = {**request.timings, "run": _ms(start)}, time.perf_counter()
        real = {name: self._interpreter.dequantise(i, outputs[i])[0] for name, i in self.manifest.outputs.items()}
        guard = self.manifest.guard
        distance = float(guard.distance(real["embedding"])) if guard else None
        display_fault = guard.display_fault(real["embedding"]) if guard else None
        localisation = self._localise(real.get("evidence"), request)
        verdict = judge(real["logits"], distance, self.manifest, display_fault, localisation.place)
        timings["judge"] = _ms(start)
        if verdict.status == "refused":
            localisation = _NO_LOCALISATION
        return self._prediction(request, verdict, timings, distance, localisation)

    def _localise(self, evidence: npt.NDArray[np.float32] | None, request: _Request) -> _Localisation:
        """Where the positive evidence lies, and how much of the lungs is opaque, if the manifest defines these."""
        point, scale = self.manifest.operating_point, self.manifest.extent
        if point is None or evidence is None or not np.isfinite(evidence).all():
            return _Localisation(evidence)
        negative, box = self.manifest.labels.index(point.negative), lung_box(request.view)
        examination = request.radiograph.examination if request.radiograph else None
        orientation = examination.orientation if examination else ""
        local = local_probabilities(evidence, negative, scale.offset if scale else 0.0)
        place = locate(local, box, point.inside_from, orientation)
        if scale is None:
            return _Localisation(evidence, place)
        return _Localisation(evidence, place, scale(local, box), scale.error)

    def _prediction(
        self,
        request: _Request,
        verdict: Verdict,
        timings: dict[str, float],
        distance: float | None = None,
        localisation: _Localisation = _NO_LOCALISATION,
    ) -> Prediction:
        point, radiograph = self.manifest.operating_point, request.radiograph
        return Prediction(
            name=request.name,
            status=verdict.status,
            labels=verdict.labels,
            reason=verdict.reason,
            probabilities=verdict.probabilities,
            timings=timings,
            model=self.model.name,
            sha256=self.model.sha256,
            evidence=localisation.evidence,
            distance=distance,
            source=request.source,
            view=request.view,
            examination=radiograph.examination if radiograph else None,
            negative=self.manifest.negative,
            extent=localisation.extent,
            extent_error=localisation.extent_error,
            place=localisation.place,
            track_record=point.track_record(verdict.labels) if point and verdict.labels else None,
            notes=radiograph.notes if radiograph else (),
            code=verdict.code,
            site=self.site,
            image=radiograph.display if radiograph else None,
            signed_by=self.model.signature.by,
        )


def _check_signature(model: models.Model, unsigned: str) -> None:
    objection = f"{model.path}: {model.signature.objection}"
    if unsigned == "refuse":
        raise ModelError(
            f"{objection}; sign it (covidnet-lite models sign), or run it all the same with --allow-unsigned"
        )
    if unsigned == "warn":
        warnings.warn(f"{objection}; whoever made it decides what it answers", UnsignedNetworkWarning, stacklevel=3)


def _blank(code: Code) -> Verdict:
    return Verdict("refused", reason=code.public, code=code)


def _ms(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _read_site(path: str | os.PathLike[str]) -> Site:
    from .site import site as sites  # most have none

    return sites.read(path)


@lru_cache(maxsize=4)
def _cached(model: str, runtime: str | None, threads: int | None, site: Site | None) -> Classifier:
    return Classifier(model, runtime, threads, site=site)


def classify(
    img: Source,
    model: str | os.PathLike[str] = models.DEFAULT,
    runtime: str | None = None,
    threads: int | None = None,
    site: Site | str | os.PathLike[str] | None = None,
) -> Prediction:
    """Classifies one radiograph; the network stays loaded for the next call.

    See :class:`Classifier` for the arguments and the errors.
    """
    if isinstance(site, (str, os.PathLike)):
        site = _read_site(site)
    return _cached(os.fspath(model), runtime, threads, site).classify(img)
