"""The collapse monitor in a training: reads the policy on held-out requests, warns, stops, keeps the best."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backend.core.errors import Message
from backend.core.folders import put_in_place
from backend.generation.diversity import build_profile, distinct_n, first_characters
from backend.jobs.report import JobReport
from backend.judges.constancy import NoticeLog
from backend.training.messages import COLLAPSE_STOP, COLLAPSE_WARNING, GOLD_UNSURE, UNSCORED
from backend.training.programs.callbacks import generate_greetings
from backend.training.programs.collapse import CollapseAssessment, CollapseMonitor, PolicyReading
from backend.training.programs.environment import process_rank
from backend.training.programs.gold import GoldJudge, GoldReading
from backend.training.programs.rewards import Reward
from backend.training.programs.sharding import is_sharded, readable_model, save_whole_model

STATE_FILE, BEST_FOLDER = "monitor.json", "best"
UNKNOWN_GOLD = GoldReading(math.nan, math.nan, math.nan, math.nan)
# Different reasons of unscored texts that are reported: a judge that fails in ever new words must not flood
# pages.
MAX_REASONS = 20
NON_FIGURE_KEYS = ("step", "best", "findings")
WATCHED_METRICS = ("reward", "kl", "frac_reward_zero_std")


@dataclass(frozen=True)
class HeldOutRequests:
    """Fixed requests that the policy answers with fixed seeds at every reading."""

    requests: Sequence[str]
    tokenizer: Any
    max_new_tokens: int
    seed: int
    batch_size: int = 64

    def answer_requests(self, model: Any) -> list[str]:
        """One greeting for each request."""
        greetings: list[str] = []
        for batch_start in range(0, len(self.requests), self.batch_size):
            request_batch = self.requests[batch_start : batch_start + self.batch_size]
            # The same seeds at every reading, so that what differs is the policy and not the draw.
            greetings += generate_greetings(
                model, self.tokenizer, request_batch, self.max_new_tokens, self.seed + batch_start
            )
        return greetings


@dataclass(eq=False)
class CollapseWatch(TrainerCallback):
    """Reads the policy before the first step, then every `reading_interval` steps and at the end.

    The policy in `best_folder` is the checkpoint to keep.
    """

    monitor: CollapseMonitor
    held_out: HeldOutRequests
    gold: GoldJudge | None
    reward: Reward
    report: JobReport
    folder: Path
    reading_interval: int
    sample_count: int
    sample_every: int
    trainer: Trainer
    readings: list[dict[str, Any]] = field(default_factory=list)
    # Why the monitor ended the run; None as long as it did not.
    stop_reason: Message | None = None
    _logged_values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _reported_reasons: set[str] = field(default_factory=set)
    _reported_unsure: bool = False
    _notices: NoticeLog = field(default_factory=NoticeLog)

    @property
    def stop_message(self) -> str | None:
        """The reason as it is stored with the artifact and in the monitor's file: one text in both languages."""
        return f"{self.stop_reason.zh} | {self.stop_reason.en}" if self.stop_reason else None

    @property
    def best_folder(self) -> Path:
        """Folder of the checkpoint to keep."""
        return self.folder / BEST_FOLDER

    @property
    def _best_draft(self) -> Path:
        return self.best_folder.with_name(f"{BEST_FOLDER}.new")

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """The start, or what was known before an interruption."""
        if state.global_step and (self.folder / STATE_FILE).is_file():
            self._restore_state(state.global_step)
        else:
            self._take_reading(args, state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Collect what the trainer logs until the next reading."""
        del args, state, control
        for metric_name in WATCHED_METRICS:
            if (metric_value := (logs or {}).get(metric_name)) is not None:
                self._logged_values[metric_name].append(metric_value)
                if metric_name == "reward":
                    # The first rollout was written by the start, before any step has changed it.
                    self.monitor.set_first_reward(metric_value)
        # Each reason once: a judge that is down fails with the same words for every text.
        for reason in sorted(self.reward.reasons().keys() - self._reported_reasons)[
            : MAX_REASONS - len(self._reported_reasons)
        ]:
            self._reported_reasons.add(reason)
            self.report.log(UNSCORED.fill(reward=self.reward.name, reason=reason))
        if notice_message := self._notices.next_message(self.reward.notice):
            self.report.log(notice_message)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """A reading when one is due; what the first process decides, `CheckpointKeeper` tells the others."""
        is_due = state.global_step % self.reading_interval == 0 or state.global_step >= state.max_steps
        if is_due:
            self._take_reading(args, state, control)

    def summary(self) -> dict[str, Any]:
        """Figures of the checkpoint that is the result, and those of the start under `start/…`."""
        best_reading = next(reading for reading in reversed(self.readings) if reading["best"])
        figures = {
            figure_name: figure for figure_name, figure in best_reading.items() if figure_name not in NON_FIGURE_KEYS
        }
        start_figures = {f"start/{figure_name}": self.readings[0][figure_name] for figure_name in figures}
        finite_figures = {
            figure_name: None if math.isnan(figure) else figure
            for figure_name, figure in (figures | start_figures).items()
        }
        return {**finite_figures, "best_step": best_reading["step"], "stopped": self.stop_message}

    def _take_reading(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        assessments: list[CollapseAssessment | None] = [None]
        # Of a sharded policy every process holds a part, so all write; of a whole one the first reads alone.
        if state.is_world_process_zero or is_sharded(self.trainer):
            with readable_model(self.trainer) as policy:
                greetings = self.held_out.answer_requests(policy)
            assessments = [
                self._assess_greetings(state.global_step, greetings) if state.is_world_process_zero else None
            ]
        if args.world_size > 1:
            broadcast_object_list(assessments)
        if assessments[0] is None:
            return
        if assessments[0].best:
            self._save_best(state)
        if assessments[0].stop:
            control.should_training_stop = True
        if state.is_world_process_zero:
            self._save_state()

    def _assess_greetings(self, step: int, greetings: list[str]) -> CollapseAssessment:
        gold_reading = self.gold.read_greetings(self.held_out.requests, greetings) if self.gold else UNKNOWN_GOLD
        start_characters = self.monitor.start_characters
        reading = PolicyReading(
            step,
            build_profile(self.held_out.requests, greetings),
            gold=gold_reading.mean,
            gold_spread=gold_reading.spread,
            reward=self._logged_mean("reward"),
            kl=self._logged_mean("kl"),
            zero_variance=self._logged_mean("frac_reward_zero_std"),
            distinct_2_equal=distinct_n(
                greetings if start_characters is None else first_characters(greetings, start_characters), 2
            ),
        )
        assessment = self.monitor.assess_reading(reading)
        self._report_reading(reading, gold_reading, assessment, greetings)
        # Each reading holds the mean since the one before, not since the beginning.
        self._logged_values.clear()
        return assessment

    def _report_reading(
        self,
        reading: PolicyReading,
        gold_reading: GoldReading,
        assessment: CollapseAssessment,
        greetings: Sequence[str],
    ) -> None:
        figures = {
            f"held_out/{figure_name}": figure
            for figure_name, figure in asdict(reading.profile).items()
            if figure_name != "n"
        }
        # Both are reported: the plain one is what papers have, the equal one is what is judged by.
        figures["held_out/distinct_2_equal"] = reading.distinct_2_equal
        figures |= {
            "gold": gold_reading.mean,
            "gold_excellence": gold_reading.excellence,
            "gold_unscored": gold_reading.unscored,
            "gold_fluent": gold_reading.fluent,
            "gold_fit": gold_reading.fit,
            "gold_unseen": gold_reading.unseen,
        }
        self.report.metric(reading.step, **figures)
        findings = [finding.figure for finding in assessment.findings]
        self.readings.append({"step": reading.step, "best": assessment.best, "findings": findings, **figures})
        if reading.step % self.sample_every == 0:
            for request, greeting_text in zip(self.held_out.requests[: self.sample_count], greetings, strict=False):
                self.report.sample(reading.step, request, greeting_text)
        if (unsure := gold_reading.reason) and not self._reported_unsure:
            # Once: what is new to gold at one reading mostly is at the next.
            self._reported_unsure = True
            self.report.log(GOLD_UNSURE.fill(step=reading.step, reason_en=unsure.en, reason_zh=unsure.zh))
        if reason := assessment.reason:
            if assessment.stop:
                self.stop_reason = reason
            template = COLLAPSE_STOP if assessment.stop else COLLAPSE_WARNING
            self.report.log(template.fill(step=reading.step, reason_en=reason.en, reason_zh=reason.zh))

    def _save_best(self, state: TrainerState) -> None:
        # Renamed when whole: killed in between, the best checkpoint so far must still be there.
        save_whole_model(self.trainer, self._best_draft)
        if state.is_world_process_zero:
            put_in_place(self._best_draft, self.best_folder)

    def _save_state(self) -> None:
        saved_state = {
            "monitor": self.monitor.state(),
            "readings": self.readings,
            "stopped": self.stop_message,
        }
        draft_path = self.folder / f"{STATE_FILE}.new"
        # NaN stays as Python writes it: only this program reads the file.
        draft_path.write_text(json.dumps(saved_state), "utf-8")
        draft_path.replace(self.folder / STATE_FILE)

    def _restore_state(self, step: int) -> None:
        saved_state = json.loads((self.folder / STATE_FILE).read_text("utf-8"))
        self.monitor.restore(saved_state["monitor"])
        # Killed after the old one was removed and before the new one, whole by then, took its place.
        if process_rank() == 0 and self._best_draft.is_dir() and not self.best_folder.is_dir():
            self._best_draft.rename(self.best_folder)
        # Readings after the checkpoint come again, unless one of them is what is kept.
        best_step = max((reading["step"] for reading in saved_state["readings"] if reading["best"]), default=0)
        self.readings = [reading for reading in saved_state["readings"] if reading["step"] <= max(step, best_step)]

    def _logged_mean(self, metric_name: str) -> float:
        return fmean(self._logged_values[metric_name]) if self._logged_values[metric_name] else math.nan
