"""The application: its routes, and what answers each."""

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
from .drain import DrainMiddleware
from .review_api import ReviewApi
from .security import SecurityMiddleware
from .settings import Settings

STATIC = Path(__file__).parent / "static"
FOLDERS = ("/static", "/v1/picture")  # the paths below each are counted as one
REVALIDATED = {"Cache-Control": "no-cache"}  # or a browser might use an older version's page with a newer server


def create(classifier: Classifier, settings: Settings) -> ASGIApp:
    """The whole application, guarded.

    Raises:
        OutputError: the file of the reviews cannot be used.
    """
    api = Api(classifier, settings)
    reviews = ReviewApi(api)
    manifest = classifier.manifest
    document = openapi.document(classifier.labels, settings, manifest.negative, manifest.licence)

    async def openapi_document(request: Request) -> Response:
        return JSONResponse(document)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=REVALIDATED)

    routes = [
        Route("/", page),
        Route("/v1/classify", api.classify, methods=["POST"]),
        Route("/v1/picture", api.image, methods=["POST"]),
        Route("/v1/picture/{image}", api.recent_image, methods=["GET"]),
        Route("/v1/reviews", reviews.all, methods=["GET"]),
        Route("/v1/reviews", reviews.add, methods=["POST"]),
        Route("/v1/reviews/manifest.csv", reviews.manifest),
        Route("/v1/about", api.about),
        Route("/model-card", api.card),
        Route("/openapi.json", openapi_document),
        Route("/healthz", api.health),
        Route("/metrics", api.scrape),
        Mount("/static", _Static(directory=STATIC)),
    ]
    paths = {route.path for route in routes if isinstance(route, Route)}

    def count(path: str, status: int) -> None:
        folder = next((folder for folder in FOLDERS if path.startswith(f"{folder}/")), "other")
        route = path if path in paths else folder
        api.metrics.request(route, status)

    application = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _http_error, ClientDisconnect: _disconnected, Exception: _server_error},  # type: ignore[dict-item]
    )
    return _CatchAllMiddleware(DrainMiddleware(SecurityMiddleware(application, settings, count), settings.seconds))


class _CatchAllMiddleware:
    """Catches exceptions before uvicorn, which would log their messages; Starlette raises them again after a reply."""

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


async def _http_error(request: Request, error: HTTPException) -> Response:
    # The rest of a body that was too long to drain would be taken for the next request.
    headers = {**(error.headers or {}), **({"Connection": "close"} if request.method == "POST" else {})}
    cause = error.__cause__
    code = {"code": cause.code} if isinstance(cause, CovidNetLiteError) else {}
    return JSONResponse({"error": error.detail, **code}, error.status_code, headers)


async def _disconnected(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # the client is gone


async def _server_error(request: Request, error: Exception) -> Response:
    report = error if isinstance(error, CovidNetLiteError) else unforeseen("the request", error)
    return JSONResponse({"error": str(report), "code": report.code}, 500)
