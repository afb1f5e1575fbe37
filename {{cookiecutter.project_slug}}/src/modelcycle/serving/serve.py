"""The service: predicts with the champion, logs each answer before it is sent, takes feedback."""

import asyncio
import gc
import logging
import queue
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prometheus_client
from fastapi import HTTPException, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from pydantic import TypeAdapter, ValidationError, conlist
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from modelcycle.core.errors import first_line
from modelcycle.core.output import report_line
from modelcycle.core.page import render_page
from modelcycle.core.settings import Settings, read_settings, require_keys
from modelcycle.serving.answer import (
    Job,
    answer_waiting_jobs,
    find_drivers,
    log_answered_jobs,
    make_feedback_type,
    make_row_type,
    resolve_jobs,
    typical_value,
)
from modelcycle.serving.fast import FastPredict, make_fast_predict
from modelcycle.serving.middleware import AccessMiddleware, JsonLinesFormatter, close_slow_connections
from modelcycle.serving.telemetry import Telemetry
from modelcycle.tracking import store
from modelcycle.tracking.bundle import Bundle, load_champion, load_folder
from modelcycle.tracking.ledger import champion_number, read_ledger
from modelcycle.tracking.prediction_log import check_log, open_log, read_answer, read_monitoring_result, write_feedback

PAGE_TEMPLATE = Path(__file__).with_name("serve.html")
TIMEOUT_MESSAGE = "The answer took too long; try again."


@dataclass
class ServedModel:
    """A version in production, with the types that validate its requests."""

    bundle: Bundle
    fast_predict: FastPredict | None
    rows_adapter: TypeAdapter[Any]
    feedback_adapter: TypeAdapter[Any]

    @classmethod
    def from_bundle(cls, bundle: Bundle, max_rows: int) -> "ServedModel":
        """Prepare a bundle for requests of up to `max_rows` rows."""
        row = make_row_type(bundle.contract, bundle.profile)
        feedback = make_feedback_type(bundle.contract, bundle.profile)
        fast_predict = make_fast_predict(bundle)
        path = (
            "rows take the fast path" if fast_predict else "every row takes the pipeline: there is no equal fast path"
        )
        logging.info("version %s is in use; %s", bundle.version, path)
        rows = conlist(row, min_length=1, max_length=max_rows)
        return cls(bundle, fast_predict, TypeAdapter(rows), TypeAdapter(feedback))


def create_app(  # noqa: C901  restructured with the service
    settings: Settings, load_bundle: Callable[[], Bundle], read_champion_number: Callable[[], str] | None
) -> ASGIApp:
    """Make the service.

    load_bundle: of the version to serve.
    read_champion_number: called every few seconds; when the number has changed, the new champion is loaded while the
        old one answers. None where the version never changes.
    """
    log = open_log(settings.database_url)
    waiting_jobs, answered_jobs = asyncio.Queue[Job](), queue.SimpleQueue[list[Job] | None]()
    current = ServedModel.from_bundle(load_bundle(), settings.most_rows)
    telemetry = Telemetry(current.bundle.profile[current.bundle.contract.target].get("edges", []))

    async def follow_champion(read_champion_number: Callable[[], str]) -> None:
        nonlocal current
        while True:
            await asyncio.sleep(settings.poll_seconds)
            try:
                if await asyncio.to_thread(read_champion_number) != current.bundle.version:
                    current = await asyncio.to_thread(
                        lambda: ServedModel.from_bundle(load_bundle(), settings.most_rows)
                    )
                    app.openapi_schema = None
            except Exception:  # the registry can't be reached: the present version goes on
                logging.warning("the new champion can't be loaded; version %s goes on", current.bundle.version)

    @asynccontextmanager
    async def lifespan(_: ASGIApp) -> AsyncIterator[None]:
        writer = threading.Thread(
            target=log_answered_jobs, args=(log, answered_jobs, asyncio.get_running_loop()), daemon=True
        )
        writer.start()
        tasks = [  # two: one goes on while the other waits for a thread
            asyncio.create_task(answer_waiting_jobs(waiting_jobs, answered_jobs, settings.most_rows)) for _ in range(2)
        ]
        if read_champion_number:
            tasks.append(asyncio.create_task(follow_champion(read_champion_number)))
        yield
        for task in tasks:
            task.cancel()
        answered_jobs.put(None)
        await asyncio.to_thread(writer.join)

    app = FastAPIOffline(title=f"{current.bundle.project.title}: predictions", lifespan=lifespan, redoc_url=None)

    def make_openapi_schema() -> dict[str, Any]:
        """Make the OpenAPI schema, with the columns of the contract in use."""
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=current.bundle.version, routes=app.routes)
            document["info"]["description"] = current.bundle.contract.description
            for path, adapter in [("/predict", current.rows_adapter), ("/feedback", current.feedback_adapter)]:
                schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
                document.setdefault("components", {}).setdefault("schemas", {}).update(schema.pop("$defs", {}))
                body = {"required": True, "content": {"application/json": {"schema": schema}}}
                document["paths"][path]["post"]["requestBody"] = body
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = make_openapi_schema  # type: ignore[method-assign]

    @app.exception_handler(ValidationError)
    async def answer_invalid_request(_: Request, error: ValidationError) -> Response:
        telemetry.refused.inc()
        faults = [
            {
                "field": ".".join(str(part) for part in fault["loc"]),
                "found": None if fault["type"] == "missing" else str(fault["input"])[:100],
                "expected": re.sub("^(Input should be|Value error,) ", "", fault["msg"]),
            }
            for fault in error.errors(include_url=False, include_context=False)[:20]
        ]
        return JSONResponse({"detail": faults}, 422)

    @app.exception_handler(SQLAlchemyError)
    async def answer_log_error(_: Request, error: SQLAlchemyError) -> Response:
        cause = getattr(error, "orig", None) or error  # the database's message, without the values
        logging.warning("the prediction log is out of use: %s: %s", type(cause).__name__, first_line(cause))
        return JSONResponse({"detail": "The prediction log is out of use, so nothing is answered; try again."}, 503)

    @app.exception_handler(Exception)
    async def answer_error(_: Request, error: Exception) -> Response:
        logging.error("a request failed", exc_info=error)
        return JSONResponse({"detail": "Something went wrong here; the log of the service says what."}, 500)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        """Predict one row or many; each answer comes with an id for feedback and the model's version."""
        body, model, loop = await read_body(request), current, asyncio.get_running_loop()
        job = Job(model.rows_adapter.validate_json(body), request.scope["caller"], loop.create_future(), model)
        waiting_jobs.put_nowait(job)
        timer = loop.call_later(settings.most_seconds, resolve_jobs, [job], HTTPException(503, TIMEOUT_MESSAGE))
        answers = await job.future
        timer.cancel()
        telemetry.count_answers(answers)
        return Response(to_json(answers), media_type="application/json")

    @app.get("/predictions/{prediction_id}")
    def show_prediction(prediction_id: str) -> dict[str, Any]:
        """Give a prediction as it was logged, with its feedback."""
        answer = read_answer(log, prediction_id) if re.fullmatch("[0-9a-f]{32}", prediction_id) else None
        if answer is None:
            raise HTTPException(404, f"There is no prediction {prediction_id}.")
        return answer

    @app.get("/predictions/{prediction_id}/drivers")
    def show_drivers(prediction_id: str) -> list[dict[str, Any]]:
        """Say which columns drove a prediction: what would change if one had its typical value."""
        answer, model = show_prediction(prediction_id), current
        if answer["version"] != model.bundle.version:
            raise HTTPException(409, f"Version {answer['version']} has answered; {model.bundle.version} is in use now.")
        (row,) = model.rows_adapter.validate_python([answer["inputs"]])
        return find_drivers(model.bundle, model.fast_predict, row)

    @app.post("/feedback")
    async def take_feedback(request: Request) -> dict[str, str]:
        """Say what became of a prediction."""
        feedback = current.feedback_adapter.validate_json(await read_body(request))
        if not await asyncio.to_thread(write_feedback, log, feedback.id, feedback.outcome, feedback.comment):
            raise HTTPException(404, f"There is no prediction {feedback.id}.")
        return {"detail": "Thank you."}

    @app.get("/health")
    def health() -> dict[str, str]:
        """Say that the process is alive."""
        return {"detail": "alive"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        """Say whether requests can be answered: there is a model, and the log can be written to."""
        check_log(log)
        return {"version": current.bundle.version}

    @app.get("/model")
    def show_model() -> dict[str, Any]:
        """Say which version answers, where it comes from and how good it was on the test data."""
        return {"version": current.bundle.version, **current.bundle.facts, "metrics": current.bundle.metrics}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Give figures for Prometheus."""
        monitoring = None
        with suppress(SQLAlchemyError):  # the log is out of use: /ready says so, and all other metrics are true
            monitoring = read_monitoring_result(log)
        text = telemetry.render(current.bundle.version, monitoring)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> str:
        """Show the page for domain experts."""
        bundle = current.bundle
        profile = {name: bundle.profile.get(name, {}) for name in bundle.contract.columns}
        start = {name: typical_value(bundle.contract.columns[name], statistics) for name, statistics in profile.items()}
        classes = sorted(profile[bundle.contract.target]["shares"]) if bundle.contract.is_classification else []
        keys = bundle.contract.names("key")
        return render_page(PAGE_TEMPLATE, bundle.project.title, bundle=bundle, start=start, classes=classes, keys=keys)

    predict_route = next(route for route in app.routes if getattr(route, "path", "") == "/predict")

    async def route_directly(scope: Scope, receive: Receive, send: Send) -> None:
        """Call `predict` without FastAPI's layers, which take as long as all the rest."""
        if scope["type"] != "http":
            return await app(scope, receive, send)
        if scope["path"] != "/predict" or scope["method"] != "POST":
            with suppress(Exception):  # answer_error has logged and answered it; Starlette raises it all the same
                await app(scope, receive, send)
            return
        scope["route"], request = predict_route, Request(scope, receive)
        try:
            response = await predict(request)
        except Exception as error:
            handlers = app.exception_handlers
            handler = next(handlers[base] for base in type(error).__mro__ if base in handlers)
            response = await handler(request, error)  # type: ignore[misc]
        await response(scope, receive, send)

    return AccessMiddleware(route_directly, settings, telemetry)


async def read_body(request: Request) -> bytes:
    """Read the body of a request. Raises HTTPException for a character that PostgreSQL can't store."""
    body = await request.body()
    if b"\\u0000" in body:
        raise HTTPException(422, "The request holds the character \\u0000, which can't be logged.")
    return body


def serve() -> None:
    """Serve the champion, or an exported version, until the process is told to stop."""
    import uvicorn

    settings = read_settings()
    require_keys(settings)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLinesFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if settings.model:
        folder = settings.model
        app = create_app(settings, lambda: load_folder(folder), None)
    else:
        client = store.connect()
        app = create_app(settings, lambda: load_champion(client), lambda: champion_number(read_ledger(client)) or "")
    gc.freeze()  # what is loaded by now stays: each collection that scans it would stop all answers for 0.1 s
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
