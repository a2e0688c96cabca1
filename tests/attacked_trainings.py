"""Views of trainings whose every text is an attack; `tests/test_escaping.py` looks at them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace as Record
from typing import Any

from backend.core.enums import ArtifactKind, JobStatus
from backend.generation.serving import ServedAddress
from backend.jobs.messages import JobMessage
from backend.training.checks import SettingProblem
from backend.training.history import JobHistory, SampleText
from backend.training.messages import UNSCORED
from tests.attacked_runs import ATTACK, MESSAGE
from ui.components.language import Translator
from ui.training import form, views

MOMENT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def training(**changes: Any) -> Any:
    """A training that failed, for which the program reported the attack."""
    texts = {"kind": ATTACK, "config": {"name": ATTACK}, "devices": (ATTACK,), "error": MESSAGE, "waiting": MESSAGE}
    state = {"status": JobStatus.FAILED, "attempt": 2, "progress": 0.5, "ended": True}
    times = {"started_at": MOMENT, "finished_at": MOMENT, "progress_message": JobMessage.from_text(ATTACK)}
    return Record(**({"id": 7} | texts | state | times | changes))


def artifact(**changes: Any) -> Any:
    """A model whose files are gone."""
    texts = {"name": ATTACK, "data_hash": ATTACK, "metrics": {"steps": ATTACK, "eval_loss": 1.5}}
    numbers = {"id": 3, "parent_id": 3, "job_id": 7, "created_at": MOMENT}
    return Record(**({"kind": ArtifactKind.POLICY, "path": Path("/nowhere")} | texts | numbers | changes))


def history() -> JobHistory:
    """More steps of samples than stand open."""
    samples = [SampleText(step, ATTACK, ATTACK) for step in range(views.NEWEST_STEPS + 1)]
    return JobHistory(samples=samples, messages=[UNSCORED.fill(reward=ATTACK, reason=ATTACK)])


def running(translate: Translator) -> str:
    """The list where nothing has failed: remarks are written another way."""
    return views.jobs_table(translate, [training(status=JobStatus.RUNNING, error=None)], None)


def served(translate: Translator) -> str:
    """A model that answers at an address."""
    return views.artifact_html(translate, artifact(), training(), ServedAddress(ATTACK, ATTACK))


TRAINING_VIEWS: dict[str, Callable[[Translator], str]] = {
    "trainings": lambda translate: views.jobs_table(translate, [training()], 7),
    "running trainings": running,
    "training": lambda translate: views.job_status_html(translate, training(), history()),
    "remarks": lambda translate: views.remarks_html(translate, history()),
    "samples": lambda translate: views.samples_html(translate, history().samples),
    "log": lambda translate: views.log_html(translate, [ATTACK, ATTACK]),
    "artifacts": lambda translate: views.artifacts_table(translate, [artifact()]),
    "artifact": lambda translate: views.artifact_html(translate, artifact(), training(), None),
    "served artifact": served,
    "setting problem": lambda translate: form.problem_html(translate, SettingProblem("seed", MESSAGE)),
}
