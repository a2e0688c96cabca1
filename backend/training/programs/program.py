"""What every training program shares: command line, data, checkpoints, stopping, and one-sentence errors.

    python -m backend.training.programs.sft --job 7
    python -m backend.training.programs.sft --out DIR [--preset P] [--config F.json] [--set key=value …] [--resume]

A program is a function of a `TrainingRun`. It builds its trainer, calls its `fit(trainer)` and `finish(…)`.
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy
import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as hub_logging

from backend.core.errors import UserError
from backend.core.folders import put_in_place
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.jobs.report import STOPPED, JobReport
from backend.training.messages import ARTIFACT_STORED, CHECKPOINTS_TORN, DATA_OPENED, DONE, RESUMED
from backend.training.programs import card, launch, precision
from backend.training.programs.callbacks import ProgressReporter, TokenCounter
from backend.training.programs.checkpoints import (
    NEVER_BY_STEPS,
    CheckpointKeeper,
    NothingLeftToTrain,
    TrainingStopped,
    find_checkpoints,
    mean_loss,
    remove_torn,
)
from backend.training.programs.command_line import build_parser, read_job
from backend.training.programs.environment import has_parent_program, process_rank
from backend.training.programs.foreseen_errors import explaining_errors
from backend.training.programs.merging import MergedModels
from backend.training.programs.sharding import is_sharded, save_whole_model
from backend.training.settings import TrainingSettings, parse_assignments, parse_settings, settings_for
from backend.training.snapshot import Snapshot, SnapshotOptions, export_snapshot, open_snapshot

S = TypeVar("S", bound=TrainingSettings)


@dataclass
class TrainingRun(Generic[S]):
    """One execution of a program: what to do, where to put it, and where to report."""

    program: str
    settings: S
    output_folder: Path
    home_folder: Path
    report: JobReport
    open_database: Callable[[], Database]
    job_id: int | None
    started_at: float = field(default_factory=time.monotonic)
    parent_artifact: int | None = None
    # What `tokens_per_second` counts, of the tokens that the trainer counts; None counts all of them.
    count_tokens: TokenCounter | None = None

    @property
    def artifact_folder(self) -> Path:
        """Folder of what comes out."""
        return self.output_folder / "artifact"

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the checkpoints."""
        return self.output_folder / "checkpoints"

    @cached_property
    def device(self) -> str:
        """Where the model runs. Raises UserError for a GPU that is not there."""
        return precision.choose_device(self.settings.device)

    @cached_property
    def merged_models(self) -> MergedModels:
        """The merged adapters of this home; what is opened there stays until the process ends."""
        return MergedModels(self.home_folder, self.stop_if_requested)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The numbers of the matrix products. Raises UserError for what the device cannot do."""
        return precision.choose_compute_dtype(self.settings.dtype, self.device)

    @cached_property
    def snapshot(self) -> Snapshot:
        """The data: of a resumed run the same as before. Raises UserError where there is none."""
        note_path = self.output_folder / "snapshot.txt"
        snapshot_name = self.settings.snapshot or (note_path.read_text("utf-8").strip() if note_path.exists() else None)
        if snapshot_name:
            data_snapshot = open_snapshot(self.home_folder, snapshot_name)
        else:
            data_snapshot = export_snapshot(self.open_database(), self.home_folder, self._snapshot_options())
        # A resumed run must read the data of its first attempt, though the database has moved on.
        note_path.write_text(str(data_snapshot.folder), "utf-8")
        row_summary = ", ".join(
            f"{entry_name} {sum(file_facts['rows'].values())}"
            for entry_name, file_facts in data_snapshot.manifest["files"].items()
        )
        dropped_summary = ", ".join(
            f"{entry_name} {dropped_count}" for entry_name, dropped_count in data_snapshot.manifest["dropped"].items()
        )
        # Of several processes their parent has opened it first, and reported it.
        if not has_parent_program():
            self.report.log(
                DATA_OPENED.fill(
                    hash=data_snapshot.hash[:16],
                    rows=row_summary,
                    dropped_en=dropped_summary or "nothing",
                    dropped_zh=dropped_summary or "无",
                )
            )
        return data_snapshot

    def _snapshot_options(self) -> SnapshotOptions:
        settings = self.settings
        return SnapshotOptions(
            settings.datasets,
            settings.exclude,
            getattr(settings, "length_balanced", False),
            getattr(settings, "composed", False),
            settings.panel_pairs,
            settings.test_datasets,
        )

    def arguments(self) -> dict[str, Any]:
        """What the settings mean to any of TRL's configuration classes."""
        settings = self.settings
        return {
            "output_dir": str(self.checkpoint_folder),
            "per_device_train_batch_size": settings.batch_size,
            "per_device_eval_batch_size": settings.batch_size,
            "gradient_accumulation_steps": settings.accumulation,
            "num_train_epochs": settings.epochs,
            "max_steps": settings.max_steps or -1,
            "learning_rate": settings.learning_rate,
            "lr_scheduler_type": settings.scheduler,
            # A share below 1; 1 itself would mean one step.
            "warmup_steps": settings.warmup,
            "weight_decay": settings.weight_decay,
            "max_grad_norm": settings.max_grad_norm,
            "adam_beta2": settings.adam_beta2,
            "seed": settings.seed,
            "bf16": self.compute_dtype == torch.bfloat16,
            "fp16": self.compute_dtype == torch.float16,
            # Required on a CPU; and without it the trainer would take any GPU that it sees.
            "use_cpu": self.device == "cpu",
            "activation_checkpointing": settings.gradient_checkpointing,
            "logging_steps": settings.log_every,
            # The first rollout is the start's, whose reward the monitor compares with.
            "logging_first_step": True,
            "save_strategy": "steps",
            "save_steps": settings.save_every or NEVER_BY_STEPS,
            "save_total_limit": 2,
            "dataloader_pin_memory": self.device == "cuda",
            "disable_tqdm": True,
            "report_to": card.find_loggers(self.output_folder),
            "project": "zhufu",
            "run_name": card.run_name(self),
        }

    def fit(self, trainer: Trainer, callbacks: Sequence[TrainerCallback] = ()) -> dict[str, Any]:
        """Train from the last whole checkpoint on; the final figures. Raises TrainingStopped once asked to stop."""
        # It prints raw dictionaries; `ProgressReporter` prints the same as readable lines.
        trainer.remove_callback(PrinterCallback)
        # Sharding raises what it hands out by itself.
        if not is_sharded(trainer):
            precision.raise_trained_weights(trainer.model, self.compute_dtype)
        keeper = CheckpointKeeper(self.report, self.checkpoint_folder, is_automatic=not self.settings.save_every)
        for callback in (ProgressReporter(self.report, self.device, self.count_tokens), *callbacks, keeper):
            trainer.add_callback(callback)
        last_checkpoint = self._find_last_checkpoint()
        # Both: on a busy machine only CPU time can be compared between runs.
        cpu_start, wall_start = time.process_time(), time.monotonic()
        train_loss = 0.0
        try:
            train_loss = trainer.train(str(last_checkpoint) if last_checkpoint else None).training_loss
        except TrainingStopped:
            keeper.save_now(trainer)
            raise
        except NothingLeftToTrain:
            # The weights are loaded; what is left is to evaluate and to save them.
            trainer.is_in_train = False
        except Exception:
            # Half a checkpoint on a full disk would keep it full.
            self._remove_torn_checkpoints()
            raise
        self.stop_together()
        if last_checkpoint:
            train_loss = mean_loss(trainer.state, int(last_checkpoint.name.rpartition("-")[2]), train_loss)
        return {
            "steps": trainer.state.global_step,
            "train_loss": train_loss,
            "train_seconds": round(time.monotonic() - wall_start, 1),
            "train_cpu_seconds": round(time.process_time() - cpu_start, 1),
        }

    def _find_last_checkpoint(self) -> Path | None:
        torn_names = self._remove_torn_checkpoints()
        last_checkpoint = find_checkpoints(self.checkpoint_folder).last
        if torn_names:
            place = last_checkpoint.name if last_checkpoint else None
            self.report.log(
                CHECKPOINTS_TORN.fill(
                    torn=", ".join(torn_names), place_en=place or "the first step", place_zh=place or "第一步"
                )
            )
        elif last_checkpoint:
            self.report.log(RESUMED.fill(checkpoint=last_checkpoint.name))
        return last_checkpoint

    def _remove_torn_checkpoints(self) -> list[str]:
        # The others find the same ones whole; two that remove would meet.
        return remove_torn(self.checkpoint_folder) if process_rank() == 0 else []

    def stop_if_requested(self) -> None:
        """Raises TrainingStopped between two phases of the work."""
        if self.report.stop_requested():
            raise TrainingStopped

    def stop_together(self) -> None:
        """Raises TrainingStopped in every process where the first one was asked to stop; all have to come here."""
        decisions = [self.report.stop_requested()]
        # One that went on alone would wait for the others in the next thing that they do together.
        if torch.distributed.is_initialized():
            broadcast_object_list(decisions)
        if decisions[0]:
            raise TrainingStopped

    def save(self, trainer: Trainer) -> Path:
        """Model and tokenizer into the artifact folder, which is whole then or as it was before."""
        draft_folder = self.artifact_folder.with_name("artifact.new")
        if process_rank() == 0:
            shutil.rmtree(draft_folder, ignore_errors=True)
        save_whole_model(trainer, draft_folder)
        if process_rank() == 0:
            put_in_place(draft_folder, self.artifact_folder)
        trainer.accelerator.wait_for_everyone()
        return self.artifact_folder

    def finish(self, artifact_kind: card.OutputKind, metrics: dict[str, Any]) -> None:
        """Model card, row of the artifact, last figures; checkpoints are no longer needed."""
        # Every process comes here; card and artifact are written by one.
        if process_rank() > 0:
            return
        card.write_card(self, artifact_kind, metrics)
        self.clean_up()

    def clean_up(self) -> None:
        """After the artifact's row is written: remove what only an unfinished run needs, and report the end."""
        # They hold optimizer states, several times the size of the model; and without them no merge is needed.
        shutil.rmtree(self.checkpoint_folder, ignore_errors=True)
        self.merged_models.remove_unneeded()
        self.report.progress(1.0, DONE.fill())
        self.report.log(ARTIFACT_STORED.fill(folder=str(self.artifact_folder)))


def main(program: str, train_program: Callable[[TrainingRun[Any]], None]) -> NoReturn:
    """Run a program from its command line. Exits 0, 2 (a sentence on stderr), 75 (stopped, saved) or 1."""
    parser = _build_parser(program)
    options = parser.parse_args()
    # Its settings were checked when it was queued; others now would make its stored record a lie.
    if options.job is not None and (options.set or options.preset or options.config or options.resume):
        parser.error("a job has its settings in the database; --job goes alone")
    try:
        # Imported here: it looks for models, whose module knows the run of a training.
        from backend.training.programs.memory_guard import refuse_oversized

        with open_run(program, options) as training_run:
            # Killed after its row was written: everything is there, but for the end.
            if card.is_registered(training_run):
                training_run.clean_up()
            else:
                refuse_oversized(training_run)
                starts_processes = launch.starts_processes(training_run.settings)
                (_run_processes if starts_processes else train_program)(training_run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except TrainingStopped:
        print("stopped as asked; the state is saved", flush=True)
        sys.exit(STOPPED)
    sys.exit(0)


def _run_processes(training_run: TrainingRun[Any]) -> None:
    exit_code = launch.run_processes(training_run)
    if exit_code:
        # Whoever asked them to stop may have done so since the row was looked at last.
        training_run.report.look_for_request()
        training_run.stop_if_requested()
        sys.exit(exit_code)


@contextmanager
def open_run(program: str, options: argparse.Namespace) -> Iterator[TrainingRun[Any]]:
    """The run that a command line means; what fails inside for a foreseen reason is raised as UserError."""
    hub_logging.disable_progress_bar()
    app_settings = Settings.load()
    with ExitStack() as exit_stack:
        open_database = _build_database_opener(app_settings.url, exit_stack, by_hand=options.job is None)
        # One process reports; the figures of the others are the same and would stand there many times.
        report_database = open_database() if options.job is not None and process_rank() == 0 else None
        report = exit_stack.enter_context(JobReport(report_database, options.job))
        with explaining_errors(Path.cwd()):
            settings, output_folder = _resolve_settings(program, options, open_database, app_settings.home)
        with explaining_errors(output_folder, launch.note_error):
            _seed_generators(settings)
            yield TrainingRun(program, settings, output_folder, app_settings.home, report, open_database, options.job)


def _build_database_opener(database_url: str, exit_stack: ExitStack, *, by_hand: bool) -> Callable[[], Database]:
    @cache
    def open_once() -> Database:
        database = Database(database_url)
        exit_stack.callback(database.close)
        # The database of a job was migrated by whoever queued it; many programs at once would wait for one
        # another.
        if by_hand:
            migrate(database)
        return database

    return open_once


def _resolve_settings(
    program: str, options: argparse.Namespace, open_database: Callable[[], Database], home_folder: Path
) -> tuple[TrainingSettings, Path]:
    if options.job is not None:
        job_config, output_folder = read_job(open_database(), options.job, program, home_folder)
        output_folder.mkdir(parents=True, exist_ok=True)
        return parse_settings(program, job_config), output_folder
    setting_values = _read_config_file(options.config) | parse_assignments(program, options.set)
    return settings_for(program, options.preset, setting_values), _prepare_folder(options.out, options.resume)


def _build_parser(program: str) -> argparse.ArgumentParser:
    parser = build_parser(program)
    parser.add_argument("--preset", help="named settings to start from")
    parser.add_argument("--config", type=Path, help="JSON object of settings")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    return parser


def _read_config_file(config_path: Path | None) -> dict[str, Any]:
    if config_path is None:
        return {}
    try:
        config = json.loads(config_path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{config_path} cannot be read as JSON ({error}).", f"无法按 JSON 读取 {config_path}。"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{config_path} must hold one JSON object.", f"{config_path} 应当是一个 JSON 对象。")
    return config


def _prepare_folder(output_folder: Path, resume: bool) -> Path:
    if output_folder.exists() and any(output_folder.iterdir()) and not resume:
        raise UserError(
            f"{output_folder} is not empty; add --resume to go on there, or name another folder.",
            f"{output_folder} 不是空文件夹，请加 --resume 接着运行，或换一个文件夹。",
        )
    output_folder.mkdir(parents=True, exist_ok=True)
    return output_folder.resolve()


def _seed_generators(settings: TrainingSettings) -> None:
    random.seed(settings.seed)
    numpy.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
