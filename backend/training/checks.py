"""What would stop a training, found before it is queued: one sentence for each setting that is wrong."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backend.core.enums import ArtifactKind
from backend.core.errors import Message, NotFound, UserError
from backend.generation.serving import LATEST, check_artifact_files
from backend.jobs.service import JobService
from backend.judges.base import ASKING_KINDS, JudgeKind, JudgeSpec
from backend.training.artifacts import find_requested_artifact, is_being_trained, names_artifact
from backend.training.grpo_settings import GrpoSettings
from backend.training.memory_lookup import find_verdict
from backend.training.settings import TrainingSettings, check_base, find_settings_class


@dataclass(frozen=True)
class SettingProblem:
    """What is wrong with one setting; `field` is empty where it is about several.

    `change` holds values by setting that would mend it, where they are known. `is_estimated` marks what somebody may
    know better.
    """

    field: str
    message: Message
    change: Mapping[str, Any] = dataclass_field(default_factory=dict)
    is_estimated: bool = False


def read_entries(program: str, setting_values: Mapping[str, Any]) -> TrainingSettings | list[SettingProblem]:
    """Typed settings from what somebody entered, or what is wrong with each field of it, all at once."""
    try:
        # Not `parse_settings`, which stops at the first fault: a form shows all of them at once.
        return find_settings_class(program)(**setting_values)
    except ValidationError as error:
        return [_problem_from_error(error_details) for error_details in error.errors()]


def find_problems(
    job_service: JobService, settings: TrainingSettings, datasets: Collection[str], endpoints: Collection[str]
) -> list[SettingProblem]:
    """Everything that would stop this training, as far as it can be known before the start.

    `datasets` and `endpoints` are the names of those that there are.
    """
    named_datasets = {name: getattr(settings, name) for name in ("datasets", "exclude", "test_datasets")}
    dataset_problems = [
        SettingProblem(setting_name, _missing_dataset(dataset_name))
        for setting_name, dataset_names in named_datasets.items()
        for dataset_name in dataset_names
        if dataset_name not in datasets
    ]
    missing_problems = [*dataset_problems, *_find_missing(job_service, settings, endpoints)]
    # The memory of what is not there cannot be known.
    return missing_problems or find_memory_problems(job_service, settings)


def find_memory_problems(job_service: JobService, settings: TrainingSettings) -> list[SettingProblem]:
    """The one that the training needs more memory than any worker's card has; none where that is not known."""
    if settings.memory_check == "warn":
        return []
    verdict = find_verdict(job_service, settings)
    if isinstance(verdict, Message) or verdict.fits:
        return []
    changed_field = next(iter(verdict.change), "base")
    return [SettingProblem(changed_field, verdict.message, verdict.change, is_estimated=True)]


def _find_missing(
    job_service: JobService, settings: TrainingSettings, endpoints: Collection[str]
) -> Iterator[SettingProblem]:
    try:
        check_base(settings.base)
        _check_artifact(job_service, settings.base, ArtifactKind.POLICY)
    except UserError as error:
        yield SettingProblem("base", error.message)
    # A reward without weight is never asked, so what it would need may be missing.
    if not isinstance(settings, GrpoSettings) or not settings.reward_weight:
        return
    if settings.reward == "reward_model":
        try:
            _check_artifact(job_service, settings.reward_artifact, ArtifactKind.REWARD_MODEL)
        except UserError as error:
            yield SettingProblem("reward_artifact", error.message)
    else:
        yield from _find_judge_problems(settings, endpoints)


def _check_artifact(job_service: JobService, requested_artifact: str, artifact_kind: ArtifactKind) -> None:
    """Raises UserError for “latest” where there is none, and for an artifact that is not there."""
    if not names_artifact(requested_artifact):
        if (
            # A reward model is never fetched from the hub, so anything else must be a folder that holds one.
            artifact_kind is ArtifactKind.REWARD_MODEL
            and not (Path(requested_artifact).expanduser() / "config.json").is_file()
        ):
            raise UserError(
                f"“{requested_artifact}” holds no reward model; choose one from the list, or train one.",
                f"“{requested_artifact}”中没有奖励模型，请从列表中选择，或先训练一个。",
            )
        return
    artifact = find_requested_artifact(job_service, requested_artifact, artifact_kind)
    if artifact is not None:
        check_artifact_files(artifact)
    # “Latest” may well mean what a job in front of this one is about to leave behind.
    elif requested_artifact != LATEST or not is_being_trained(job_service, artifact_kind):
        raise _missing_artifact(requested_artifact, artifact_kind)


def _find_judge_problems(settings: GrpoSettings, endpoints: Collection[str]) -> Iterator[SettingProblem]:
    judge_kind = JudgeKind(settings.reward)
    try:
        JudgeSpec(judge_kind, judge_kind.value, settings.endpoint, settings.judge)
    except UserError as error:
        yield SettingProblem("judge", error.message)
    if judge_kind not in ASKING_KINDS:
        return
    if settings.endpoint is not None and settings.endpoint not in endpoints:
        yield SettingProblem(
            "endpoint",
            Message(
                f"There is no endpoint “{settings.endpoint}”; choose another.",
                f"没有名为“{settings.endpoint}”的模型端点，请另选一个。",
            ),
        )
    # None named means the default one, and there has to be one for that.
    elif not endpoints:
        yield SettingProblem(
            "endpoint",
            Message(
                "This reward asks a model, and no endpoint is known; enter one under Judges → Endpoints.",
                "这种奖励要调用大模型，但还没有模型端点；请先到“裁判 → 模型端点”添加。",
            ),
        )


_MESSAGES_ZH = {
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
# Where pydantic's own English speaks of types, which nobody fills into a form.
_MESSAGES_EN = {
    "int_type": "Enter a whole number.",
    "int_from_float": "Enter a whole number.",
    "float_type": "Enter a number.",
    "string_type": "It must not be empty.",
}


def _problem_from_error(error_details: ErrorDetails) -> SettingProblem:
    # Pydantic puts this before the words of our own validators.
    error_text = error_details["msg"].removeprefix("Value error, ").rstrip(".")
    en = _MESSAGES_EN.get(error_details["type"], f"{error_text[:1].upper()}{error_text[1:]}.")
    zh = (
        _MESSAGES_ZH[error_details["type"]].format(**error_details.get("ctx", {}))
        if error_details["type"] in _MESSAGES_ZH
        else en
    )
    return SettingProblem(".".join(map(str, error_details["loc"])), Message(en, zh))


def _missing_dataset(dataset_name: str) -> Message:
    return Message(
        f"There is no data set “{dataset_name}”; choose another.",
        f"没有名为“{dataset_name}”的数据集，请另选一个。",
    )


def _missing_artifact(requested_artifact: str, artifact_kind: ArtifactKind) -> UserError:
    if artifact_kind is ArtifactKind.POLICY:
        return NotFound(
            f"There is no trained policy “{requested_artifact}”; run SFT first (the starter needs no GPU).",
            f"还没有训练好的策略模型（{requested_artifact}）；请先做 SFT（入门模型不需要显卡）。",
        )
    return NotFound(
        f"There is no reward model “{requested_artifact}”; train one first, or choose another reward.",
        f"还没有训练好的奖励模型（{requested_artifact}）；请先训练一个，或换一种奖励。",
    )
