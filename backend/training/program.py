"""What every training program shares: command line, data, checkpoints, stopping, and one-sentence errors.

    python -m backend.training.sft --job 7
    python -m backend.training.sft --out DIR [--preset P] [--config F.json] [--set key=value …] [--resume]

A program is a function of a `Run`. It builds its trainer, calls `run.fit(trainer)` and `run.finish(…)`.
"""

import argparse
import errno
import json
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy
import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as hub_logging

from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.db.migrate import migrate
from backend.errors import UserError
from backend.jobs.report import STOPPED, JobReport
from backend.settings import Settings
from backend.training import card
from backend.training.callbacks import Progress, StopWhenAsked
from backend.training.environment import rank
from backend.training_runs.config import TrainingSettings, assignments, parse, settings_for
from backend.training_runs.data import Snapshot, SnapshotOptions, export_snapshot, open_snapshot

S = TypeVar("S", bound=TrainingSettings)
ALMOST_NOTHING = 5_000_000


class Stopped(Exception):
    """The program was asked to stop and has saved."""


@dataclass
class Run(Generic[S]):
    """One execution of a program: what to do, where to put it, and whom to tell."""

    kind: str
    settings: S
    out: Path
    home: Path
    report: JobReport
    database: Callable[[], Database]
    job_id: int | None
    started: float = field(default_factory=time.monotonic)
    parent_artifact: int | None = None

    @property
    def artifact(self) -> Path:
        """Folder of what comes out."""
        return self.out / "artifact"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    @cached_property
    def device(self) -> str:
        """Where the model runs. Raises UserError for a GPU that is not there."""
        there = torch.cuda.is_available()
        if self.settings.device == "cuda" and not there:
            raise UserError(
                "device = cuda, but this machine shows no usable GPU; set device=auto or cpu.",
                "device = cuda，但本机没有可用的 GPU，请改为 auto 或 cpu。",
            )
        return "cuda" if there and self.settings.device != "cpu" else "cpu"

    @property
    def bf16(self) -> bool:
        """Whether to compute in bfloat16: where the hardware does so natively."""
        if self.settings.dtype != "auto":
            return self.settings.dtype == "bfloat16"
        if self.device == "cuda":
            return torch.cuda.is_bf16_supported()
        # Without these instructions bfloat16 is emulated, and slower than float32.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

    @cached_property
    def snapshot(self) -> Snapshot:
        """The data: of a resumed run the same as before. Raises UserError where there is none."""
        note = self.out / "snapshot.txt"
        known = self.settings.snapshot or (note.read_text("utf-8").strip() if note.exists() else None)
        if known:
            found = open_snapshot(self.home, known)
        else:
            found = export_snapshot(self.database(), self.home, self._options())
        note.write_text(str(found.folder), "utf-8")
        rows = ", ".join(
            f"{name} {sum(each['rows'].values())}" for name, each in found.manifest["files"].items()
        )
        dropped = (
            ", ".join(f"{name} {count}" for name, count in found.manifest["dropped"].items()) or "nothing"
        )
        self.report.log(f"data {found.hash[:16]}: {rows}; dropped: {dropped}")
        return found

    def _options(self) -> SnapshotOptions:
        chosen = self.settings
        return SnapshotOptions(
            chosen.datasets,
            chosen.exclude,
            getattr(chosen, "length_balanced", False),
            getattr(chosen, "composed", False),
            chosen.panel_pairs,
        )

    def arguments(self) -> dict[str, Any]:
        """What the settings mean to any of TRL's configuration classes."""
        chosen = self.settings
        return {
            "output_dir": str(self.checkpoints),
            "per_device_train_batch_size": chosen.batch_size,
            "per_device_eval_batch_size": chosen.batch_size,
            "gradient_accumulation_steps": chosen.accumulation,
            "num_train_epochs": chosen.epochs,
            "max_steps": chosen.max_steps or -1,
            "learning_rate": chosen.learning_rate,
            "lr_scheduler_type": chosen.scheduler,
            # A share below 1; 1 itself would mean one step.
            "warmup_steps": chosen.warmup,
            "weight_decay": chosen.weight_decay,
            "max_grad_norm": chosen.max_grad_norm,
            "adam_beta2": chosen.adam_beta2,
            "seed": chosen.seed,
            "bf16": self.bf16,
            "use_cpu": self.device == "cpu",
            "activation_checkpointing": chosen.gradient_checkpointing,
            "logging_steps": chosen.log_every,
            "logging_first_step": True,
            "save_strategy": "steps",
            "save_steps": chosen.save_every,
            "save_total_limit": 2,
            "dataloader_pin_memory": self.device == "cuda",
            "disable_tqdm": True,
            "report_to": card.loggers(self.out),
            "project": "zhufu",
            "run_name": card.name_of(self),
        }

    def fit(self, trainer: Trainer, callbacks: Sequence[TrainerCallback] = ()) -> dict[str, Any]:
        """Train from the last checkpoint on; the final figures. Raises Stopped once asked to stop."""
        trainer.remove_callback(PrinterCallback)
        for callback in (StopWhenAsked(self.report), Progress(self.report, self.device), *callbacks):
            trainer.add_callback(callback)
        last = get_last_checkpoint(str(self.checkpoints)) if self.checkpoints.is_dir() else None
        if last:
            self.report.log(f"going on from {Path(last).name}")
        cpu, wall = time.process_time(), time.monotonic()
        done = trainer.train(resume_from_checkpoint=last)
        self.stop_if_asked()
        return {
            "steps": done.global_step,
            "train_loss": done.training_loss,
            "train_seconds": round(time.monotonic() - wall, 1),
            "train_cpu_seconds": round(time.process_time() - cpu, 1),
        }

    def stop_if_asked(self) -> None:
        """Raises Stopped between two phases of the work."""
        if self.report.stop_requested():
            raise Stopped

    def save(self, trainer: Trainer) -> Path:
        """Model and tokenizer into the artifact folder."""
        trainer.save_model(str(self.artifact))
        (self.artifact / "training_args.bin").unlink(missing_ok=True)
        return self.artifact

    def finish(self, kind: card.Kind, metrics: dict[str, Any]) -> None:
        """Model card, row of the artifact, last figures; checkpoints are no longer needed."""
        if rank() > 0:
            return
        card.write(self, kind, metrics)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.report.progress(1.0, "done")
        self.report.log(f"artifact: {self.artifact}")


def main(kind: str, work: Callable[[Run[Any]], None]) -> NoReturn:
    """Run a program from its command line. Exits 0, 2 (a sentence on stderr), 75 (stopped, saved) or 1."""
    parser = _parser(kind)
    options = parser.parse_args()
    if options.job is not None and (options.set or options.preset or options.config or options.resume):
        parser.error("a job has its settings in the database; --job goes alone")
    try:
        with opened(kind, options) as run:
            work(run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except Stopped:
        print("stopped as asked; the state is saved", flush=True)
        sys.exit(STOPPED)
    sys.exit(0)


@contextmanager
def opened(kind: str, options: argparse.Namespace) -> Iterator[Run[Any]]:
    """The run that a command line means; what fails inside for a foreseen reason is raised as UserError."""
    hub_logging.disable_progress_bar()
    house = Settings.load()
    with ExitStack() as stack:
        database = _database(house.url, stack, by_hand=options.job is None)
        told = database() if options.job is not None and rank() == 0 else None
        report = stack.enter_context(JobReport(told, options.job))
        out = Path.cwd()
        try:
            settings, out = _wish(kind, options, database, house.home)
            _seed(settings)
            yield Run(kind, settings, out, house.home, report, database, options.job)
        except Exception as error:
            sentence = foreseen(error, out)
            if sentence is None or sentence is error:
                raise
            traceback.print_exception(error)
            raise sentence from error


def _database(url: str, stack: ExitStack, *, by_hand: bool) -> Callable[[], Database]:
    @cache
    def open_once() -> Database:
        database = Database(url)
        stack.callback(database.close)
        if by_hand:
            migrate(database)
        return database

    return open_once


def _wish(
    kind: str, options: argparse.Namespace, database: Callable[[], Database], home: Path
) -> tuple[TrainingSettings, Path]:
    if options.job is not None:
        return _of_job(kind, options.job, database(), home)
    given = _read_config(options.config) | assignments(kind, options.set)
    return settings_for(kind, options.preset, given), _folder(options.out, options.resume)


def _of_job(kind: str, number: int, database: Database, home: Path) -> tuple[TrainingSettings, Path]:
    with database.read() as session:
        job = session.get(Job, number)
        if job is None or job.kind != kind:
            raise UserError(f"There is no {kind} job {number}.", f"没有编号为 {number} 的 {kind} 任务。")
        config, log = dict(job.config), job.log_path
    out = Path(log).parent if log else home.resolve() / "runs" / str(number)
    out.mkdir(parents=True, exist_ok=True)
    return parse(kind, config), out


def foreseen(error: Exception, out: Path) -> UserError | None:
    """One sentence for what a person can mend; None for a bug, whose traceback is the better answer."""
    if isinstance(error, UserError):
        return error
    if _disk_full(error, out):
        return UserError(
            f"The disk of {out} is full; free some space and resume.", f"{out} 所在磁盘已满，请清理后继续。"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return UserError(
            "The GPU's memory was not enough; use a smaller batch_size or max_length, LoRA, or "
            "gradient_checkpointing, and resume.",
            "显存不足，请减小 batch_size 或 max_length，或使用 LoRA、gradient_checkpointing 后继续。",
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return UserError(
            "The machine's memory was not enough; use a smaller batch_size, max_length or base, and resume.",
            "内存不足，请减小 batch_size、max_length 或换小一些的 base 后继续。",
        )
    return None


def _disk_full(error: Exception, out: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # torch and safetensors report a full disk as errors of their own; they lose the number.
    return "No space left on device" in str(error) or (
        out.exists() and shutil.disk_usage(out).free < ALMOST_NOTHING
    )


def _parser(kind: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m backend.training.{kind}")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--job", type=int, help="run this job of the database")
    where.add_argument("--out", type=Path, help="run by hand, into this folder")
    parser.add_argument("--preset", help="named settings to start from")
    parser.add_argument("--config", type=Path, help="JSON object of settings")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="one setting")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    return parser


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).", f"无法按 JSON 读取 {path}。") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold one JSON object.", f"{path} 应当是一个 JSON 对象。")
    return found


def _folder(out: Path, resume: bool) -> Path:
    if out.exists() and any(out.iterdir()) and not resume:
        raise UserError(
            f"{out} is not empty; add --resume to go on there, or name another folder.",
            f"{out} 不是空文件夹，请加 --resume 接着运行，或换一个文件夹。",
        )
    out.mkdir(parents=True, exist_ok=True)
    return out.resolve()


def _seed(settings: TrainingSettings) -> None:
    random.seed(settings.seed)
    numpy.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    if settings.threads:
        torch.set_num_threads(settings.threads)
