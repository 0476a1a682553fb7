"""The routes that answer: predictions for images, radiographs for a screen, and facts about the server."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

import anyio
import numpy.typing as npt
from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .. import __version__, files, metrics
from ..classifier import Classifier
from ..errors import BackendError, CovidNetLiteError, NoProcessError, OutputError
from ..evidence import heatmap
from ..evidence.maps import merge_others
from ..logs import coded
from ..network.interpreter import available_cores
from ..prediction import DISCLAIMER, Failure, Prediction
from ..radiograph import Radiograph
from ..site.drift import Report, drift_monitor
from ..troubles import Troubles
from ..unforeseen import unforeseen
from . import card
from .admission import Admission
from .recent import Recent
from .settings import Settings
from .uploads import NamedBytes, Upload, receive_upload

T = TypeVar("T")
log = logging.getLogger(__name__)

PART = 256 << 10  # bytes sent at a time; the next only when the client has received them
READERS, STORAGE = "readers", "storage"  # in the troubles
SCREEN = (1536, 1536)  # pixels; an image for a screen is not reduced below this


class Api:
    """The routes that classify and inform. Reading and inference run in threads, as many as there are cores."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self.classifier, self.settings = classifier, settings
        self._drift = drift_monitor(classifier.site, _log_drift)
        # The other half of the memory is for the decoded images.
        self.admission = Admission(max(32 << 20, settings.most_bytes), settings.waiting)
        self.metrics = metrics.Metrics(
            {"name": classifier.model.name, "sha256": classifier.model.sha256, "version": __version__},
            self._gauges,
        )
        self.troubles = Troubles()
        self._recent = Recent(settings.recent_bytes)
        self._workers = CapacityLimiter(available_cores())
        self._image_worker = CapacityLimiter(1)  # an image at full size takes far more memory than a classification

    async def classify(self, request: Request) -> Response:
        """``POST /v1/classify``."""
        evidence, recall = (request.query_params.get(flag, "") in ("1", "true") for flag in ("evidence", "recall"))
        async with receive_upload(request, self.settings, self.admission) as upload:
            results = [await self.work(self._classify, name, data, evidence) for name, data in upload.files]
            if recall:
                for result, (name, data) in zip(results, upload.files):
                    self._recent.add(result["image"], name, data)
        return JSONResponse({"results": results})

    async def image(self, request: Request) -> Response:
        """``POST /v1/picture``."""
        full = request.query_params.get("full", "") in ("1", "true")
        async with AsyncExitStack() as admission:
            upload = await admission.enter_async_context(receive_upload(request, self.settings, self.admission))
            radiograph = await self.work(self._read_for_screen, *only_file(upload), full, limiter=self._image_worker)
            return _Graymap(radiograph, admission.pop_all(), self.settings.seconds)

    async def recent_image(self, request: Request) -> Response:
        """``GET /v1/picture/{image}``."""
        full = request.query_params.get("full", "") in ("1", "true")
        side = request.query_params.get("side", "")
        name, data = self.recalled(request.path_params["image"])
        if not side:
            radiograph = await self.work(self._read_for_screen, name, data, full, limiter=self._image_worker)
        elif side.isdecimal() and 0 < int(side) <= SCREEN[0]:
            radiograph = await self.work(self._thumbnail, name, data, int(side), limiter=self._image_worker)
        else:
            raise HTTPException(400, f"side must be a number of pixels, {SCREEN[0]} at most")
        return _Graymap(radiograph, AsyncExitStack(), self.settings.seconds)

    def recalled(self, image: str) -> tuple[str, bytes]:
        """Name and bytes of one of the last uploads, by its hash.

        Raises:
            HTTPException: 404 the upload is no longer in memory.
        """
        upload = self._recent.get(image)
        if upload is None:
            raise HTTPException(404, "that image is not, or no longer, in memory; send it again")
        return upload

    async def card(self, request: Request) -> Response:
        """``GET /model-card``."""
        return HTMLResponse(await self.work(card.page, self.classifier.model))

    async def about(self, request: Request) -> Response:
        """``GET /v1/about``."""
        manifest, settings = self.classifier.manifest, self.settings
        facts = {
            "version": __version__,
            "model": self.classifier.model.name,
            "sha256": self.classifier.model.sha256,
            "site": self.classifier.site.to_dict() if self.classifier.site else None,
            "signed_by": self.classifier.model.signature.by,
            "licence": manifest.licence,
            "code_licence": "MIT",
            "labels": list(manifest.labels),
            "threshold": manifest.threshold,
            "negative": manifest.negative,
            "operating_point": manifest.operating_point.to_dict() if manifest.operating_point else None,
            "guard_limit": float(manifest.guard.limit) if manifest.guard else None,
            "runtime": self.classifier.runtime,
            "most_bytes": settings.most_bytes,
            "most_files": settings.most_files,
            "reviews": settings.reviews is not None,
            "keeps_pictures": settings.keep is not None,
            "evidence_colours": heatmap.colour_table().tolist(),
            "note": DISCLAIMER,
        }
        return JSONResponse(facts)

    async def health(self, request: Request) -> Response:
        """``GET /healthz``."""
        problems = await to_thread.run_sync(self._problems)
        return JSONResponse({"status": "ok", "model": self.classifier.model.name, "problems": problems})

    async def scrape(self, request: Request) -> Response:
        """``GET /metrics``."""
        return Response(self.metrics.text(), headers={"Content-Type": metrics.TYPE})

    def _gauges(self) -> dict[str, tuple[str, float]]:
        return {
            "upload_bytes": ("Bytes of uploads in memory.", float(self.admission.admitted)),
            "uploads_waiting": ("Uploads that wait for room.", float(self.admission.queued)),
            "resident_memory_bytes": ("Memory of the process.", metrics.resident_bytes()),
            **(self._drift.gauges() if self._drift else {}),
        }

    def _problems(self) -> list[str]:
        """What does not work while the server runs, in public words."""
        reviews, keep = self.settings.reviews, self.settings.keep
        if self.troubles.errors:
            with suppress(OutputError):
                for folder in filter(None, (keep, reviews and reviews.parent)):
                    files.check_writable(folder)
                self.troubles.over(STORAGE)
        return [error.public for error in self.troubles.errors]

    def _report(self, part: str, error: CovidNetLiteError) -> None:
        if self.troubles.note(part, error):
            log.error("%s", error, **coded(error.code))

    def judge(self, name: str, data: bytes) -> Prediction | Failure:
        """Classifies one image and counts the result; an image that cannot be read gives a failure."""
        try:
            result: Prediction | Failure = self.classifier.classify(NamedBytes(data, name))
        except (BackendError, NoProcessError):
            raise  # nothing is wrong with the image
        except CovidNetLiteError as error:
            result = Failure(name, error)
        self.troubles.over(READERS)
        self.metrics.image(result.status, getattr(result, "timings", {}))
        if self._drift and isinstance(result, Prediction):
            self._drift.add(result)
        return result

    def _read_for_screen(self, name: str, data: bytes, full: bool) -> Radiograph:
        return self.classifier.read(data, None if full else SCREEN, name)

    def _thumbnail(self, name: str, data: bytes, side: int) -> Radiograph:
        radiograph = self.classifier.read(data, (side, side), name)
        radiograph.image.thumbnail((side, side))
        return radiograph

    def _classify(self, name: str, data: bytes, evidence: bool) -> dict[str, Any]:
        try:
            return _fields(self.judge(name, data), data, evidence)
        except (BackendError, NoProcessError):
            raise
        except Exception as error:
            return _fields(Failure(name, unforeseen(name, error)), data, evidence)

    async def work(self, task: Callable[..., T], *args: Any, limiter: CapacityLimiter | None = None) -> T:
        """Runs a task in a thread, when one is free.

        Raises:
            HTTPException: 422 the image cannot be used; 500 the network cannot run; 503 no process can be started;
                504 the task took too long; 507 the disk takes nothing.
            Exception: whatever else the task raises; the application reports it.
        """
        try:
            with anyio.fail_after(self.settings.seconds):
                return await to_thread.run_sync(task, *args, limiter=limiter or self._workers)
        except TimeoutError:
            raise HTTPException(504, f"it took more than {self.settings.seconds:.0f} s; send a smaller image") from None
        except BackendError as error:
            raise HTTPException(500, str(error)) from error
        except NoProcessError as error:
            self._report(READERS, error)
            raise HTTPException(503, str(error), {"Retry-After": "10"}) from error
        except OutputError as error:
            self._report(STORAGE, error)
            raise HTTPException(507, str(error)) from error
        except CovidNetLiteError as error:
            raise HTTPException(422, str(error)) from error


def _log_drift(report: Report) -> None:
    if report.drifted:
        log.warning("drift: %s", report)


def only_file(upload: Upload) -> tuple[str, bytes]:
    """The only file of a form.

    Raises:
        HTTPException: 400 the form holds several files.
    """
    if len(upload.files) != 1:
        raise HTTPException(400, f"there are {len(upload.files)} files in the form; send one")
    return upload.files[0]


def _fields(result: Prediction | Failure, data: bytes, evidence: bool) -> dict[str, Any]:
    fields = {**result.to_dict(), "image": hashlib.sha256(data).hexdigest()}
    return {**fields, "evidence": strengths(result)} if evidence else fields


def strengths(result: Prediction | Failure) -> dict[str, dict[str, Any]] | None:
    """Label -> ``strength``, ``(h, w)`` rows of 0 to 1, and ``most``, the logits that correspond to 1.

    For each label, where it outweighs the others; and for "not NEGATIVE", where all others together outweigh the
    negative label, if the network names one. ``None`` where there is no map.
    """
    if isinstance(result, Failure) or result.evidence is None:
        return None
    names = list(result.probabilities)
    maps: list[tuple[str, npt.NDArray[Any], int]] = [(label, result.evidence, i) for i, label in enumerate(names)]
    if result.negative is not None:
        maps.append((f"not {result.negative}", merge_others(result.evidence, names.index(result.negative)), 1))
    return {
        name: {
            "strength": [[round(float(v), 4) for v in row] for row in heatmap.strength(evidence, i)],
            "most": round(heatmap.strongest(evidence), 4),
        }
        for name, evidence, i in maps
    }


class _Graymap(StreamingResponse):
    """A radiograph as Portable Graymap: 8 bits a pixel, without compression.

    Its memory stays reserved until the client has received it, for ``seconds`` at most.
    """

    def __init__(self, radiograph: Radiograph, admission: AsyncExitStack, seconds: float) -> None:
        self._admission, self._seconds = admission, seconds
        width, height = radiograph.image.size
        data = f"P5\n{width} {height}\n255\n".encode() + radiograph.image.tobytes()
        sizes = {"X-Original-Width": str(radiograph.width), "X-Original-Height": str(radiograph.height)}
        headers = {**sizes, "Content-Length": str(len(data))}
        super().__init__(_parts(data), media_type="image/x-portable-graymap", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._admission:
            with anyio.move_on_after(self._seconds):
                await super().__call__(scope, receive, send)


async def _parts(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), PART):
        yield data[at : at + PART]
