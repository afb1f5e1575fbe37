"""What can be asked of the service."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, PlainTextResponse
from markdown_it import MarkdownIt
from markupsafe import Markup
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError

from modelcycle.core.page import render_page
from modelcycle.serving.answer import find_drivers
from modelcycle.serving.schema import typical_value
from modelcycle.serving.service import PredictionService, ServedModel
from modelcycle.versions.ledger import format_metrics
from modelcycle.versions.prediction_log import read_answer, read_monitoring_result, write_feedback

PAGE_TEMPLATE = Path(__file__).with_name("serve.html")

router = APIRouter()


async def get_service(request: Request) -> PredictionService:  # async: FastAPI would call it in a thread
    """Give what all requests share."""
    service: PredictionService = request.app.state.service
    return service


CurrentService = Annotated[PredictionService, Depends(get_service)]


async def get_model(service: CurrentService) -> ServedModel:
    """Give the version in use; a request keeps to it, also where another one takes over meanwhile."""
    return service.model


async def read_body(request: Request) -> bytes:
    """Read the body of a request. Raises HTTPException for a character that PostgreSQL can't store."""
    body = await request.body()
    if b"\\u0000" in body:
        raise HTTPException(422, "The request holds the character \\u0000, which can't be logged.")
    return body


CurrentModel = Annotated[ServedModel, Depends(get_model)]
Body = Annotated[bytes, Depends(read_body)]


def read_prediction(service: CurrentService, prediction_id: str) -> dict[str, Any]:
    """Read a prediction and its feedback from the log. Raises HTTPException where there is none of this id."""
    answer = read_answer(service.log, prediction_id) if re.fullmatch("[0-9a-f]{32}", prediction_id) else None
    if answer is None:
        raise HTTPException(404, f"There is no prediction {prediction_id}.")
    return answer


LoggedPrediction = Annotated[dict[str, Any], Depends(read_prediction)]


@router.post("/predict")
async def predict(request: Request, body: Body, service: CurrentService, model: CurrentModel) -> Response:
    """Predict one row or many; each answer comes with an id for feedback and the model's version."""
    rows = model.rows_adapter.validate_json(body)
    answers = await service.predict(rows, request.scope["caller"], model)
    service.telemetry.count_answers(answers)
    return Response(to_json(answers), media_type="application/json")


@router.get("/predictions/{prediction_id}")
def show_prediction(prediction: LoggedPrediction) -> dict[str, Any]:
    """Give a prediction as it was logged, with its feedback."""
    return prediction


@router.get("/predictions/{prediction_id}/drivers")
def show_drivers(prediction: LoggedPrediction, model: CurrentModel) -> list[dict[str, Any]]:
    """Say which columns drove a prediction: what would change if one had its typical value."""
    if prediction["version"] != model.bundle.version:
        raise HTTPException(409, f"Version {prediction['version']} has answered; {model.bundle.version} is in use now.")
    (row,) = model.rows_adapter.validate_python([prediction["inputs"]])
    return find_drivers(model.bundle, row)


@router.post("/feedback")
async def take_feedback(body: Body, service: CurrentService, model: CurrentModel) -> dict[str, str]:
    """Say what became of a prediction."""
    feedback = model.feedback_adapter.validate_json(body)
    if not await run_in_threadpool(write_feedback, service.log, feedback.id, feedback.outcome, feedback.comment):
        raise HTTPException(404, f"There is no prediction {feedback.id}.")
    return {"detail": "Thank you."}


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the process is alive."""
    return {"detail": "alive"}


@router.get("/ready")
def ready(service: CurrentService, model: CurrentModel) -> dict[str, str]:
    """Say whether requests can be answered: there is a model, and the log can be written to."""
    service.check()
    return {"version": model.bundle.version}


@router.get("/model")
async def show_model(model: CurrentModel) -> dict[str, Any]:
    """Say which version answers, where it comes from and how good it was on the test data."""
    return {"version": model.bundle.version, **model.bundle.facts, "metrics": model.bundle.metrics}


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: CurrentService, model: CurrentModel) -> Response:
    """Give figures for Prometheus."""
    monitoring = None
    with suppress(SQLAlchemyError):  # the log is out of use: /ready says so, and all other metrics are true
        monitoring = read_monitoring_result(service.log)
    text = service.telemetry.render(model.bundle.version, monitoring)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
def page(model: CurrentModel) -> str:
    """Show the page for domain experts."""
    bundle = model.bundle
    profile = {name: bundle.profile.get(name, {}) for name in bundle.contract.columns}
    start = {name: typical_value(bundle.contract.columns[name], statistics) for name, statistics in profile.items()}
    classes = sorted(profile[bundle.contract.target]["shares"]) if bundle.contract.is_classification else []
    keys = bundle.contract.names("key")
    return render_page(
        PAGE_TEMPLATE,
        bundle.project.title,
        bundle=bundle,
        start=start,
        classes=classes,
        keys=keys,
        metrics=format_metrics(bundle.metrics),
        card=render_markdown(bundle.card),
    )


def render_markdown(markdown: str) -> Markup:
    """Turn Markdown into HTML. HTML in it is escaped; comments are left out."""
    text = re.sub("<!--.*?-->", "", markdown, flags=re.DOTALL)
    return Markup(MarkdownIt("js-default").render(text))  # noqa: S704  escaped by js-default
