"""A model whose parts lie on several devices: accelerate's configuration for it, and how it is read and saved whole.

Whether a model is sharded, the trainer knows (`is_fsdp_enabled`, `is_deepspeed_enabled`); its arguments are empty where
`accelerate launch` set it up.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.utils import ComputeEnvironment, DistributedType
from transformers import Trainer
from trl.distributed import DistributedBackend
from trl.models import unwrap_model_for_generation

from backend.core.errors import UserError
from backend.training.programs.precision import MIXED_PRECISION_NAMES
from backend.training.settings import TrainingSettings

if TYPE_CHECKING:
    from backend.training.programs.program import TrainingRun

CONFIG_FILE = "accelerate.yaml"
ZERO_STAGES = {"zero2": 2, "zero3": 3}
WHOLE_STATE, STATE_IN_SHARES = "FULL_STATE_DICT", "SHARDED_STATE_DICT"


def write_accelerate_config(training_run: "TrainingRun[Any]") -> Path:
    """accelerate's own configuration of the run's processes, in its folder.

    Raises UserError for sharding that this machine cannot do.
    By hand the same is `accelerate launch --config_file FILE -m backend.training.programs.X …`.
    """
    settings = training_run.settings
    _check_sharding(settings, training_run.device)
    cluster_config = ClusterConfig(
        compute_environment=ComputeEnvironment.LOCAL_MACHINE,
        # On a CPU too: accelerate's launcher for GPUs is torch's, and gloo works under it; the one for CPUs wants MPI.
        distributed_type=_distributed_type(settings),
        mixed_precision=MIXED_PRECISION_NAMES[training_run.compute_dtype],
        use_cpu=False,
        debug=False,
        num_processes=settings.processes,
        # Any free one: the default port is the same for two trainings on one machine.
        main_process_port=0,
        fsdp_config=_fsdp_config(settings) if settings.sharding == "fsdp" else None,
        deepspeed_config=_deepspeed_config(settings) if settings.sharding in ZERO_STAGES else None,
    )
    config_path = training_run.output_folder / CONFIG_FILE
    cluster_config.to_yaml_file(config_path)
    return config_path


def _check_sharding(settings: TrainingSettings, device: str) -> None:
    if settings.sharding != "none" and device == "cpu":
        raise UserError(
            f"sharding = {settings.sharding} needs GPUs, and this training runs on the CPU; set sharding=none.",
            f"sharding = {settings.sharding} 需要 GPU，而此训练在 CPU 上运行，请设 sharding=none。",
        )
    if settings.sharding in ZERO_STAGES and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            f"sharding = {settings.sharding}, but DeepSpeed is not installed; install deepspeed or set sharding=fsdp.",
            f"sharding = {settings.sharding}，但没有安装 DeepSpeed，请安装 deepspeed 或设 sharding=fsdp。",
        )


def _distributed_type(settings: TrainingSettings) -> DistributedType:
    if settings.sharding == "fsdp":
        return DistributedType.FSDP
    return DistributedType.DEEPSPEED if settings.sharding in ZERO_STAGES else DistributedType.MULTI_GPU


def _fsdp_config(settings: TrainingSettings) -> dict[str, Any]:
    return {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": True,
        "fsdp_offload_params": settings.offload,
        # Each process writes its own share of a checkpoint; the artifact is gathered (`save_whole_model`).
        "fsdp_state_dict_type": STATE_IN_SHARES,
        # Otherwise all but the first process load every model empty, to be filled while it is sharded: a reward
        # model, which is not, would score at random, and so would TRL's reference model, which it does not fill.
        "fsdp_cpu_ram_efficient_loading": False,
        # The trainer's own does the same, for models that are not sharded too.
        "fsdp_activation_checkpointing": False,
    }


def _deepspeed_config(settings: TrainingSettings) -> dict[str, Any]:
    stage, resting_place = ZERO_STAGES[settings.sharding], "cpu" if settings.offload else "none"
    return {
        "deepspeed_multinode_launcher": "standard",
        "zero_stage": stage,
        "offload_optimizer_device": resting_place,
        # Only stage 3 has shares of weights to put away.
        "offload_param_device": resting_place if stage == 3 else "none",
        "zero3_init_flag": stage == 3,
        "zero3_save_16bit_model": stage == 3,
    }


def is_sharded(trainer: Trainer) -> bool:
    """Whether no process holds the whole training, so that reading and saving the model takes all of them."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


@contextmanager
def readable_model(trainer: Trainer) -> Iterator[Any]:
    """The model as `generate` can use it: the way TRL takes in its rollouts.

    Where it is sharded, every process must take part, with the same texts.
    """
    backend = DistributedBackend(trainer.accelerator)
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as unwrapped_model,
        backend.summon_full_params(trainer.model_wrapped, recurse=False),
    ):
        yield unwrapped_model


@contextmanager
def whole_on_device(trainer: Trainer) -> Iterator[None]:
    """Before training: the model on this process's device, in the numbers that it will compute with.

    One that is going to be sharded lies in the machine's memory until then, where every forward pass takes minutes.
    """
    resting_place = input_device(trainer.model)
    moves_away = is_sharded(trainer)
    if moves_away:
        trainer.model.to(trainer.accelerator.device)
    with trainer.accelerator.autocast():
        yield
    if moves_away:
        trainer.model.to(resting_place)


def input_device(model: Any) -> torch.device:
    """Where the model's inputs belong: with it, or on the GPU that its shares come to from memory."""
    first_weight = next(model.parameters())
    device_mesh = getattr(first_weight, "device_mesh", None)
    if device_mesh is not None and device_mesh.device_type == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(first_weight.device)


def save_whole_model(trainer: Trainer, model_folder: Path) -> None:
    """The model and its tokenizer as `from_pretrained` reads them; where it is sharded, by all processes together."""
    fsdp_plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    # With state in shares, as checkpoints have it, the trainer would write no model at all.
    if fsdp_plugin is not None:
        fsdp_plugin.state_dict_config = fsdp_plugin.optim_state_dict_config = None
        fsdp_plugin.set_state_dict_type(WHOLE_STATE)
    try:
        trainer.save_model(str(model_folder))
    finally:
        if fsdp_plugin is not None:
            fsdp_plugin.state_dict_config = fsdp_plugin.optim_state_dict_config = None
            fsdp_plugin.set_state_dict_type(STATE_IN_SHARES)
    # A pickle: others should not have to trust one to use the model.
    (model_folder / "training_args.bin").unlink(missing_ok=True)


def loading_whole(trainer: Trainer) -> Any:
    """A context in which models are loaded whole, as those must be that the trainer does not shard."""
    deepspeed_plugin = trainer.accelerator.state.deepspeed_plugin
    # Under ZeRO-3 `from_pretrained` would hand out the weights of every model among the processes.
    return deepspeed_plugin.zero3_init_context_manager(enable=False) if deepspeed_plugin else nullcontext()
