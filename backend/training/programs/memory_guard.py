"""The estimate of memory against the device that a program really got, before it loads anything."""

import os
from typing import Any

import torch

from backend.core.enums import ArtifactKind
from backend.core.errors import Message, UserError
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.jobs.device_memory import BYTES_PER_UNIT, machine_memory
from backend.training.grpo_settings import GrpoSettings
from backend.training.memory import RewardShape
from backend.training.memory_check import Hardware, MemoryVerdict, ModelShapes, judge_memory
from backend.training.messages import MEMORY_ESTIMATE, MEMORY_SHORT, MEMORY_UNKNOWN
from backend.training.model_shapes import STARTER_SHAPES, ModelShape, find_named_shape
from backend.training.programs import models
from backend.training.programs.program import TrainingRun
from backend.training.settings import STARTER


def refuse_oversized(training_run: TrainingRun[Any]) -> None:
    """Report the estimate. Raises UserError where it exceeds the device and `memory_check` is “refuse”."""
    # Of several processes the first one, which starts the others, has looked.
    if "WORLD_SIZE" in os.environ:
        return
    verdict = find_verdict(training_run)
    if verdict is None:
        training_run.report.log(MEMORY_UNKNOWN.fill(base=training_run.settings.base))
        return
    if verdict.fits:
        training_run.report.log(_describe(verdict))
        return
    if training_run.settings.memory_check == "refuse":
        raise _refusal(verdict.message)
    training_run.report.log(MEMORY_SHORT.fill(reason_en=verdict.message.en, reason_zh=verdict.message.zh))


def find_verdict(training_run: TrainingRun[Any]) -> MemoryVerdict | None:
    """How the run fits its device; None for a model whose size is not known before it is loaded."""
    base_shape = _find_shape(training_run, training_run.settings.base, ArtifactKind.POLICY)
    settings = training_run.settings
    if base_shape is None:
        return None
    reward = None
    if isinstance(settings, GrpoSettings) and settings.reward == "reward_model" and settings.reward_weight:
        reward_shape = _find_shape(training_run, settings.reward_artifact, ArtifactKind.REWARD_MODEL)
        if reward_shape is None:
            return None
        reward = RewardShape(reward_shape)
    return judge_memory(settings, ModelShapes(base_shape, reward), read_hardware(training_run.device))


def read_hardware(device: str) -> Hardware:
    """The memory of the cards that this process sees, or of its machine."""
    if device == "cpu":
        return Hardware((machine_memory(),), on_gpu=False)
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Hardware(tuple(sorted((card.total_memory / BYTES_PER_UNIT for card in properties), reverse=True)))


def _find_shape(training_run: TrainingRun[Any], model_name: str, artifact_kind: ArtifactKind) -> ModelShape | None:
    if model_name == STARTER:
        return STARTER_SHAPES[training_run.settings.shape]
    if model_name == LATEST or model_name.startswith(ARTIFACT_PREFIX):
        _, artifact_folder = models.find_artifact(training_run, model_name, artifact_kind)
        model_name = str(artifact_folder)
    return find_named_shape(model_name)


def _describe(verdict: MemoryVerdict) -> Any:
    parts = sorted(verdict.estimate.parts.items(), key=lambda part: -part[1])
    return MEMORY_ESTIMATE.fill(
        needed=verdict.estimate.total,
        available=verdict.card_gb,
        phase=verdict.estimate.phase,
        parts=", ".join(f"{part_name} {part_gb:.2f}" for part_name, part_gb in parts),
    )


def _refusal(explanation: Message) -> UserError:
    return UserError(
        f"{explanation.en} This is an estimate; memory_check=warn starts all the same.",
        f"{explanation.zh}这只是估计，设 memory_check=warn 可照常开始。",
    )
