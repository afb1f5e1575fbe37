"""The service: answers with the champion, logs each answer before it is sent, takes feedback."""

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
    answer_waiting,
    drivers,
    feedback_model,
    log_answered,
    row_type,
    settle,
    typical,
)
from modelcycle.serving.fast import FastPredict, fast_predict
from modelcycle.serving.guard import Guard, JsonLines, impatient
from modelcycle.serving.telemetry import Telemetry
from modelcycle.tracking import registry
from modelcycle.tracking.bundle import Bundle, load_champion, load_folder
from modelcycle.tracking.ledger import champion_number, read_ledger
from modelcycle.tracking.log import check_log, latest_monitoring, open_log, read_answer, write_feedback

PAGE = Path(__file__).with_name("serve.html")
LATE = "The answer took too long; try again."


@dataclass
class Served:
    """A version in use, with what requests are checked by."""

    bundle: Bundle
    fast: FastPredict | None
    rows: TypeAdapter[Any]
    feedback: TypeAdapter[Any]

    @classmethod
    def of(cls, bundle: Bundle, most_rows: int) -> "Served":
        """Make ready what a bundle's answers need."""
        row, feedback = row_type(bundle.contract, bundle.profile), feedback_model(bundle.contract, bundle.profile)
        fast = fast_predict(bundle)
        path = "rows take the fast path" if fast else "every row takes the pipeline: there is no equal fast path"
        logging.info("version %s is in use; %s", bundle.version, path)
        rows = TypeAdapter(conlist(row, min_length=1, max_length=most_rows))
        return cls(bundle, fast, rows, TypeAdapter(feedback))


def create_app(  # noqa: C901  restructured with the service
    settings: Settings, load: Callable[[], Bundle], newest: Callable[[], str] | None
) -> ASGIApp:
    """Make the service.

    load: gives the version to use. newest: gives the champion's number, asked for every few seconds; when it is another
    one, that is loaded beside the running one, which answers until then. None where the version never changes.
    """
    log, jobs, answered = open_log(settings.database_url), asyncio.Queue[Job](), queue.SimpleQueue[list[Job] | None]()
    current = Served.of(load(), settings.most_rows)
    telemetry = Telemetry(current.bundle.profile[current.bundle.contract.target].get("edges", []))

    async def follow_champion(newest: Callable[[], str]) -> None:
        nonlocal current
        while True:
            await asyncio.sleep(settings.poll_seconds)
            try:
                if await asyncio.to_thread(newest) != current.bundle.version:
                    current = await asyncio.to_thread(lambda: Served.of(load(), settings.most_rows))
                    app.openapi_schema = None
            except Exception:  # the registry is out of reach: the present version goes on
                logging.warning("the new champion can't be loaded; version %s goes on", current.bundle.version)

    @asynccontextmanager
    async def lifespan(_: ASGIApp) -> AsyncIterator[None]:
        writer = threading.Thread(target=log_answered, args=(log, answered, asyncio.get_running_loop()), daemon=True)
        writer.start()
        tasks = [  # two: one goes on while the other waits for a thread
            asyncio.create_task(answer_waiting(jobs, answered, settings.most_rows)) for _ in range(2)
        ]
        if newest:
            tasks.append(asyncio.create_task(follow_champion(newest)))
        yield
        for task in tasks:
            task.cancel()
        answered.put(None)
        await asyncio.to_thread(writer.join)

    app = FastAPIOffline(title=f"{current.bundle.project.title}: predictions", lifespan=lifespan, redoc_url=None)

    def describe() -> dict[str, Any]:
        """Describe the interface with the columns of the contract in use."""
        if not app.openapi_schema:
            described = get_openapi(title=app.title, version=current.bundle.version, routes=app.routes)
            described["info"]["description"] = current.bundle.contract.description
            for path, adapter in [("/predict", current.rows), ("/feedback", current.feedback)]:
                schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
                described.setdefault("components", {}).setdefault("schemas", {}).update(schema.pop("$defs", {}))
                body = {"required": True, "content": {"application/json": {"schema": schema}}}
                described["paths"][path]["post"]["requestBody"] = body
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]

    @app.exception_handler(ValidationError)
    async def explain_request(_: Request, error: ValidationError) -> Response:
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
    async def explain_log(_: Request, error: SQLAlchemyError) -> Response:
        cause = getattr(error, "orig", None) or error  # the database's own words, without what was to be written
        logging.warning("the prediction log is out of use: %s: %s", type(cause).__name__, first_line(cause))
        return JSONResponse({"detail": "The prediction log is out of use, so nothing is answered; try again."}, 503)

    @app.exception_handler(Exception)
    async def explain_fault(_: Request, error: Exception) -> Response:
        logging.error("a request failed", exc_info=error)
        return JSONResponse({"detail": "Something went wrong here; the log of the service says what."}, 500)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        """Predict one row or many; each answer comes with an id for feedback and the model's version."""
        body, served, loop = await body_of(request), current, asyncio.get_running_loop()
        job = Job(served.rows.validate_json(body), request.scope["caller"], loop.create_future(), served)
        jobs.put_nowait(job)
        patience = loop.call_later(settings.most_seconds, settle, [job], HTTPException(503, LATE))
        answers = await job.done
        patience.cancel()
        telemetry.count_answers(answers)
        return Response(to_json(answers), media_type="application/json")

    @app.get("/predictions/{prediction_id}")
    def show_prediction(prediction_id: str) -> dict[str, Any]:
        """Give a prediction as it was logged, with its feedback."""
        found = read_answer(log, prediction_id) if re.fullmatch("[0-9a-f]{32}", prediction_id) else None
        if found is None:
            raise HTTPException(404, f"There is no prediction {prediction_id}.")
        return found

    @app.get("/predictions/{prediction_id}/drivers")
    def show_drivers(prediction_id: str) -> list[dict[str, Any]]:
        """Say which columns drove a prediction: what would change if one had its typical value."""
        found, served = show_prediction(prediction_id), current
        if found["version"] != served.bundle.version:
            raise HTTPException(409, f"Version {found['version']} has answered; {served.bundle.version} is in use now.")
        (row,) = served.rows.validate_python([found["inputs"]])
        return drivers(served.bundle, served.fast, row)

    @app.post("/feedback")
    async def take_feedback(request: Request) -> dict[str, str]:
        """Say what became of a prediction."""
        said = current.feedback.validate_json(await body_of(request))
        if not await asyncio.to_thread(write_feedback, log, said.id, said.outcome, said.comment):
            raise HTTPException(404, f"There is no prediction {said.id}.")
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
        found = None
        with suppress(SQLAlchemyError):  # the log is out of use: /ready says so, and all other figures are true
            found = latest_monitoring(log)
        text = telemetry.text(current.bundle.version, found)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> str:
        """Show the page for domain experts."""
        bundle = current.bundle
        shown = {name: bundle.profile.get(name, {}) for name in bundle.contract.columns}
        start = {name: typical(bundle.contract.columns[name], known) for name, known in shown.items()}
        classes = sorted(shown[bundle.contract.target]["shares"]) if bundle.contract.is_classification else []
        keys = [name for name, column in bundle.contract.columns.items() if column.role == "key"]
        return render_page(PAGE, bundle.project.title, bundle=bundle, start=start, classes=classes, keys=keys)

    described = next(route for route in app.routes if getattr(route, "path", "") == "/predict")

    async def direct(scope: Scope, receive: Receive, send: Send) -> None:
        """Lead requests for predictions past FastAPI's layers, which take as long as all else together."""
        if scope["type"] != "http":
            return await app(scope, receive, send)
        if scope["path"] != "/predict" or scope["method"] != "POST":
            with suppress(Exception):  # explain_fault has noted and answered it; Starlette raises it all the same
                await app(scope, receive, send)
            return
        scope["route"], request = described, Request(scope, receive)
        try:
            response = await predict(request)
        except Exception as error:
            explain = next(
                app.exception_handlers[kind] for kind in type(error).__mro__ if kind in app.exception_handlers
            )
            response = await explain(request, error)  # type: ignore[misc]
        await response(scope, receive, send)

    return Guard(direct, settings, telemetry)


async def body_of(request: Request) -> bytes:
    """Give what a request holds. Raises HTTPException at a character that PostgreSQL can't keep."""
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
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if settings.model:
        folder = settings.model
        app = create_app(settings, lambda: load_folder(folder), None)
    else:
        client = registry.connect()
        app = create_app(settings, lambda: load_champion(client), lambda: champion_number(read_ledger(client)) or "")
    gc.freeze()  # what is loaded by now stays: looking through it again and again would stop all answers for 0.1 s
    report_line("serve", f"http://{settings.host}:{settings.port}")
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=impatient(settings.most_seconds),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
    )
