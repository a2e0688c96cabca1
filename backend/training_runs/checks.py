"""What would stop a training, said before it is queued: one sentence for each setting that is wrong."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backend.errors import Message, NotFound, UserError
from backend.jobs.records import ArtifactInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind
from backend.judges.spec import ASKING, JudgeKind, JudgeSpec
from backend.training_runs.config import ARTIFACT, LATEST, TrainingSettings, check_base, settings_type
from backend.training_runs.config_grpo import GrpoSettings

MAKES = {
    "sft": ArtifactKind.POLICY,
    "grpo": ArtifactKind.POLICY,
    "reward_model": ArtifactKind.REWARD_MODEL,
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one setting; `field` is empty where it is about several."""

    field: str
    message: Message


def problems(
    jobs: JobService,
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
    return [*found, *_missing(jobs, settings, endpoints)]


def _missing(jobs: JobService, settings: TrainingSettings, endpoints: Collection[str]) -> Iterator[Problem]:
    try:
        check_base(settings.base)
        _check_artifact(jobs, settings.base, ArtifactKind.POLICY)
    except UserError as error:
        yield Problem("base", error.message)
    if not isinstance(settings, GrpoSettings) or not settings.reward_weight:
        return
    if settings.reward == "reward_model":
        try:
            _check_artifact(jobs, settings.reward_artifact, ArtifactKind.REWARD_MODEL)
        except UserError as error:
            yield Problem("reward_artifact", error.message)
    else:
        yield from _judge_problems(settings, endpoints)


def _check_artifact(jobs: JobService, wish: str, kind: ArtifactKind) -> None:
    """Raises UserError for “latest” where there is none, and for an artifact that is not there."""
    if wish != LATEST and not wish.startswith(ARTIFACT):
        if kind is ArtifactKind.REWARD_MODEL and not (Path(wish).expanduser() / "config.json").is_file():
            raise UserError(
                f"“{wish}” holds no reward model; choose one from the list, or train one.",
                f"“{wish}”中没有奖励模型，请从列表中选择，或先训练一个。",
            )
        return
    known = jobs.artifacts(kind)
    found = next((made for made in known if wish in (LATEST, f"{ARTIFACT}{made.id}")), None)
    if found is not None:
        check_there(found)
    elif wish != LATEST or not _coming(jobs, kind):
        raise _no_artifact(wish, kind)


def _coming(jobs: JobService, kind: ArtifactKind) -> bool:
    makers = [program for program, made in MAKES.items() if made is kind]
    return any(not job.ended for program in makers for job in jobs.jobs(kind=program))


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


def check_there(artifact: ArtifactInfo) -> None:
    """Raises NotFound where the files of an artifact are gone."""
    if not artifact.path.is_dir():
        raise NotFound(
            f"The files of artifact {artifact.id} are gone ({artifact.path}); train it again.",
            f"产物 {artifact.id} 的文件已不在（{artifact.path}），请重新训练。",
        )
