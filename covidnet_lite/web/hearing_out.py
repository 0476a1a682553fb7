"""Reads what a client still sends after it has been answered.

A connection that is closed on unread bytes is reset, and the answer is often lost with it: a refused upload would look
like a broken server.
"""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import MB

MOST = 1024 * MB  # bytes that are read and thrown away
SILENCE = 5.0  # seconds for which a refused client may say nothing


class HearingOut:
    """An ASGI application that answers at once, and ends its answer only when the request has been heard out.

    Args:
        app: whose answers these are.
        seconds: after which a client is heard no longer.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        heard = False

        async def hearing() -> Message:
            nonlocal heard
            message = await receive()
            heard = not message.get("more_body", False)  # a client that has left says no more, either
            return message

        async def answering(message: Message) -> None:
            if heard or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(self.seconds):
                left = MOST
                while not heard and left > 0:
                    with anyio.move_on_after(SILENCE) as silence:
                        left -= len((await hearing()).get("body", b""))
                    if silence.cancelled_caught:
                        break
            await send({"type": "http.response.body"})

        await self.app(scope, hearing, answering)
