"""Checkpoints: when one is due, which are whole, and from which one a training goes on."""

import json
import shutil
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from backend.jobs.report import JobReport
from backend.training.programs.loading import are_weights_whole

# Left to itself a training saves after each tenth of its steps, and whenever the last save is so long ago.
SAVE_SHARE = 0.1
SAVE_SECONDS = 600.0
# The trainer's own interval is out of reach then: `CheckpointKeeper` decides.
NEVER_BY_STEPS = 10**9
MARK_SUFFIX = ".saving"
# Where FSDP and DeepSpeed put what is elsewhere one file each.
SHARDED_WEIGHTS = ("pytorch_model*", "global_step*")
OPTIMIZER_PLACES = (OPTIMIZER_NAME, "optimizer.bin", "optimizer_*", "global_step*")


class TrainingStopped(Exception):
    """The program was asked to stop and has saved."""


class NothingLeftToTrain(Exception):
    """The checkpoint that training goes on from is that of the last step."""


@dataclass(frozen=True)
class FoundCheckpoints:
    """What lies in a folder of checkpoints: the newest whole one (None without any), and the torn ones."""

    last: Path | None
    torn: list[Path]


def find_checkpoints(checkpoint_folder: Path) -> FoundCheckpoints:
    """Look through a folder of checkpoints; empty where there is no such folder."""
    numbered_folders = sorted(
        (int(folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")), folder)
        for folder in checkpoint_folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if folder.is_dir() and folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-").isdigit()
    )
    whole_by_folder = {folder: is_checkpoint_whole(folder) for _step, folder in numbered_folders}
    whole_folders = [folder for folder, is_whole in whole_by_folder.items() if is_whole]
    return FoundCheckpoints(
        whole_folders[-1] if whole_folders else None,
        [folder for folder, is_whole in whole_by_folder.items() if not is_whole],
    )


def remove_torn(checkpoint_folder: Path) -> list[str]:
    """Remove checkpoints that were not written to their end; their names."""
    torn_folders = find_checkpoints(checkpoint_folder).torn
    for torn_folder in torn_folders:
        shutil.rmtree(torn_folder, ignore_errors=True)
    # After the folders: killed in between, what is left of one is still known as torn.
    for mark_file in checkpoint_folder.glob(f"*{MARK_SUFFIX}"):
        mark_file.unlink(missing_ok=True)
    return [torn_folder.name for torn_folder in torn_folders]


def is_checkpoint_whole(folder: Path) -> bool:
    """Whether everything that resuming reads is there, to its last byte as far as headers and ends of files tell.

    Checkpoints of earlier versions have no mark; of theirs the trainer's state, which is written last, tells.
    """
    return (
        not mark_path(folder).exists()
        and _has_state(folder)
        and (are_weights_whole(folder) if list(folder.glob("*.safetensors")) else _holds_any(folder, SHARDED_WEIGHTS))
        and _holds_any(folder, OPTIMIZER_PLACES)
        and _holds_any(folder, ("rng_state*.pth",))
        and ((folder / SCHEDULER_NAME).is_file() or _holds_any(folder, ("global_step*",)))
        # What torch saves is a zip archive, whose directory is at its end.
        and all(zipfile.is_zipfile(archive) for archive in [*folder.glob("*.pt"), *folder.glob("*.pth")])
    )


def mark_path(checkpoint: Path) -> Path:
    """The file that lies beside a checkpoint from before its first byte until every process has written its own."""
    return checkpoint.with_name(f"{checkpoint.name}{MARK_SUFFIX}")


def _has_state(folder: Path) -> bool:
    try:
        trainer_state = json.loads((folder / TRAINER_STATE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(trainer_state, dict) and "global_step" in trainer_state


def _holds_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _found in folder.glob(pattern))


@dataclass(eq=False)
class CheckpointKeeper(TrainerCallback):
    """Decides after each step whether to save and to go on, marks what is being saved, measures what a stop takes.

    Add it after every other callback: what it decides from their flags holds for all processes of the training.
    """

    report: JobReport
    folder: Path
    is_automatic: bool
    _saved_at: float = field(default_factory=time.monotonic)
    _looked_at: float = field(default_factory=time.monotonic)
    _save_began_at: float = field(default_factory=time.monotonic)
    _longest_look_seconds: float = 0.0
    _longest_save_seconds: float = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The clock starts."""
        del args, state, control
        self._saved_at = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Raises NothingLeftToTrain: resumed in the middle of an epoch the trainer takes one step beyond the last."""
        del args, control
        if state.global_step >= state.max_steps:
            raise NothingLeftToTrain

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and end after the step in which the request to stop arrives; save when it is time."""
        self._longest_look_seconds = max(self._longest_look_seconds, time.monotonic() - self._looked_at)
        self._looked_at = self._save_began_at = time.monotonic()
        is_stopped = self.report.stop_requested()
        # A checkpoint at every stop, or the steps since the last one would be lost on resuming.
        should_save = control.should_save or is_stopped or self._is_due(state)
        control.should_training_stop, control.should_save = _share_flags(
            args, control.should_training_stop or is_stopped, should_save
        )
        if control.should_save:
            self._mark(state)
        self._report_stop_seconds()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Saving follows."""
        del args, state, control
        self._save_began_at = time.monotonic()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Raises TrainingStopped in an evaluation, which may take many times as long as a step."""
        del state, control
        if _share_flags(args, self.report.stop_requested())[0]:
            raise TrainingStopped

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint is whole once every process has written its share."""
        del control
        if args.world_size > 1:
            torch.distributed.barrier()
        mark_path(self._checkpoint(state)).unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self._longest_save_seconds = max(self._longest_save_seconds, self._saved_at - self._save_began_at)
        # What follows a save is looked at anew: its time is counted once.
        self._looked_at = self._saved_at
        self._report_stop_seconds()

    def save_now(self, trainer: Any) -> None:
        """A checkpoint of the step that the trainer has ended, where an evaluation after it was broken off."""
        self._mark(trainer.state)
        self._save_began_at = time.monotonic()
        # The one way to a checkpoint that `train` can go on from; the trainer's public `save_model` has no
        # optimizer.
        trainer._save_checkpoint(trainer.model, trial=None)
        trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)

    def _is_due(self, state: TrainerState) -> bool:
        if not self.is_automatic:
            return False
        step_interval = max(1, round(state.max_steps * SAVE_SHARE))
        return state.global_step % step_interval == 0 or time.monotonic() - self._saved_at >= SAVE_SECONDS

    def _mark(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            mark_path(self._checkpoint(state)).touch()

    def _checkpoint(self, state: TrainerState) -> Path:
        return self.folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"

    def _report_stop_seconds(self) -> None:
        self.report.stop_takes(self._longest_look_seconds + self._longest_save_seconds)


def _share_flags(args: TrainingArguments, *flags: bool) -> list[bool]:
    """What the first process found, for all: those that disagree would wait for each other for ever."""
    shared_flags = list(flags)
    if args.world_size > 1:
        broadcast_object_list(shared_flags)
    return shared_flags


def mean_loss(state: TrainerState, resumed_at: int, loss_since: float) -> float:
    """Mean training loss of all steps of a run that was resumed at a step, `loss_since` being that of the rest.

    The trainer counts its own attempt only; of the steps before its log tells.
    """
    losses, last_step = 0.0, 0
    for entry in state.log_history:
        if "loss" in entry and last_step < entry["step"] <= resumed_at:
            losses += entry["loss"] * (entry["step"] - last_step)
            last_step = entry["step"]
    steps_since = state.global_step - resumed_at
    return (losses + loss_since * steps_since) / max(last_step + steps_since, 1)
