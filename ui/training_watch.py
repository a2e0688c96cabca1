"""The list of trainings and one of them watched: polled by one timer, sent only where something changed."""

from contextlib import suppress
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.jobs.kinds import kind_of
from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import ACTIVE, ArtifactKind, JobStatus
from backend.services import Services
from backend.text import number_of
from backend.training_runs.history import Histories
from backend.training_runs.service import PROGRAMS, SERVE, TrainingService
from ui.say import Say
from ui.training_blocks import BUTTONS, Watch, update
from ui.training_jobs import jobs_table
from ui.training_views import (
    all_points,
    artifact_html,
    log_html,
    remarks_html,
    samples_html,
    status_html,
)
from ui.training_words import CURVES, label
from ui.widgets import esc

LOG_LINES = 80
Facts = dict[str, Any]


class Watcher:
    """Reads the rows and says what changed since the last look."""

    def __init__(self, services: Services, trainings: TrainingService, say: Say) -> None:
        self._services, self._trainings, self._say = services, trainings, say
        self._histories = Histories(services.jobs)

    def newest(self, wish: object = None) -> int | None:
        """The job to watch: the one wished for, else the newest that runs, that waits, or at all."""
        jobs = self._trainings.jobs()
        if (number := number_of(wish)) is not None:
            # A link to a job of another database: what is here is shown instead.
            with suppress(UserError):
                return self._trainings.job(number).id
        trainings = [job for job in jobs if job.kind in PROGRAMS]
        running = [job for job in trainings if job.status in ACTIVE]
        queued = [job for job in trainings if job.status is JobStatus.QUEUED]
        return next((job.id for job in (*running, *queued, *jobs)), None)

    def choice(self, job_id: int | None) -> Any:
        """The dropdown with a job chosen."""
        choices = self._choices(self._trainings.jobs(), job_id)
        return gr.update(choices=choices, value=job_id, visible=bool(choices))

    def look(
        self, watch: Watch, job_id: object, seen: dict[str, str] | None, choose: int | None = None
    ) -> list[Any]:
        """New values where something changed, nothing elsewhere; in the order of `watch.outputs`.

        `choose` also makes the dropdown change to another job, whose look then follows by itself; where none
        is watched yet, to the newest.
        """
        watched = int(job_id) if isinstance(job_id, int | float) else None
        facts = self._facts(watched)
        choose = choose or (None if watched else self.newest())
        known = dict(seen or {})
        values = []
        for name in watch.parts:
            mark = repr(facts[name])
            values.append(gr.skip() if known.get(name) == mark else update(name, facts[name]))
            known[name] = mark
        if choose is not None:
            values[list(watch.parts).index("which")] = self.choice(choose)
        return [known, *values]

    def _facts(self, job_id: int | None) -> Facts:
        jobs = self._trainings.jobs()
        job = self._trainings.job(job_id) if job_id else None
        blocked = self._trainings.starter_blocked()
        facts: Facts = {
            "starter": blocked is None,
            "why": f'<p class="zf-note">{esc(self._say.of(blocked))}</p>' if blocked else "",
            "listed": jobs_table(self._say, jobs, job_id),
            "which": self._choices(jobs, job_id),
            "has_log": job is not None,
            "timer": any(_busy(one) for one in jobs) or (job is not None and not job.ended),
        }
        return facts | (self._watched(job) if job else _nothing())

    def _watched(self, job: JobInfo) -> Facts:
        say, history = self._say, self._histories.of(job.id)
        made = self._trainings.artifact_of(job.id)
        serving = self._trainings.serving(made.id) if made else None
        address = self._trainings.address(serving.id) if serving and not serving.ended else None
        card = self._trainings.card(made) if made and job.kind != SERVE else ""
        plots = {f"plot{number}": found for number, found in enumerate(all_points(say, history))}
        able = made is not None and made.kind is ArtifactKind.POLICY
        return {
            "head": status_html(say, job, history),
            "remarks": remarks_html(say, history),
            "samples": samples_html(say, history.samples),
            "log": log_html(say, self._services.jobs.log_tail(job.id, LOG_LINES)),
            "artifact": artifact_html(say, made, serving, address) if made else "",
            "card": card,
            "has_card": bool(card),
            "serve": able and serving is None,
            "stop": able and serving is not None,
            **plots,
            **_possible(job),
        }

    def _choices(self, jobs: list[JobInfo], job_id: int | None) -> list[tuple[str, int]]:
        shown = list(jobs)
        if job_id and job_id not in [job.id for job in jobs]:
            shown.append(self._trainings.job(job_id))
        return [(label(self._say, job), job.id) for job in shown]


def _busy(job: JobInfo) -> bool:
    """Whether the list changes by itself; a model that waits for requests does not."""
    waits_for_requests = job.kind == SERVE and job.status is JobStatus.RUNNING and job.progress >= 1
    return not job.ended and not waits_for_requests


def _possible(job: JobInfo) -> Facts:
    """Which buttons make sense now."""
    training, stoppable = job.kind in PROGRAMS, job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    return {
        "cancel": stoppable or job.status in (JobStatus.PAUSED, JobStatus.PAUSING),
        "pause": stoppable and kind_of(job.kind).pausable,
        "resume": job.resumable,
        "again": job.ended,
        "changed": training,
    }


def _nothing() -> Facts:
    texts = dict.fromkeys(("head", "remarks", "samples", "log", "artifact", "card"), "")
    plots: Facts = {f"plot{number}": () for number in range(len(CURVES))}
    return {**texts, **plots, **dict.fromkeys(BUTTONS, False), "has_card": False}
