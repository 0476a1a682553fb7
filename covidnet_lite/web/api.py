"""What the server answers: images to predictions, pictures for the screen, and facts about itself."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import anyio
import numpy.typing as npt
from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .. import __version__, metrics, radiograph
from ..classifier import Classifier
from ..errors import BackendError, CovidNetLiteError
from ..evidence import heatmap
from ..evidence.maps import merge_others
from ..network.interpreter import available_cores
from ..prediction import DISCLAIMER, Failure, Prediction
from ..site.drift import Report, following
from ..unforeseen import unforeseen
from . import card
from .recent import Recent
from .settings import Settings
from .turnstile import Turnstile
from .uploads import NamedBytes, Upload, received

T = TypeVar("T")
log = logging.getLogger(__name__)

PART = 256 << 10  # bytes sent at a time; more only when the client has taken it
SCREEN = (1536, 1536)  # pixels; a picture for a screen is not reduced below this


class Api:
    """The routes that classify and tell. Reading and inference run in threads, as many as there are cores."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self.classifier, self.settings = classifier, settings
        self._drift = following(classifier.site, _log_drift)
        # Half of the room is for what decoding makes of it.
        self.turnstile = Turnstile(max(32 << 20, settings.most_bytes), settings.waiting)
        self.metrics = metrics.Metrics(
            {"name": classifier.model.name, "sha256": classifier.model.sha256, "version": __version__},
            self._gauges,
        )
        self._recent = Recent(settings.recent_bytes)
        self._workers = CapacityLimiter(available_cores())
        self._painter = CapacityLimiter(1)  # a picture at full size takes far more memory than a classification

    async def classify(self, request: Request) -> Response:
        """``POST /v1/classify``."""
        evidence, recall = (request.query_params.get(flag, "") in ("1", "true") for flag in ("evidence", "recall"))
        async with received(request, self.settings, self.turnstile) as upload:
            results = [await self.work(self._classify, name, data, evidence) for name, data in upload.files]
            if recall:
                for result, (name, data) in zip(results, upload.files):
                    self._recent.put(result["image"], name, data)
        return JSONResponse({"results": results})

    async def picture(self, request: Request) -> Response:
        """``POST /v1/picture``."""
        full = request.query_params.get("full", "") in ("1", "true")
        async with AsyncExitStack() as room:
            upload = await room.enter_async_context(received(request, self.settings, self.turnstile))
            film = await self.work(self._film, *only_file(upload), full, limiter=self._painter)
            return _Graymap(film, room.pop_all(), self.settings.seconds)

    async def recent_picture(self, request: Request) -> Response:
        """``GET /v1/picture/{image}``."""
        full = request.query_params.get("full", "") in ("1", "true")
        side = request.query_params.get("side", "")
        name, data = self.recalled(request.path_params["image"])
        if not side:
            film = await self.work(self._film, name, data, full, limiter=self._painter)
        elif side.isdecimal() and 0 < int(side) <= SCREEN[0]:
            film = await self.work(self._thumbnail, name, data, int(side), limiter=self._painter)
        else:
            raise HTTPException(400, f"side must be a number of pixels, {SCREEN[0]} at most")
        return _Graymap(film, AsyncExitStack(), self.settings.seconds)

    def recalled(self, image: str) -> tuple[str, bytes]:
        """Name and bytes of one of the last uploads, by its hash.

        Raises:
            HTTPException: 404 it is no longer in memory.
        """
        found = self._recent.get(image)
        if found is None:
            raise HTTPException(404, "that image is not, or no longer, in memory; send it again")
        return found

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
        return JSONResponse({"status": "ok", "model": self.classifier.model.name})

    async def scrape(self, request: Request) -> Response:
        """``GET /metrics``."""
        return Response(self.metrics.text(), headers={"Content-Type": metrics.TYPE})

    def _gauges(self) -> dict[str, tuple[str, float]]:
        return {
            "upload_bytes": ("Bytes of uploads in memory.", float(self.turnstile.inside)),
            "uploads_waiting": ("Uploads that wait for room.", float(self.turnstile.queued)),
            "resident_memory_bytes": ("Memory of the process.", metrics.resident_bytes()),
            **(self._drift.gauges() if self._drift else {}),
        }

    def judge(self, name: str, data: bytes) -> Prediction | Failure:
        """One image to its result, counted; what cannot be read becomes a failure."""
        try:
            result: Prediction | Failure = self.classifier.classify(NamedBytes(data, name))
        except BackendError:
            raise  # nothing is wrong with the image
        except CovidNetLiteError as error:
            result = Failure(name, error)
        self.metrics.image(result.status, getattr(result, "timings", {}))
        if self._drift and isinstance(result, Prediction):
            self._drift.add(result)
        return result

    def _film(self, name: str, data: bytes, full: bool) -> radiograph.Radiograph:
        return self.classifier.read(data, None if full else SCREEN, name)

    def _thumbnail(self, name: str, data: bytes, side: int) -> radiograph.Radiograph:
        film = self.classifier.read(data, (side, side), name)
        film.image.thumbnail((side, side))
        return film

    def _classify(self, name: str, data: bytes, evidence: bool) -> dict[str, Any]:
        try:
            return _told(self.judge(name, data), data, evidence)
        except BackendError:
            raise
        except Exception as error:
            return _told(Failure(name, unforeseen(name, error)), data, evidence)

    async def work(self, task: Callable[..., T], *args: Any, limiter: CapacityLimiter | None = None) -> T:
        """Runs a task in a thread, when one is free.

        Raises:
            HTTPException: 422 what was sent cannot be used; 500 the network cannot run; 504 it took too long.
            Exception: whatever else the task raises; the application's last catch reports it.
        """
        try:
            with anyio.fail_after(self.settings.seconds):
                return await to_thread.run_sync(task, *args, limiter=limiter or self._workers)
        except TimeoutError:
            raise HTTPException(504, f"it took more than {self.settings.seconds:.0f} s; send a smaller image") from None
        except BackendError as error:
            raise HTTPException(500, str(error)) from error
        except CovidNetLiteError as error:
            raise HTTPException(422, str(error)) from error


def _log_drift(report: Report) -> None:
    if report.drifted:
        log.warning("drift: %s", report)


def only_file(upload: Upload) -> tuple[str, bytes]:
    """The one file of a form.

    Raises:
        HTTPException: 400 there are several.
    """
    if len(upload.files) != 1:
        raise HTTPException(400, f"there are {len(upload.files)} files in the form; send one")
    return upload.files[0]


def _told(result: Prediction | Failure, data: bytes, evidence: bool) -> dict[str, Any]:
    told = {**result.to_dict(), "image": hashlib.sha256(data).hexdigest()}
    return {**told, "evidence": strengths(result)} if evidence else told


def strengths(result: Prediction | Failure) -> dict[str, dict[str, Any]] | None:
    """Whose evidence -> ``strength``, ``(h, w)`` rows of 0 to 1, and ``most``, the logits that 1 stands for.

    Of each label, where it outweighs the others; and of "not NEGATIVE", where all others together outweigh the
    negative, if the network says which that is. ``None`` where there is no map.
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
    """A radiograph as Portable Graymap: 8 bits a pixel as they are, which nothing has to be packed for.

    Its room is given back only when the client has taken it, or has had ``seconds`` to do so.
    """

    def __init__(self, film: radiograph.Radiograph, room: AsyncExitStack, seconds: float) -> None:
        self._room, self._seconds = room, seconds
        width, height = film.image.size
        data = f"P5\n{width} {height}\n255\n".encode() + film.image.tobytes()
        sizes = {"X-Original-Width": str(film.width), "X-Original-Height": str(film.height)}
        headers = {**sizes, "Content-Length": str(len(data))}
        super().__init__(_parts(data), media_type="image/x-portable-graymap", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._room:
            with anyio.move_on_after(self._seconds):
                await super().__call__(scope, receive, send)


async def _parts(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), PART):
        yield data[at : at + PART]
