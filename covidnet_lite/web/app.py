"""The application: which route is answered by what."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from ..classifier import Classifier
from ..errors import CovidNetLiteError
from ..unforeseen import unforeseen
from . import openapi
from .api import Api
from .hearing_out import HearingOut
from .review_api import ReviewApi
from .security import Guarded
from .settings import Settings

STATIC = Path(__file__).parent / "static"
FOLDERS = ("/static", "/v1/picture")  # whose paths are counted as one
REVALIDATED = {"Cache-Control": "no-cache"}  # the page of an older version must not meet a newer server


def create(classifier: Classifier, settings: Settings) -> ASGIApp:
    """The whole application, guarded.

    Raises:
        OutputError: the reviews cannot be kept where they should.
    """
    api = Api(classifier, settings)
    reviews = ReviewApi(api)
    manifest = classifier.manifest
    described = openapi.document(classifier.labels, settings, manifest.negative, manifest.licence)

    async def description(request: Request) -> Response:
        return JSONResponse(described)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=REVALIDATED)

    routes = [
        Route("/", page),
        Route("/v1/classify", api.classify, methods=["POST"]),
        Route("/v1/picture", api.picture, methods=["POST"]),
        Route("/v1/picture/{image}", api.recent_picture, methods=["GET"]),
        Route("/v1/reviews", reviews.all, methods=["GET"]),
        Route("/v1/reviews", reviews.add, methods=["POST"]),
        Route("/v1/reviews/manifest.csv", reviews.manifest),
        Route("/v1/about", api.about),
        Route("/model-card", api.card),
        Route("/openapi.json", description),
        Route("/healthz", api.health),
        Route("/metrics", api.scrape),
        Mount("/static", _Static(directory=STATIC)),
    ]
    known = {route.path for route in routes if isinstance(route, Route)}

    def counted(path: str, status: int) -> None:
        folder = next((folder for folder in FOLDERS if path.startswith(f"{folder}/")), "other")
        route = path if path in known else folder
        api.metrics.request(route, status)

    application = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _told, ClientDisconnect: _left, Exception: _broken},  # type: ignore[dict-item]
    )
    return _LastCatch(HearingOut(Guarded(application, settings, counted), settings.seconds))


class _LastCatch:
    """Lets no exception through to uvicorn, which would log its words; Starlette does, after it has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            unforeseen("the request", error)


class _Static(StaticFiles):
    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        response = super().file_response(*args, **kwargs)
        response.headers.update(REVALIDATED)
        return response


async def _told(request: Request, error: HTTPException) -> Response:
    # What is left of a body that was too long to be heard out would be taken for the next request.
    headers = {**(error.headers or {}), **({"Connection": "close"} if request.method == "POST" else {})}
    cause = error.__cause__
    code = {"code": cause.code} if isinstance(cause, CovidNetLiteError) else {}
    return JSONResponse({"error": error.detail, **code}, error.status_code, headers)


async def _left(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _broken(request: Request, error: Exception) -> Response:
    told = error if isinstance(error, CovidNetLiteError) else unforeseen("the request", error)
    return JSONResponse({"error": str(told), "code": told.code}, 500)
