"""Drains requests: reads what a client still sends after it has been answered.

Closing a connection with unread bytes resets it, and often loses the answer: a refused upload would look like a broken
server.
"""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import MB

MAX_BYTES = 1024 * MB  # that are read and discarded
SILENCE = 5.0  # seconds for which a refused client may send nothing


class DrainMiddleware:
    """Answers at once, but ends the answer only when the request has been read to its end.

    Args:
        app: the ASGI application that answers.
        seconds: after which draining stops.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        complete = False

        async def receive_and_note_end() -> Message:
            nonlocal complete
            message = await receive()
            complete = not message.get("more_body", False)  # also when the client has disconnected
            return message

        async def send_and_drain(message: Message) -> None:
            if complete or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(self.seconds):
                remaining = MAX_BYTES
                while not complete and remaining > 0:
                    with anyio.move_on_after(SILENCE) as silence:
                        remaining -= len((await receive_and_note_end()).get("body", b""))
                    if silence.cancelled_caught:
                        break
            await send({"type": "http.response.body"})

        await self.app(scope, receive_and_note_end, send_and_drain)
