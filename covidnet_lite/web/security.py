"""What stands in front of every request: host, origin, token; and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import Settings

# No inline script or style, nothing from elsewhere, in nobody's frame. Canvas exports are blobs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}
# The page itself holds nothing to protect; it asks for the token before it asks for anything else.
OPEN = ("/", "/healthz", "/model-card", "/openapi.json")
SAFE = ("GET", "HEAD", "OPTIONS")


class Guarded:
    """An ASGI application behind host, origin and token checks.

    Args:
        app: what is guarded.
        settings: token and allowed host names.
        counted: told ``(path, status)`` of every answer, that of a refusal too.
    """

    def __init__(self, app: ASGIApp, settings: Settings, counted: Callable[[str, int], None]) -> None:
        self.app, self.settings, self.counted = app, settings, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                self.counted(scope["path"], message["status"])
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, dressed)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not allowed_host(host, self.settings.hosts):
            return _no(421, f"this server is not called {host!r}; start it with --allow-host NAME if it is")
        if scope["method"] not in SAFE and not same_origin(headers, f"{scope['scheme']}://{host}"):
            return _no(403, "the request comes from another site's page; open this server's own page")
        public = path in OPEN or path.startswith("/static/")
        if self.settings.token is not None and not public and not self._shown(headers.get("authorization", "")):
            why = "that token is not the right one" if "authorization" in headers else "a token is needed"
            return _no(401, f"{why}: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return None

    def _shown(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        shown, wanted = token.strip().encode(), (self.settings.token or "").encode()
        return kind.lower() == "bearer" and hmac.compare_digest(shown, wanted)


def allowed_host(host: str, names: frozenset[str]) -> bool:
    """Whether a ``Host`` header names us: DNS rebinding needs a name, so every plain address is taken."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def same_origin(headers: Headers, ours: str) -> bool:
    """Whether a request that changes something comes from our own page, or from no page at all.

    Args:
        headers: of the request.
        ours: ``SCHEME://HOST:PORT`` at which it reached us, compared with its ``Origin`` as a whole.
    """
    if origins := headers.getlist("origin"):
        return [origin.lower() for origin in origins] == [ours.lower()]
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _no(code: int, error: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error}, code, headers)
