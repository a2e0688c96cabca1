"""Two processes that train together, forked from one: `python -m tests.two_ranks OUT`; results in OUT/results.json.

They are what `accelerate launch` starts: torch's environment, gloo, one core each. For FSDP, which accelerate knows on
GPUs only, the CPUs pass for some, and it gets the environment of the run's own configuration file.
"""

import faulthandler
import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import torch
import torch.distributed as dist
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

from backend.core.errors import UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.training.programs import dpo, grpo, precision, reward_model, reward_server, sft, sharding
from backend.training.programs.checkpoints import TrainingStopped, mark_path
from backend.training.programs.environment import PARENT_VARIABLE
from backend.training.programs.program import TrainingRun
from backend.training.settings import parse_settings
from tests.grpo_runs import TINY as GRPO
from tests.grpo_runs import Told

RANKS = 2
PATIENCE = 120
"""Seconds after which a process that waits for the other gives up."""
TRAIN = {"sft": sft.train, "reward_model": reward_model.train, "dpo": dpo.train, "grpo": grpo.train}
BASICS: dict[str, Any] = {
    "batch_size": 4,
    "max_length": 48,
    "max_steps": 4,
    "log_every": 1,
    "eval_every": 2,
    "save_every": 2,
    "sample_every": 2,
    "samples": 1,
    "scheduler": "constant",
    "learning_rate": 0.01,
    "warmup": 0.0,
    "dtype": "float32",
}
TOGETHER = {"processes": RANKS}
SHARDED = TOGETHER | {"sharding": "fsdp"}
WRAPPED = {"packing": "wrapped", "eval_every": 100, "samples": 0}
"""In blocks of one length, so that two processes take the same rows at a step as one does with twice the batch."""


def run(program: str, out: Path, stop_at: int | None = None, **values: Any) -> dict[str, Any]:
    """One run of this process; what it reported, how it ended, what its model came to."""
    app_settings = Settings.load()
    usual = {
        "base": str(app_settings.home / "policy"),
        "snapshot": json.loads((app_settings.home / "tiny.json").read_text())["snapshot"],
    }
    usual |= BASICS if program != "grpo" else GRPO | {"batch_size": 8, "reward_artifact": str(app_settings.home / "rm")}
    settings = parse_settings(program, usual | values)
    out.mkdir(parents=True, exist_ok=True)
    # As in a job: only the first process sees the request.
    report, database = Told(stop_at if rank() == 0 else None), Database(app_settings.url)
    training_run = TrainingRun(program, settings, out, app_settings.home, report, lambda: database, None)
    trainers: list[Any] = []
    fit = TrainingRun.fit
    ended = "done"
    try:
        torch.manual_seed(settings.seed)
        with patch.object(
            TrainingRun, "fit", lambda one, trainer, *more: trainers.append(trainer) or fit(one, trainer, *more)
        ):
            TRAIN[program](training_run)
    except TrainingStopped:
        ended = "stopped"
    except UserError as error:
        ended = f"error: {error}"
    except Exception:
        ended = traceback.format_exc()
    finally:
        report.close()
        database.close()
    return {
        "ended": ended,
        "losses": {row["step"]: row["loss"] for row in report.metrics if "loss" in row},
        "readings": [row["step"] for row in report.metrics if "gold" in row],
        "samples": [row["step"] for row in report.samples],
        "logs": report.logs,
        "accuracy": (
            card(out)["metrics"]["all_accuracy"] if program == "dpo" and ended == "done" and not rank() else None
        ),
        "weights": weights(trainers[0]) if ended == "done" else None,
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
    }


def card(out: Path) -> dict[str, Any]:
    """The model card of a finished run."""
    return dict(json.loads((out / "artifact" / "artifact.json").read_text("utf-8")))


def weights(trainer: Any) -> dict[str, Any]:
    """What a model came to, and in which numbers and shares it is trained."""
    parameters = [one for one in trainer.model.parameters() if one.requires_grad]
    local = [getattr(one, "_local_tensor", one) for one in parameters]
    whole = [one.full_tensor() if hasattr(one, "full_tensor") else one for one in parameters]
    return {
        "sum": sum(float(one.detach().double().abs().sum()) for one in whole),
        "held": sum(one.numel() for one in local),
        "all": sum(one.numel() for one in whole),
        "dtypes": sorted({str(one.dtype) for one in local}),
        "sharded": sharding.is_sharded(trainer),
    }


def rank() -> int:
    """Which of the two this is."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def as_if_on_gpus(config_path: Path) -> Iterator[None]:
    """accelerate under the environment that its launcher makes of a configuration file, with CPUs as its GPUs."""
    arguments = _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", str(config_path), "-m", "nothing"])
    )[0]
    environment = prepare_multi_gpu_env(arguments) | {"ACCELERATE_TORCH_DEVICE": "cpu"}
    with (
        patch.dict(
            os.environ, {name: text for name, text in environment.items() if name.startswith(("ACCEL", "FSDP"))}
        ),
        patch.object(PartialState, "_prepare_backend", lambda *_given: ("gloo", DistributedType.MULTI_GPU)),
    ):
        yield


def fsdp(program: str, out: Path, stop_at: int | None = None, **values: Any) -> dict[str, Any]:
    """A run with FSDP, of a model that is loaded in the numbers it computes with, as on GPUs."""
    app_settings, settings = Settings.load(), parse_settings(program, SHARDED | values)
    # A folder for each: in a real run the parent alone writes the file, before there are others.
    folder = out.with_name(f"{out.name}-{rank()}")
    folder.mkdir(parents=True, exist_ok=True)
    training_run = TrainingRun(
        program, settings, folder, app_settings.home, Told(), lambda: Database(app_settings.url), None
    )
    with patch.object(sharding, "_check_sharding", lambda *_given: None):
        config_path = sharding.write_accelerate_config(training_run)
    training_run.report.close()
    with (
        as_if_on_gpus(config_path),
        patch.object(precision, "choose_storage_dtype", lambda _settings, _device, compute_dtype: compute_dtype),
    ):
        return run(program, out, stop_at, **SHARDED | values)


def torn(out: Path) -> Path:
    """A run that was stopped, with a newer checkpoint in its folder that a kill has broken off."""
    if rank() == 0:
        folder = out / "checkpoints"
        shutil.copytree(folder / "checkpoint-2", folder / "checkpoint-3")
        # As written by the first process; the other one's share is not there.
        mark_path(folder / "checkpoint-3").touch()
    dist.barrier()
    return out


def placed(out: Path) -> dict[str, Any]:
    """A run of GRPO, and where it loaded its reward model at which step of the trainer's."""
    devices: list[str] = []
    usual = reward_server.load_model

    def spy(folder: Path, device: str) -> Any:
        devices.append(f"{device} {dist.is_initialized() and PartialState().initialized}")
        return usual(folder, device)

    with patch.object(reward_server, "load_model", spy):
        return run("grpo", out, max_steps=2, gold="off", beta=0.0, **TOGETHER) | {"placed": devices}


def main(out: Path) -> dict[str, Any]:
    """Every scenario by name, as this process saw it."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=PATIENCE))
    exact, rounded, quick = {"dtype": "float32"}, {"dtype": "bfloat16"}, {"max_steps": 2}
    return {
        "sft": run("sft", out / "sft", **WRAPPED | TOGETHER),
        "stopped": run("sft", out / "resumed", stop_at=2, **WRAPPED | TOGETHER),
        "resumed": run("sft", torn(out / "resumed"), **WRAPPED | TOGETHER),
        "by_length": run("sft", out / "by_length", **quick | TOGETHER),
        "reward_model": run("reward_model", out / "reward_model", max_length=160, **quick | TOGETHER),
        "dpo": run("dpo", out / "dpo", max_length=160, **quick | TOGETHER),
        "grpo": placed(out / "grpo"),
        "fsdp_sft": fsdp("sft", out / "fsdp_sft", **WRAPPED | exact),
        "fsdp_stopped": fsdp("sft", out / "fsdp_resumed", stop_at=2, **WRAPPED | exact),
        "fsdp_resumed": fsdp("sft", torn(out / "fsdp_resumed"), **WRAPPED | exact),
        "fsdp_lora": fsdp("reward_model", out / "fsdp_lora", max_length=160, lora_rank=2, **quick | rounded),
        "fsdp_dpo": fsdp("dpo", out / "fsdp_dpo", max_length=160, **quick | exact),
        "fsdp_grpo": fsdp("grpo", out / "fsdp_grpo", gold="off", gradient_checkpointing=True, **quick | rounded),
    }


def fork(out: Path) -> bool:
    """Two processes of the same, and their results beside those of one process. Whether one failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for number in range(RANKS):
        child = os.fork()
        if not child:
            become(number, port, out)
        children.append(child)
    alone = run("sft", out / "alone", **WRAPPED | {"batch_size": 8})
    statuses = [os.waitpid(child, 0)[1] for child in children]
    print("exit statuses", statuses, file=sys.stderr)
    failed = any(statuses)
    ranks = [json.loads((out / f"rank-{number}.json").read_text("utf-8")) for number in range(0 if failed else RANKS)]
    (out / "results.json").write_text(json.dumps({"alone": alone, "ranks": ranks}), "utf-8")
    return failed


def become(number: int, port: int, out: Path) -> NoReturn:
    """One of the two processes, from its environment to its results."""
    local = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS}
    os.environ |= {name: str(value) for name, value in local.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), PARENT_VARIABLE: "1"}
    code = 1
    faulthandler.enable()
    try:
        (out / f"rank-{number}.json").write_text(json.dumps(main(out)), "utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(fork(Path(sys.argv[1])))
