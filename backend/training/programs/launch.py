"""Several processes for one training: started by `accelerate launch`, stopped together, their errors passed on.

The program that a worker or a person starts becomes the parent of its processes: it makes sure of the devices and of
the data, starts the same command line once for each device, and ends as they end.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from backend.core.errors import UserError
from backend.training.programs.environment import PARENT_VARIABLE, has_parent_program
from backend.training.programs.sharding import write_accelerate_config
from backend.training.settings import TrainingSettings

if TYPE_CHECKING:
    from backend.training.programs.program import TrainingRun

POLL_SECONDS = 0.2
ERROR_FILE = "process-error.json"


def starts_processes(settings: TrainingSettings) -> bool:
    """Whether this program has to start the processes that train, being none of them itself."""
    return settings.processes > 1 and "WORLD_SIZE" not in os.environ


def run_processes(training_run: "TrainingRun[Any]") -> int:
    """Start a process for each device and wait for their end; 0 once all are done, else accelerate's exit code.

    Raises UserError for what none of them could do, and for what ended one of them.
    """
    check_device_count(training_run)
    config_path = write_accelerate_config(training_run)
    # Once, and by one: the others find its name noted in the folder.
    _ = training_run.snapshot
    error_path = training_run.output_folder / ERROR_FILE
    error_path.unlink(missing_ok=True)
    launch_command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config_path)]
    # Of several processes that start in one folder only the first finds it empty.
    resume_arguments = ["--resume"] if training_run.job_id is None and "--resume" not in sys.argv else []
    launched_process = subprocess.Popen(
        [*launch_command, "-m", _program_module(training_run), *sys.argv[1:], *resume_arguments],
        # accelerate would give each process one thread, and with `offload` the optimizer works on the CPU.
        env={"OMP_NUM_THREADS": str(_threads_each(training_run))} | os.environ | {PARENT_VARIABLE: str(os.getpid())},
    )
    exit_code = _wait_for_end(training_run, launched_process)
    if exit_code and (process_error := _read_error(error_path)):
        raise process_error
    return exit_code


def check_device_count(training_run: "TrainingRun[Any]") -> None:
    """Raises UserError for more processes than GPUs or cores."""
    wanted_processes, on_gpu = training_run.settings.processes, training_run.device == "cuda"
    # The cores that this process may use, which in a container are fewer than the machine has.
    available_devices = torch.cuda.device_count() if on_gpu else len(os.sched_getaffinity(0))
    if available_devices < wanted_processes:
        en, zh = ("GPUs", "GPU") if on_gpu else ("CPU cores", "CPU 核心")
        raise UserError(
            f"processes = {wanted_processes}, but {available_devices} {en} can be used here; "
            "lower processes or give the job more.",
            f"processes = {wanted_processes}，但这里只有 {available_devices} 个可用的 {zh}，"
            "请减小 processes 或为任务分配更多。",
        )


def _threads_each(training_run: "TrainingRun[Any]") -> int:
    return max(1, len(os.sched_getaffinity(0)) // training_run.settings.processes)


def note_error(output_folder: Path, error: UserError) -> None:
    """Leave the sentence that ends this process for its parent, where it has one and no other has done so."""
    if not has_parent_program():
        return
    # A full disk may be the very error; and of several processes the first one knows the cause.
    with suppress(OSError), (output_folder / ERROR_FILE).open("x", encoding="utf-8") as error_file:
        json.dump({"en": error.message.en, "zh": error.message.zh}, error_file, ensure_ascii=False)


def _read_error(error_path: Path) -> UserError | None:
    try:
        noted_error = json.loads(error_path.read_text("utf-8"))
        return UserError(noted_error["en"], noted_error["zh"])
    except (OSError, ValueError, LookupError):
        return None


def _program_module(training_run: "TrainingRun[Any]") -> str:
    return f"backend.training.programs.{training_run.program}"


def _wait_for_end(training_run: "TrainingRun[Any]", launched_process: subprocess.Popen[bytes]) -> int:
    has_passed_on = False
    while True:
        with suppress(subprocess.TimeoutExpired):
            return launched_process.wait(POLL_SECONDS)
        if training_run.report.stop_requested() and not has_passed_on:
            has_passed_on = True
            _pass_on_request(launched_process.pid)


def _pass_on_request(launcher_id: int) -> None:
    """Ask each process to save and stop. Not the launcher, which would give them half a minute before it kills them."""
    with suppress(psutil.NoSuchProcess):
        for training_process in psutil.Process(launcher_id).children():
            with suppress(psutil.NoSuchProcess):
                training_process.terminate()
