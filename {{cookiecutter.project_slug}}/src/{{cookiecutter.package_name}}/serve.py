"""The service: answers with the champion, logs each answer before it is sent, takes feedback.

Requests that arrive while others are being answered are put together: one pass through the features and the model, one
transaction of the log. So one row costs little under load, with the same code that training and batch run.
"""

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import pandas as pd
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from . import registry
from .bundle import Bundle, load_champion
from .contract import Column, Contract
from .files import say
from .log import check_log, now, open_log, read_answer, write_answers, write_feedback
from .settings import Settings, read_settings

TYPES: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "datetime": datetime}


@dataclass
class Job:
    """Rows of one request on their way through the worker; `done` gets the answers or the error."""

    rows: list[dict[str, Any]]
    caller: str
    done: "Future[list[dict[str, Any]]]" = field(default_factory=Future)


def row_model(contract: Contract) -> type[BaseModel]:
    """Make the model of a request's row from the contract: types, ranges, allowed values, units, descriptions."""

    def annotated(column: Column) -> Any:
        kind = Literal[tuple(column.values)] if column.values else TYPES.get(column.type, str)
        return kind | None if column.nullable else kind

    fields: dict[str, Any] = {}
    for number, (name, column) in enumerate(contract.columns.items()):
        if column.role in ("key", "time", "feature"):
            optional = column.nullable or column.role == "key"
            fields[f"column_{number}"] = (
                annotated(column) | None if optional else annotated(column),
                Field(
                    default=None if optional else ...,
                    alias=name,
                    ge=column.min,
                    le=column.max,
                    allow_inf_nan=False if column.type == "number" else None,
                    description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                ),
            )
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)


def unusual(row: dict[str, Any], profile: dict[str, Any]) -> list[str]:
    """List what the training data never held, though the contract allows it."""
    found = []
    for name, value in row.items():
        known = profile.get(name)
        if known is None or value is None:
            continue
        if "edges" in known and not known["edges"][0] <= value <= known["edges"][-1]:
            found.append(f"{name} {value} is outside {known['edges'][0]:g} to {known['edges'][-1]:g}")
        elif "edges" not in known and str(value) not in known["shares"]:
            found.append(f"{name} {value} was never seen in training")
    return found


def answer(served: Bundle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Predict rows that the row model has accepted: a list of answers, each with an id of its own."""
    table = served.predict(pd.DataFrame(rows, columns=served.contract.inputs, dtype="object"))
    answers = []
    for row, values in zip(rows, table.to_dict("records"), strict=True):
        prediction = values.pop("prediction")
        answers.append(
            {
                "id": uuid.uuid4().hex,
                "version": served.version,
                "prediction": prediction.item() if hasattr(prediction, "item") else prediction,
                "probabilities": {str(name).removeprefix("probability_"): p for name, p in values.items()},
                "unusual": unusual(row, served.profile),
            }
        )
    return answers


def answer_and_log(batch: list[Job], served: Bundle, log: Engine) -> None:
    """Answer the jobs of a batch together and log the answers, then let the requests go on."""
    rows = [row for job in batch for row in job.rows]
    callers = [job.caller for job in batch for _ in job.rows]
    answers = answer(served, rows)
    at, logged = now(), []
    for row, given, caller in zip(rows, answers, callers, strict=True):
        inputs = {name: str(value) if isinstance(value, datetime) else value for name, value in row.items()}
        entry = {name: given[name] for name in ("id", "version", "unusual")}
        given_answer = {name: given[name] for name in ("prediction", "probabilities")}
        logged.append(entry | {"at": at, "caller": caller, "inputs": inputs, "answer": given_answer})
    write_answers(log, logged)
    left = iter(answers)
    for job in batch:
        job.done.set_result([next(left) for _ in job.rows])


def work(jobs: "queue.Queue[Job | None]", served: Callable[[], Bundle], log: Engine, most_rows: int) -> None:
    """Answer jobs until None comes: all that wait, together. A batch that fails is tried again job by job."""
    going = True
    while going and (first := jobs.get()) is not None:
        batch = [first]
        while not jobs.empty() and sum(len(job.rows) for job in batch) < most_rows:
            if (job := jobs.get()) is None:
                going = False
                break
            batch.append(job)
        try:
            answer_and_log(batch, served(), log)
        except Exception:
            for job in batch:
                try:
                    answer_and_log([job], served(), log)
                except Exception as error:  # the request gets it and says what it means
                    job.done.set_exception(error)


class Feedback(BaseModel):
    """What became of a prediction."""

    id: str = Field(min_length=32, max_length=32, description="The id that came with the prediction")
    outcome: bool | float | str = Field(description="What really happened, as in the target")
    comment: str = Field(default="", max_length=2000)


def create_app(settings: Settings, load: Callable[[], Bundle], newest: Callable[[], str]) -> FastAPI:
    """Make the service.

    load: gives the champion. newest: gives the champion's version, asked for every few seconds; when it is another one,
    the champion is loaded anew beside the running one, which answers until then.
    """
    log, jobs = open_log(settings.database_url), queue.Queue[Job | None]()
    current = {"served": load()}
    contract = current["served"].contract
    row_type = row_model(contract)
    names = CollectorRegistry()
    requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=names)
    seconds = Histogram("request_seconds", "Time to answer", ["path"], registry=names)
    predictions = Counter("predictions", "Answers by prediction", ["prediction"], registry=names)
    odd = Counter("unusual_values", "Values that the training data never held", registry=names)
    version = Gauge("model_version", "The version in use", registry=names)
    worker = threading.Thread(target=work, args=(jobs, lambda: current["served"], log, settings.most_rows), daemon=True)

    async def follow_champion() -> None:
        while True:
            version.set(int(current["served"].version))
            await asyncio.sleep(settings.poll_seconds)
            try:
                if await asyncio.to_thread(newest) != current["served"].version:
                    current["served"] = await asyncio.to_thread(load)
                    logging.info("version %s is in use", current["served"].version)
            except Exception:  # the registry is out of reach: the present version goes on
                logging.warning("the registry does not answer")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        follower = asyncio.create_task(follow_champion())
        yield
        follower.cancel()
        jobs.put(None)
        await asyncio.to_thread(worker.join)

    app = FastAPI(
        title=f"{registry.EXPERIMENT}: predictions",
        description=contract.description,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    per_minute: dict[str, tuple[int, int]] = {}

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        started, path = time.perf_counter(), request.url.path
        response = refused(request) or await call(request)
        route = request.scope.get("route")
        name = getattr(route, "path", path if path in ("/predict", "/feedback") else "other")
        requests.labels(name, response.status_code).inc()
        seconds.labels(name).observe(time.perf_counter() - started)
        return response

    def refused(request: Request) -> Response | None:
        if request.url.path in ("/health", "/ready"):
            return None
        key = request.headers.get("x-api-key", "")
        if settings.keys and request.url.path != "/" and not settings.allows(key):
            return JSONResponse({"detail": "The header X-API-Key holds no known key."}, 401)
        caller, minute = caller_of(request), int(time.time() // 60)
        seen = per_minute.get(caller, (minute, 0))
        per_minute[caller] = (minute, seen[1] + 1 if seen[0] == minute else 1)
        if per_minute[caller][1] > settings.requests_per_minute:
            return JSONResponse({"detail": "Too many requests; try again in a minute."}, 429)
        size = request.headers.get("content-length", "")
        if request.method == "POST" and not size.isdigit():
            return JSONResponse({"detail": "The header Content-Length is missing."}, 411)
        if size and int(size) > settings.most_bytes:
            return JSONResponse({"detail": f"The request has {size} bytes; at most {settings.most_bytes}."}, 413)
        return None

    def caller_of(request: Request) -> str:
        key = request.headers.get("x-api-key")
        return (
            f"key {uuid.uuid5(uuid.NAMESPACE_OID, key).hex[:8]}"
            if key
            else request.client.host
            if request.client
            else ""
        )

    @app.exception_handler(RequestValidationError)
    async def explain_request(_: Request, error: RequestValidationError) -> Response:
        faults = [
            {
                "field": ".".join(str(part) for part in fault["loc"][1:]),
                "found": None if fault["type"] == "missing" else fault["input"],
                "expected": fault["msg"].replace("Input should be ", ""),
            }
            for fault in error.errors()
        ]
        return JSONResponse(jsonable_encoder({"detail": faults[:20]}), 422)

    @app.post("/predict")
    async def predict_rows(
        rows: Annotated[list[row_type], Field(min_length=1, max_length=settings.most_rows)],  # type: ignore[valid-type]
        request: Request,
    ) -> list[dict[str, Any]]:
        """Predict one row or many; each answer comes with an id for feedback and the model's version."""
        job = Job([row.model_dump(by_alias=True) for row in rows], caller_of(request))  # type: ignore[attr-defined]
        jobs.put(job)
        try:
            answers = await asyncio.wait_for(asyncio.wrap_future(job.done), settings.most_seconds)
        except SQLAlchemyError:
            raise HTTPException(503, "The prediction log can't be written to, so nothing is answered.") from None
        except TimeoutError:
            raise HTTPException(503, "The answer took too long; try again.") from None
        for given in answers:
            odd.inc(len(given["unusual"]))
            if contract.is_classification:
                predictions.labels(str(given["prediction"])).inc()
        return answers

    @app.post("/feedback")
    def take_feedback(feedback: Feedback) -> dict[str, str]:
        """Say what became of a prediction."""
        try:
            if not write_feedback(log, feedback.id, feedback.outcome, feedback.comment):
                raise HTTPException(404, f"There is no prediction {feedback.id}.")
        except SQLAlchemyError:
            raise HTTPException(503, "The prediction log can't be written to; try again.") from None
        return {"detail": "Thank you."}

    @app.get("/predictions/{prediction_id}")
    def show_prediction(prediction_id: str) -> dict[str, Any]:
        """Give a prediction as it was logged, with its feedback."""
        try:
            found = read_answer(log, prediction_id)
        except SQLAlchemyError:
            raise HTTPException(503, "The prediction log can't be read; try again.") from None
        if found is None:
            raise HTTPException(404, f"There is no prediction {prediction_id}.")
        return found

    @app.get("/health")
    def health() -> dict[str, str]:
        """Say that the process is alive."""
        return {"detail": "alive"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        """Say whether requests can be answered: there is a model, and the log can be written to."""
        try:
            check_log(log)
        except SQLAlchemyError:
            raise HTTPException(503, "The prediction log can't be written to.") from None
        return {"version": current["served"].version}

    @app.get("/model")
    def show_model() -> dict[str, Any]:
        """Say which version answers and where it comes from."""
        return {"version": current["served"].version, **current["served"].facts}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> bytes:
        """Give figures for Prometheus."""
        return generate_latest(names)

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        """Show the page for domain experts."""
        pages = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
        classes = sorted(current["served"].profile[contract.target].get("shares", []), key=str.lower)
        lower = contract.columns[contract.target].type == "boolean"
        shown = [name.lower() if lower else name for name in classes]
        return pages.get_template("serve.html").render(contract=contract, served=current["served"], classes=shown)

    return app


def serve() -> None:
    """Serve the champion until the process is told to stop."""
    import uvicorn

    settings, client = read_settings(), registry.connect()
    app = create_app(settings, lambda: load_champion(client), lambda: str(registry.champion(client).version))
    say("serve", f"http://{settings.host}:{settings.port}")
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=30)
