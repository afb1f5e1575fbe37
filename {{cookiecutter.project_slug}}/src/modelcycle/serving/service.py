"""What all requests share: the version in use, the requests that wait for it, and the prediction log."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from pydantic import TypeAdapter, conlist

from modelcycle.core.errors import InputError, first_line
from modelcycle.serving.answer import Job, answer_waiting_jobs, resolve_jobs
from modelcycle.serving.schema import Row, make_feedback_type, make_row_type
from modelcycle.serving.settings import Settings
from modelcycle.serving.telemetry import Telemetry
from modelcycle.versions.bundle import Bundle
from modelcycle.versions.prediction_log import check_log, open_log


@dataclass(frozen=True)
class ServedModel:
    """A version in production, with the types that validate its requests."""

    bundle: Bundle
    rows_adapter: TypeAdapter[Any]
    feedback_adapter: TypeAdapter[Any]

    @classmethod
    def from_bundle(cls, bundle: Bundle, max_rows: int) -> "ServedModel":
        """Prepare a bundle for requests of up to `max_rows` rows."""
        rows = conlist(make_row_type(bundle.contract, bundle.profile), min_length=1, max_length=max_rows)
        return cls(bundle, TypeAdapter(rows), TypeAdapter(make_feedback_type(bundle.contract, bundle.profile)))


class PredictionService:
    """Answers with the champion, in batches, and logs each answer before it is sent."""

    def __init__(
        self, settings: Settings, load_bundle: Callable[[], Bundle], read_champion_number: Callable[[], str] | None
    ) -> None:
        """Load the version to serve.

        read_champion_number: called every few seconds; when the number has changed, the new champion is loaded while
            the old one answers. None where the version never changes.
        """
        self.settings, self.load_bundle, self.read_champion_number = settings, load_bundle, read_champion_number
        self.log = open_log(settings.database_url)
        self.model = self._load_model()
        self.telemetry = Telemetry(self.model.bundle.profile[self.model.bundle.contract.target].get("edges", []))
        self._tell_start()
        self.waiting_jobs = asyncio.Queue[Job]()
        self.tasks: list[asyncio.Task[None]] = []

    def _load_model(self) -> ServedModel:
        model = ServedModel.from_bundle(self.load_bundle(), self.settings.most_rows)
        model.bundle.classes  # noqa: B018  raises where the version does not run
        return model

    def _load_new_model(self) -> ServedModel:
        model = self._load_model()
        model.bundle.require_same_answers()
        return model

    def _tell_start(self) -> None:
        """Warn of answers that are not those of the release: without them nobody would be answered at all."""
        logging.info("version %s is in use", self.model.bundle.version)
        try:
            self.model.bundle.require_same_answers()
        except InputError as error:
            logging.warning("%s", error)
            self.telemetry.answers_changed.set(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer, log and follow the champion until the block ends; what is answered by then is logged."""
        answering = answer_waiting_jobs(self.waiting_jobs, self.log, self.settings.most_rows)
        self.tasks = [asyncio.create_task(answering)]
        if self.read_champion_number:
            self.tasks.append(asyncio.create_task(self._follow_champion(self.read_champion_number)))
        yield
        for task in self.tasks:
            task.cancel()

    async def _follow_champion(self, read_champion_number: Callable[[], str]) -> None:
        """Load each new champion; where that fails, say once why, and go on with the present one."""
        told = ""
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                if await asyncio.to_thread(read_champion_number) != self.model.bundle.version:
                    self.model = await asyncio.to_thread(self._load_new_model)
                    self.telemetry.answers_changed.set(0)
                    logging.info("version %s is in use", self.model.bundle.version)
                reason = ""
            except Exception as error:  # the store is out of reach, a file was changed, the code does not run
                reason = first_line(error)
            if reason and reason != told:
                logging.warning(
                    "the new champion can't be loaded; version %s goes on: %s", self.model.bundle.version, reason
                )
            told = reason

    async def predict(self, rows: list[Row], caller: str, model: ServedModel) -> list[dict[str, Any]]:
        """Answer rows that `model` has validated, in a batch with the requests that wait as well.

        Raises HTTPException where the answer takes too long, SQLAlchemyError where it can't be logged.
        """
        loop = asyncio.get_running_loop()
        job = Job(rows, caller, model.bundle, loop.create_future())
        self.waiting_jobs.put_nowait(job)
        timeout = HTTPException(503, "The answer took too long; try again.")
        timer = loop.call_later(self.settings.most_seconds, resolve_jobs, [job], timeout)
        try:
            return await job.future
        finally:
            timer.cancel()

    def check(self) -> None:
        """Raise HTTPException where a part of the service has ended, SQLAlchemyError where the log is out of use."""
        if not self.tasks or any(task.done() for task in self.tasks):
            raise HTTPException(503, "A part of the service has ended; start it again. Its log says why.")
        check_log(self.log)
