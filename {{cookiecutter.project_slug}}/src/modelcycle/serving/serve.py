"""The service: predicts with the champion, logs each answer before it is sent, takes feedback."""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from modelcycle.core.errors import first_line
from modelcycle.core.output import report_line
from modelcycle.serving.logs import log_from_a_thread
from modelcycle.serving.middleware import AccessMiddleware, close_slow_connections
from modelcycle.serving.routes import get_service, router
from modelcycle.serving.service import PredictionService, ServedModel
from modelcycle.serving.settings import Settings, read_settings, require_keys
from modelcycle.tracking import store
from modelcycle.versions.bundle import Bundle, load_champion, load_folder
from modelcycle.versions.ledger import champion_number, read_ledger


def create_app(
    settings: Settings, load_bundle: Callable[[], Bundle], read_champion_number: Callable[[], str] | None
) -> FastAPI:
    """Make the service; see `PredictionService`."""
    service = PredictionService(settings, load_bundle, read_champion_number)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPIOffline(
        title=f"{service.model.bundle.project.title}: predictions",
        lifespan=lifespan,
        redoc_url=None,
        exception_handlers={ValidationError: answer_invalid_request, SQLAlchemyError: answer_log_error},
    )
    app.state.service = service
    app.include_router(router)
    app.add_middleware(AccessMiddleware, settings=settings, telemetry=service.telemetry)
    app.openapi = lambda: describe_interface(app, service.model)  # type: ignore[method-assign]
    return app


def describe_interface(app: FastAPI, model: ServedModel) -> dict[str, Any]:
    """Make the OpenAPI schema, with the columns of the contract in use."""
    document = get_openapi(title=app.title, version=model.bundle.version, routes=app.routes)
    document["info"]["description"] = model.bundle.contract.description
    for path, adapter in [("/predict", model.rows_adapter), ("/feedback", model.feedback_adapter)]:
        schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
        document.setdefault("components", {}).setdefault("schemas", {}).update(schema.pop("$defs", {}))
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        document["paths"][path]["post"]["requestBody"] = body
    return document


async def answer_invalid_request(request: Request, error: ValidationError) -> Response:
    """Name up to 20 values that break the contract, with what is expected."""
    (await get_service(request)).telemetry.refused.inc()
    faults = [
        {
            "field": ".".join(str(part) for part in fault["loc"]),
            "found": None if fault["type"] == "missing" else str(fault["input"])[:100],
            "expected": re.sub("^(Input should be|Value error,) ", "", fault["msg"]),
        }
        for fault in error.errors(include_url=False, include_context=False)[:20]
    ]
    return JSONResponse({"detail": faults}, 422)


async def answer_log_error(_: Request, error: SQLAlchemyError) -> Response:
    """Say that the log is out of use; the service's own log says why."""
    cause = getattr(error, "orig", None) or error  # the database's message, without the values
    logging.warning("the prediction log is out of use: %s: %s", type(cause).__name__, first_line(cause))
    return JSONResponse({"detail": "The prediction log is out of use, so nothing is answered; try again."}, 503)


def check_answers() -> None:
    """Raise InputError where the version to be served does not answer as it did when it was released."""
    folder = read_settings().model
    bundle = load_folder(folder) if folder else load_champion(store.connect())
    bundle.require_same_answers()
    report_line("serve", f"version {bundle.version} answers as when it was released")


def serve() -> None:
    """Serve the champion, or an exported version, until the process is told to stop."""
    import uvicorn

    settings = read_settings()
    require_keys(settings)
    with log_from_a_thread():
        if settings.model:
            folder = settings.model
            app = create_app(settings, lambda: load_folder(folder), None)
        else:
            client = store.connect()
            app = create_app(
                settings, lambda: load_champion(client), lambda: champion_number(read_ledger(client)) or ""
            )
        report_line("serve", f"http://{settings.host}:{settings.port}")
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            http=close_slow_connections(settings.most_seconds),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=30,
        )
