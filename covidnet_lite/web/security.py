"""Checks every request's host, origin and token, and adds the security headers to every answer."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import Settings

# No inline script or style, nothing from other hosts, no frames. Canvas exports are blobs.
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
# The page itself needs no protection; it asks for the token before it requests anything else.
PUBLIC = ("/", "/healthz", "/model-card", "/openapi.json")
SAFE = ("GET", "HEAD", "OPTIONS")


class SecurityMiddleware:
    """Puts an ASGI application behind checks of host, origin and token.

    Args:
        app: the application.
        settings: token and allowed host names.
        count: called with ``(path, status)`` of every answer, including refusals.
    """

    def __init__(self, app: ASGIApp, settings: Settings, count: Callable[[str, int], None]) -> None:
        self.app, self.settings, self.count = app, settings, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                self.count(scope["path"], message["status"])
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not allowed_host(host, self.settings.hosts):
            return _error(421, f"this server is not called {host!r}; start it with --allow-host NAME if it is")
        if scope["method"] not in SAFE and not same_origin(headers, f"{scope['scheme']}://{host}"):
            return _error(403, "the request comes from another site's page; open this server's own page")
        public = path in PUBLIC or path.startswith("/static/")
        if self.settings.token is not None and not public and not self._has_token(headers.get("authorization", "")):
            message = "that token is not the right one" if "authorization" in headers else "a token is needed"
            return _error(401, f"{message}: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return None

    def _has_token(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        sent, expected = token.strip().encode(), (self.settings.token or "").encode()
        return kind.lower() == "bearer" and hmac.compare_digest(sent, expected)


def allowed_host(host: str, names: frozenset[str]) -> bool:
    """Whether a ``Host`` header names this server. DNS rebinding needs a name, so every plain address is accepted."""
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
        ours: ``SCHEME://HOST:PORT`` of the request, which its ``Origin`` must equal.
    """
    if origins := headers.getlist("origin"):
        return [origin.lower() for origin in origins] == [ours.lower()]
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _error(code: int, error: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error}, code, headers)
