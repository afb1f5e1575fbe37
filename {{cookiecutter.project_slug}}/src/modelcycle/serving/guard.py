"""What stands before every request of the service: keys, limits, counting and a line of log without personal data."""

import asyncio
import logging
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any

from fastapi import HTTPException
from pydantic_core import to_json
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelcycle.core.errors import InputError
from modelcycle.core.settings import Settings, find_key_owner
from modelcycle.serving.telemetry import Telemetry

# What needs no key. It tells of no case, but which columns there are, and which values are usual.
OPEN = {"/", "/health", "/ready", "/docs", "/openapi.json"}


def json_line(level: str, message: str, facts: dict[str, Any]) -> str:
    """Give a line of JSON: time, level, what happened, and further facts."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return to_json({"at": at, "level": level, "message": message} | facts).decode()


class JsonLines(logging.Formatter):
    """Write each record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line; of an error its kind and the last places of the code, since its text may quote a request."""
        error, facts = record.exc_info[1] if record.exc_info else None, {}
        if error:
            places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-4:]]
            facts = {"error": type(error).__name__, "where": " > ".join(places)}
        return json_line(record.levelname.lower(), record.getMessage(), facts)


class Guard:
    """ASGI middleware that refuses what is not allowed, and counts and notes what is answered."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        """Stand before `app`."""
        self.app, self.settings, self.telemetry = app, settings, telemetry
        self.minute, self.seen, self.digests = 0, Counter[str](), settings.digests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the app do it, and note path, status, milliseconds and caller."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status >= 400 and message["type"] == "http.response.start" and is_unread(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        refusal = self.refuse(scope)
        try:
            await (refusal(scope, receive, noted) if refusal else self.app(scope, self.limited(scope, receive), noted))
        finally:
            taken = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "other")  # the pattern: an id is no label
            self.telemetry.count_request(path, status, taken)
            facts = {"path": path, "status": status, "milliseconds": round(taken * 1000, 2)}
            # Not by logging, which would take as long as all else here.
            sys.stdout.write(json_line("info", "request", facts | {"caller": scope.get("caller", "")}) + "\n")
            sys.stdout.flush()

    def refuse(self, scope: Scope) -> JSONResponse | None:
        """Say no to an unknown key, too many requests or too many bytes."""
        headers = dict(scope["headers"])
        if scope["path"] in OPEN or scope["path"].startswith("/static"):
            return None
        minute = int(time.time() // 60)
        if minute != self.minute:  # a file with keys may have changed as well
            self.minute, self.seen = minute, Counter()
            try:
                self.digests = self.settings.digests()
            except InputError as error:  # the keys of before go on
                sys.stdout.write(json_line("error", str(error), {}) + "\n")
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        key = given.decode("latin-1")  # Prometheus and its Operator can send nothing but Authorization
        is_open = not self.digests and self.settings.is_open  # without a single key nobody is let in, but by this
        caller = "local" if is_open else find_key_owner(key, self.digests, datetime.now(UTC).date())
        if caller is None:
            return JSONResponse({"detail": "The header X-API-Key holds no key that is known and valid today."}, 401)
        scope["caller"] = caller
        self.seen[caller] += 1
        if self.seen[caller] > self.settings.requests_per_minute:
            return JSONResponse({"detail": "Too many requests; try again in a minute."}, 429, {"Retry-After": "60"})
        if int(headers.get(b"content-length", b"0")) > self.settings.most_bytes:
            return JSONResponse({"detail": self.too_large()}, 413)
        return None

    def too_large(self) -> str:
        """Say how much is allowed."""
        return f"The request is larger than {self.settings.most_bytes} bytes."

    def limited(self, scope: Scope, receive: Receive) -> Receive:
        """Receive no more bytes than are allowed."""
        size = 0

        async def receive_some() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.disconnect" and "is_read" not in scope:
                raise HTTPException(408, "The request came too slowly, or not to its end.")
            size += len(message.get("body", b""))
            if size > self.settings.most_bytes:
                raise HTTPException(413, self.too_large())
            if not message.get("more_body"):
                scope["is_read"] = True
            return message

        return receive_some


def is_unread(scope: Scope) -> bool:
    """Say whether a request's body is still on its way; a proxy must not send another request behind it."""
    headers = dict(scope["headers"])
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return has_body and "is_read" not in scope


def impatient(seconds: float) -> type[HttpToolsProtocol]:
    """Make uvicorn hang up on a client whose request takes too long to arrive, which it waits for without end."""

    class Impatient(HttpToolsProtocol):
        patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.wait_for_request()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.wait_for_request()

        def on_message_complete(self) -> None:
            if self.patience:
                self.patience.cancel()
            super().on_message_complete()

        def wait_for_request(self) -> None:
            if self.patience:
                self.patience.cancel()
            self.patience = self.loop.call_later(seconds, self.transport.close)

    return Impatient
