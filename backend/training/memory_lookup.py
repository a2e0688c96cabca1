"""What the estimate of memory needs to know: which models a training loads, and which cards the workers have."""

from backend.core.enums import ArtifactKind
from backend.core.errors import Message
from backend.generation.serving import LATEST
from backend.jobs.device_memory import find_device_memory
from backend.jobs.local import CPU_PREFIX, find_devices
from backend.jobs.service import JobService
from backend.training.artifacts import find_requested_artifact, is_being_trained, names_artifact
from backend.training.grpo_settings import GrpoSettings
from backend.training.memory import RewardShape
from backend.training.memory_check import Hardware, MemoryVerdict, ModelShapes, best_hardware, judge_memory
from backend.training.model_shapes import STARTER_SHAPES, ModelShape, find_named_shape
from backend.training.settings import STARTER, TrainingSettings


def find_verdict(job_service: JobService, settings: TrainingSettings) -> MemoryVerdict | Message:
    """Whether the training fits the best worker's cards, or in one sentence why that cannot be known."""
    shapes = find_shapes(job_service, settings)
    if isinstance(shapes, Message):
        return shapes
    hardware = best_hardware(find_hardware(job_service), settings)
    if hardware is None:
        return Message(
            "Memory: cannot tell, since no worker says how much its devices have.",
            "显存：无法估计，没有工作进程报告设备有多少显存。",
        )
    return judge_memory(settings, shapes, hardware)


def find_hardware(job_service: JobService) -> list[Hardware]:
    """Of every living worker whose devices' memory is known; of this machine where no worker lives."""
    devices_by_worker = [(worker.devices, worker.device_memory) for worker in job_service.workers()]
    if not devices_by_worker:
        devices = find_devices(None)
        devices_by_worker = [(devices, find_device_memory(devices, CPU_PREFIX))]
    return [
        hardware for devices, memory in devices_by_worker if (hardware := build_hardware(devices, memory)) is not None
    ]


def build_hardware(devices: tuple[str, ...], device_memory: tuple[float | None, ...]) -> Hardware | None:
    """The cards among the devices, else the CPU; None where the memory of none is known."""
    known = [(name, memory) for name, memory in zip(devices, device_memory, strict=False) if memory]
    card_memory = sorted((memory for name, memory in known if not name.startswith(CPU_PREFIX)), reverse=True)
    if card_memory:
        return Hardware(tuple(card_memory))
    cpu_memory = [memory for name, memory in known if name.startswith(CPU_PREFIX)]
    return Hardware(tuple(cpu_memory[:1]), on_gpu=False) if cpu_memory else None


def find_shapes(job_service: JobService, settings: TrainingSettings) -> ModelShapes | Message:
    """The shapes of all models that the training loads, or which one is unknown."""
    base_shape = _find_base_shape(job_service, settings)
    if base_shape is None:
        return _unknown_model(job_service, settings.base, ArtifactKind.POLICY)
    if not (isinstance(settings, GrpoSettings) and settings.reward == "reward_model" and settings.reward_weight):
        return ModelShapes(base_shape)
    reward_shape = _find_model_shape(job_service, settings.reward_artifact, ArtifactKind.REWARD_MODEL)
    if reward_shape is None:
        return _unknown_model(job_service, settings.reward_artifact, ArtifactKind.REWARD_MODEL)
    return ModelShapes(base_shape, RewardShape(reward_shape))


def _find_base_shape(job_service: JobService, settings: TrainingSettings) -> ModelShape | None:
    if settings.base == STARTER:
        return STARTER_SHAPES[settings.shape]
    return _find_model_shape(job_service, settings.base, ArtifactKind.POLICY)


def _find_model_shape(job_service: JobService, model_name: str, artifact_kind: ArtifactKind) -> ModelShape | None:
    if not names_artifact(model_name):
        return find_named_shape(model_name)
    # Another one by the time the training starts.
    if model_name == LATEST and is_being_trained(job_service, artifact_kind):
        return None
    artifact = find_requested_artifact(job_service, model_name, artifact_kind)
    return find_named_shape(str(artifact.path)) if artifact is not None else None


def _unknown_model(job_service: JobService, model_name: str, artifact_kind: ArtifactKind) -> Message:
    artifact = find_requested_artifact(job_service, model_name, artifact_kind)
    is_being_made = model_name == LATEST and is_being_trained(job_service, artifact_kind)
    if model_name != LATEST or (artifact is not None and not is_being_made):
        model_name = artifact.name if artifact is not None else model_name
        return Message(
            f"Memory: cannot tell, since the size of “{model_name}” is not known before it is loaded.",
            f"显存：无法估计，加载之前不知道“{model_name}”有多大。",
        )
    en, zh = ("reward model", "奖励模型") if artifact_kind is ArtifactKind.REWARD_MODEL else ("policy", "写作模型")
    if is_being_made:
        return Message(
            f"Memory: cannot tell before the {en} that is being trained is there.",
            f"显存：正在训练的{zh}完成之前无法估计。",
        )
    return Message(f"Memory: cannot tell, since no {en} has been trained yet.", f"显存：无法估计，还没有训练好的{zh}。")
