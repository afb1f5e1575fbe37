"""Middleware of the service: API keys, limits, metrics and a line of log, without personal data, for each request."""

import asyncio
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from fastapi import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelcycle.core.errors import InputError
from modelcycle.serving.settings import Settings, find_key_owner
from modelcycle.serving.telemetry import Telemetry

# Paths that need no key. They show no row, only which columns there are and which values are typical.
OPEN_PATHS = {"/", "/health", "/ready", "/docs", "/openapi.json"}
FAULT = "Something went wrong here; the log of the service says what."


class AccessMiddleware:
    """ASGI middleware that refuses requests beyond the rules, and counts and logs every request."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        """Wrap `app`."""
        self.app, self.settings, self.telemetry = app, settings, telemetry
        self.minute, self.counts, self.digests = 0, Counter[str](), settings.digests()  # requests by caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on to the app, and log path, status, milliseconds and caller."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 0

        async def send_and_watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status >= 400 and message["type"] == "http.response.start" and is_unread(scope):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        refusal = self.check_access(scope)
        try:
            if refusal:
                await refusal(scope, receive, send_and_watch)
            else:
                await self.app(scope, self.limit_size(scope, receive), send_and_watch)
        except Exception as error:
            if status:  # a part of the response is under way
                raise
            logging.error("a request failed", exc_info=error)
            await JSONResponse({"detail": FAULT}, 500)(scope, receive, send_and_watch)
        finally:
            duration_s = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "other")  # the pattern: an id is no label
            status = status or 500  # no response was sent
            self.telemetry.count_request(path, status, duration_s)
            milliseconds, caller = round(duration_s * 1000, 2), scope.get("caller", "")
            facts = {"path": path, "status": status, "milliseconds": milliseconds, "caller": caller}
            logging.info("request", extra={"facts": facts})

    def check_access(self, scope: Scope) -> JSONResponse | None:
        """Make the response to an unknown key, too many requests or too many bytes; None where a request is allowed."""
        headers = dict(scope["headers"])
        if scope["path"] in OPEN_PATHS or scope["path"].startswith("/static"):
            return None
        minute = int(time.time() // 60)
        if minute != self.minute:  # a file with keys may have changed as well
            self.minute, self.counts = minute, Counter()
            try:
                self.digests = self.settings.digests()
            except InputError as error:  # the previous keys stay valid
                logging.error(str(error))
        header = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        key = header.decode("latin-1")  # Prometheus and its Operator can send nothing but Authorization
        is_open = not self.digests and self.settings.is_open  # otherwise nobody gets in without a key
        caller = "local" if is_open else find_key_owner(key, self.digests, datetime.now(UTC).date())
        if caller is None:
            return JSONResponse({"detail": "The header X-API-Key holds no key that is known and valid today."}, 401)
        scope["caller"] = caller
        self.counts[caller] += 1
        if self.counts[caller] > self.settings.requests_per_minute:
            return JSONResponse({"detail": "Too many requests; try again in a minute."}, 429, {"Retry-After": "60"})
        if int(headers.get(b"content-length", b"0")) > self.settings.most_bytes:
            return JSONResponse({"detail": self.too_large_message()}, 413)
        return None

    def too_large_message(self) -> str:
        """Say how many bytes are allowed."""
        return f"The request is larger than {self.settings.most_bytes} bytes."

    def limit_size(self, scope: Scope, receive: Receive) -> Receive:
        """Wrap `receive`, so that it raises HTTPException for too many bytes, or a body that stops too early."""
        size = 0

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.disconnect" and "is_read" not in scope:
                raise HTTPException(408, "The request came too slowly, or not to its end.")
            size += len(message.get("body", b""))
            if size > self.settings.most_bytes:
                raise HTTPException(413, self.too_large_message())
            if not message.get("more_body"):
                scope["is_read"] = True
            return message

        return receive_limited


def is_unread(scope: Scope) -> bool:
    """Say whether a part of a request's body is unread; a proxy must not send another request behind it."""
    headers = dict(scope["headers"])
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return has_body and "is_read" not in scope


def close_slow_connections(timeout_s: float) -> type[HttpToolsProtocol]:
    """Make a protocol for uvicorn that closes a connection whose request takes too long to arrive."""

    class TimeoutProtocol(HttpToolsProtocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.start_timer()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.start_timer()

        def on_message_complete(self) -> None:
            if self.timer:
                self.timer.cancel()
            super().on_message_complete()

        def start_timer(self) -> None:
            if self.timer:
                self.timer.cancel()
            self.timer = self.loop.call_later(timeout_s, self.transport.close)

    return TimeoutProtocol
