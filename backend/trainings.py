"""Trainings as pages and commands start them: checked, queued, cancelled, their models served."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backend.errors import Conflict, Message, NotFound, UserError
from backend.jobs.devices import CPU
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, EventKind, JobStatus
from backend.judges.spec import ASKING, JudgeKind, JudgeSpec
from backend.training_config import (
    ARTIFACT,
    LATEST,
    STARTER,
    TrainingSettings,
    check_base,
    settings_for,
    settings_type,
)
from backend.training_config_grpo import GrpoSettings
from backend.training_config_serve import parse_serve

PROGRAMS = ("sft", "reward_model", "grpo")
SERVE = "serve"
KINDS = (*PROGRAMS, SERVE)
STARTER_PRESET = "starter_cpu"
STARTER_NAMES = {"sft": "starter", "reward_model": "starter-reward"}
MAKES = {
    "sft": ArtifactKind.POLICY,
    "grpo": ArtifactKind.POLICY,
    "reward_model": ArtifactKind.REWARD_MODEL,
}
CARD = "README.md"
CARD_LIMIT = 200_000


@dataclass(frozen=True)
class Problem:
    """What is wrong with one setting; `field` is empty where it is about several."""

    field: str
    message: Message


@dataclass(frozen=True)
class Address:
    """Where a served model answers."""

    base_url: str
    model: str


class TrainingService:
    """Trainings and the models they leave behind, on top of the job room."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def submit(
        self,
        program: str,
        preset: str | None,
        values: Mapping[str, Any],
        priority: int = 0,
        parent: int | None = None,
    ) -> JobInfo:
        """Queue a training. Raises UserError naming the preset or the setting that is wrong."""
        settings = settings_for(program, preset, values)
        slots = getattr(settings, "processes", 1)
        return self._jobs.submit(program, settings.model_dump(mode="json"), priority, slots, parent)

    def problems(
        self,
        program: str,
        values: Mapping[str, Any],
        datasets: Collection[str],
        endpoints: Collection[str],
    ) -> list[Problem]:
        """Everything that would stop this training, as far as it can be known before the start."""
        try:
            settings = settings_type(program)(**values)
        except ValidationError as error:
            return [_problem(details) for details in error.errors()]
        named = {"datasets": settings.datasets, "exclude": settings.exclude}
        found = [
            Problem(field, _no_dataset(name))
            for field, names in named.items()
            for name in names
            if name not in datasets
        ]
        return [*found, *self._missing(settings, endpoints)]

    def jobs(self, limit: int = 30) -> list[JobInfo]:
        """Trainings and servings, newest first."""
        found = [job for kind in KINDS for job in self._jobs.jobs(limit, kind)]
        return sorted(found, key=lambda job: job.id, reverse=True)[:limit]

    def job(self, job_id: int) -> JobInfo:
        """One of them. Raises NotFound, for a job of another room too."""
        job = self._jobs.job(job_id)
        if job.kind not in KINDS:
            raise NotFound(f"Job {job_id} is no training.", f"任务 {job_id} 不是训练任务。")
        return job

    def cancel(self, job_id: int) -> JobInfo:
        """End a job, and the starter's reward model that waits for its policy."""
        job = self._jobs.cancel(self.job(job_id).id)
        for other in self._jobs.jobs(kind="reward_model"):
            waits = other.status is JobStatus.QUEUED and other.parent_id == job_id
            if waits and job.kind == "sft" and other.config.get("base") == LATEST:
                self._jobs.cancel(other.id)
        return job

    def again(self, job_id: int) -> JobInfo:
        """A new job with the same settings."""
        return self._jobs.run_again(self.job(job_id).id)

    def starter_blocked(self) -> Message | None:
        """Why the starter model cannot be trained now; None where it can."""
        for job in self._jobs.jobs(kind="sft") + self._jobs.jobs(kind="reward_model"):
            mine = job.config.get("base") == STARTER or job.config.get("name") in STARTER_NAMES.values()
            if mine and not job.ended:
                return Message(
                    f"The starter model is being trained already (job {job.id}, {job.status.value}).",
                    f"入门模型已在训练（任务 {job.id}）。",
                )
        return None

    def start_starter(self) -> tuple[JobInfo, JobInfo]:
        """Queue policy and reward model of the starter, in this order. Raises Conflict while one runs."""
        if blocked := self.starter_blocked():
            raise Conflict(blocked.en, blocked.zh)
        policy = self.submit("sft", STARTER_PRESET, {"name": STARTER_NAMES["sft"]})
        named = {"name": STARTER_NAMES["reward_model"]}
        return policy, self.submit("reward_model", STARTER_PRESET, named, parent=policy.id)

    def artifact_of(self, job_id: int) -> ArtifactInfo | None:
        """The model that a job left behind, or that it serves."""
        job, known = self.job(job_id), self._jobs.artifacts()
        if job.kind == SERVE:
            wish = str(job.config.get("artifact", ""))
            return next((made for made in known if wish == f"{ARTIFACT}{made.id}"), None)
        return next((made for made in known if made.job_id == job_id and made.kind is MAKES[job.kind]), None)

    def card(self, artifact: ArtifactInfo) -> str:
        """The model card; empty where there is none (any more)."""
        try:
            with (artifact.path / CARD).open(encoding="utf-8") as file:
                return file.read(CARD_LIMIT)
        except (OSError, UnicodeDecodeError):
            return ""

    def serve(self, artifact_id: int) -> JobInfo:
        """Queue the serving of a policy. Raises UserError where there is nothing to serve."""
        found = next((made for made in self._jobs.artifacts() if made.id == artifact_id), None)
        if found is None or found.kind is not ArtifactKind.POLICY:
            raise NotFound(
                f"Artifact {artifact_id} is no policy; only those can be served.",
                f"产物 {artifact_id} 不是策略模型，只有策略模型可以启动服务。",
            )
        _check_there(found)
        if running := self.serving(artifact_id):
            raise Conflict(
                f"Job {running.id} serves this model already.", f"任务 {running.id} 已在提供这个模型的服务。"
            )
        settings = parse_serve({"artifact": f"{ARTIFACT}{artifact_id}"})
        # On a CPU a model that waits for requests must not keep the only slot from the next training.
        gpus = any(not name.startswith(CPU) for worker in self._jobs.workers() for name in worker.devices)
        return self._jobs.submit(SERVE, settings.model_dump(mode="json"), slots=int(gpus))

    def serving(self, artifact_id: int) -> JobInfo | None:
        """The job that serves an artifact, while it does."""
        wish = f"{ARTIFACT}{artifact_id}"
        jobs = self._jobs.jobs(kind=SERVE)
        return next((job for job in jobs if not job.ended and job.config.get("artifact") == wish), None)

    def address(self, job_id: int) -> Address | None:
        """Where a serving job answers, once it does."""
        events = self._jobs.events(job_id, kinds=[EventKind.LOG])
        told = next((event.data for event in reversed(events) if "base_url" in event.data), None)
        return Address(str(told["base_url"]), str(told.get("model", ""))) if told else None

    def _missing(self, settings: TrainingSettings, endpoints: Collection[str]) -> Iterator[Problem]:
        try:
            check_base(settings.base)
            self._check_artifact(settings.base, ArtifactKind.POLICY)
        except UserError as error:
            yield Problem("base", error.message)
        if not isinstance(settings, GrpoSettings) or not settings.reward_weight:
            return
        if settings.reward == "reward_model":
            try:
                self._check_artifact(settings.reward_artifact, ArtifactKind.REWARD_MODEL)
            except UserError as error:
                yield Problem("reward_artifact", error.message)
        else:
            yield from _judge_problems(settings, endpoints)

    def _check_artifact(self, wish: str, kind: ArtifactKind) -> None:
        """Raises UserError for “latest” where there is none, and for an artifact that is not there."""
        if wish != LATEST and not wish.startswith(ARTIFACT):
            if kind is ArtifactKind.REWARD_MODEL and not (Path(wish).expanduser() / "config.json").is_file():
                raise UserError(
                    f"“{wish}” holds no reward model; choose one from the list, or train one.",
                    f"“{wish}”中没有奖励模型，请从列表中选择，或先训练一个。",
                )
            return
        known = self._jobs.artifacts(kind)
        found = next((made for made in known if wish in (LATEST, f"{ARTIFACT}{made.id}")), None)
        if found is not None:
            _check_there(found)
        elif wish != LATEST or not self._coming(kind):
            raise _no_artifact(wish, kind)

    def _coming(self, kind: ArtifactKind) -> bool:
        makers = [program for program, made in MAKES.items() if made is kind]
        return any(not job.ended for program in makers for job in self._jobs.jobs(kind=program))


def size_of(path: Path) -> int | None:
    """Bytes of a file or folder; None where it is gone."""
    try:
        return _size(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=512)
def _size(path: Path, _changed: int) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _judge_problems(settings: GrpoSettings, endpoints: Collection[str]) -> Iterator[Problem]:
    kind = JudgeKind(settings.reward)
    try:
        JudgeSpec(kind, kind.value, settings.endpoint, settings.judge)
    except UserError as error:
        yield Problem("judge", error.message)
    if kind not in ASKING:
        return
    if settings.endpoint is not None and settings.endpoint not in endpoints:
        yield Problem(
            "endpoint",
            Message(
                f"There is no endpoint “{settings.endpoint}”; choose another.",
                f"没有名为“{settings.endpoint}”的模型端点，请另选一个。",
            ),
        )
    elif not endpoints:
        yield Problem(
            "endpoint",
            Message(
                "This reward asks a model, and no endpoint is known; enter one under Judges → Endpoints.",
                "这种奖励要调用大模型，但还没有模型端点；请先到“裁判 → 模型端点”添加。",
            ),
        )


_ZH = {
    "greater_than": "必须大于 {gt:g}。",
    "greater_than_equal": "不能小于 {ge:g}。",
    "less_than": "必须小于 {lt:g}。",
    "less_than_equal": "不能大于 {le:g}。",
    "int_from_float": "必须是整数。",
    "int_type": "请填写整数。",
    "int_parsing": "请填写整数。",
    "float_type": "请填写数字。",
    "float_parsing": "请填写数字。",
    "finite_number": "必须是有限的数。",
    "literal_error": "请从列表中选择。",
    "string_too_short": "不能为空。",
    "string_too_long": "最多 {max_length} 个字符。",
    "string_type": "不能为空。",
    "dict_type": "请填写 JSON 对象。",
    "extra_forbidden": "没有这项设置。",
}
_EN = {
    "int_type": "Enter a whole number.",
    "int_from_float": "Enter a whole number.",
    "float_type": "Enter a number.",
    "string_type": "It must not be empty.",
}


def _problem(details: ErrorDetails) -> Problem:
    told = details["msg"].removeprefix("Value error, ").rstrip(".")
    en = _EN.get(details["type"], f"{told[:1].upper()}{told[1:]}.")
    zh = _ZH[details["type"]].format(**details.get("ctx", {})) if details["type"] in _ZH else en
    return Problem(".".join(map(str, details["loc"])), Message(en, zh))


def _no_dataset(name: str) -> Message:
    return Message(
        f"There is no data set “{name}”; choose another.", f"没有名为“{name}”的数据集，请另选一个。"
    )


def _no_artifact(wish: str, kind: ArtifactKind) -> UserError:
    if kind is ArtifactKind.POLICY:
        return NotFound(
            f"There is no trained policy “{wish}”; run SFT first (the starter needs no GPU).",
            f"还没有训练好的策略模型（{wish}）；请先做 SFT（入门模型不需要显卡）。",
        )
    return NotFound(
        f"There is no reward model “{wish}”; train one first, or choose another reward.",
        f"还没有训练好的奖励模型（{wish}）；请先训练一个，或换一种奖励。",
    )


def _check_there(artifact: ArtifactInfo) -> None:
    if not artifact.path.is_dir():
        raise NotFound(
            f"The files of artifact {artifact.id} are gone ({artifact.path}); train it again.",
            f"产物 {artifact.id} 的文件已不在（{artifact.path}），请重新训练。",
        )
