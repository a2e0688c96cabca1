"""The collapse monitor in a training: reads the policy on held-out requests, warns, stops, keeps the best."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backend.diversity import distinct, first_characters, profile
from backend.jobs.report import JobReport
from backend.judges.constancy import NoticeLog
from backend.training.callbacks import generate
from backend.training.collapse import CollapseMonitor, Judgement, Reading
from backend.training.gold import Gold, GoldReading
from backend.training.rewards import Reward

STATE, BEST = "monitor.json", "best"
UNKNOWN = GoldReading(math.nan, math.nan, math.nan, math.nan)
MOST_REASONS = 20
ABOUT = ("step", "best", "findings")
WATCHED = ("reward", "kl", "frac_reward_zero_std")


@dataclass(frozen=True)
class HeldOut:
    """Fixed requests that the policy answers with fixed seeds at every reading."""

    requests: Sequence[str]
    tokenizer: Any
    tokens: int
    seed: int
    batch: int = 64

    def answers(self, model: Any) -> list[str]:
        """One greeting for each request."""
        texts: list[str] = []
        for start in range(0, len(self.requests), self.batch):
            part = self.requests[start : start + self.batch]
            texts += generate(model, self.tokenizer, part, self.tokens, self.seed + start)
        return texts


@dataclass(eq=False)
class Watch(TrainerCallback):
    """Reads before the first step, then every `every` steps and at the end.

    `save` writes the policy into a folder; the one under BEST is the checkpoint to keep.
    """

    monitor: CollapseMonitor
    held_out: HeldOut
    gold: Gold | None
    reward: Reward
    report: JobReport
    folder: Path
    every: int
    samples: int
    sample_every: int
    save: Callable[[Path], None]
    readings: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None
    sharded: bool = False
    """Parts of the policy lie on several devices, which no reading can answer with: the monitor is off."""
    _logged: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _told: set[str] = field(default_factory=set)
    _notices: NoticeLog = field(default_factory=NoticeLog)

    @property
    def best(self) -> Path:
        """Folder of the checkpoint to keep."""
        return self.folder / BEST

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """The start, or what was known before an interruption."""
        self.sharded = bool(args.fsdp or args.deepspeed)
        if self.sharded:
            self.report.log("监测已关闭：模型分散在多个设备上 | monitor off: the model is sharded")
        elif state.global_step and (self.folder / STATE).is_file():
            self._restore(state.global_step)
        else:
            self._read(args, state, control, model)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Collect what training says about itself until the next reading."""
        del args, state, control
        for name in WATCHED:
            if (value := (logs or {}).get(name)) is not None:
                self._logged[name].append(value)
                if name == "reward":
                    self.monitor.first_reward(value)
        for reason in sorted(self.reward.reasons().keys() - self._told)[: MOST_REASONS - len(self._told)]:
            self._told.add(reason)
            self.report.log(f"unscored by {self.reward.name}: {reason}")
        if line := self._notices.line(self.reward.notice):
            self.report.log(line)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """A reading when one is due; what the first process decides holds for all."""
        due = state.global_step % self.every == 0 or state.global_step >= state.max_steps
        if due and not self.sharded:
            self._read(args, state, control, model)
        if args.world_size > 1:
            wish = [control.should_training_stop, control.should_save]
            broadcast_object_list(wish)
            control.should_training_stop, control.should_save = wish

    def summary(self) -> dict[str, Any]:
        """Figures of the checkpoint that is kept, beside those of the start."""
        kept = next(reading for reading in reversed(self.readings) if reading["best"])
        figures = {name: value for name, value in kept.items() if name not in ABOUT}
        start = {f"start/{name}": self.readings[0][name] for name in figures}
        known = {name: None if math.isnan(value) else value for name, value in (figures | start).items()}
        return {**known, "best_step": kept["step"], "stopped": self.stopped}

    def _read(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any
    ) -> None:
        judgement = [self._judged(state.global_step, model) if state.is_world_process_zero else None]
        if args.world_size > 1:
            broadcast_object_list(judgement)
        if judgement[0] is None:
            return
        if judgement[0].best:
            self._keep(state)
        if judgement[0].stop:
            control.should_training_stop = True
        if state.is_world_process_zero:
            self._remember()

    def _judged(self, step: int, model: Any) -> Judgement:
        texts = self.held_out.answers(model)
        said = self.gold.read(self.held_out.requests, texts) if self.gold else UNKNOWN
        size = self.monitor.written
        reading = Reading(
            step,
            profile(self.held_out.requests, texts),
            gold=said.mean,
            gold_spread=said.spread,
            reward=self._mean("reward"),
            kl=self._mean("kl"),
            zero_variance=self._mean("frac_reward_zero_std"),
            distinct_2_equal=distinct(texts if size is None else first_characters(texts, size), 2),
        )
        judgement = self.monitor.judge(reading)
        self._tell(reading, said, judgement, texts)
        self._logged.clear()
        return judgement

    def _tell(self, reading: Reading, said: GoldReading, judgement: Judgement, texts: Sequence[str]) -> None:
        figures = {
            f"held_out/{name}": value for name, value in asdict(reading.profile).items() if name != "n"
        }
        figures["held_out/distinct_2_equal"] = reading.distinct_2_equal
        figures |= {"gold": said.mean, "gold_excellence": said.excellence, "gold_unscored": said.unscored}
        self.report.metric(reading.step, **figures)
        findings = [finding.figure for finding in judgement.findings]
        self.readings.append({"step": reading.step, "best": judgement.best, "findings": findings, **figures})
        if reading.step % self.sample_every == 0:
            for request, text in zip(self.held_out.requests[: self.samples], texts, strict=False):
                self.report.sample(reading.step, request, text)
        if reason := judgement.reason:
            if judgement.stop:
                self.stopped = f"{reason.zh} | {reason.en}"
            word = "监测停止训练 | collapse monitor stops the run" if judgement.stop else "监测警告 | warning"
            self.report.log(f"{word}, step {reading.step}: {reason.zh} | {reason.en}")

    def _keep(self, state: TrainerState) -> None:
        draft = self.best.with_name(f"{BEST}.new")
        self.save(draft)
        if state.is_world_process_zero:
            shutil.rmtree(self.best, ignore_errors=True)
            draft.rename(self.best)

    def _remember(self) -> None:
        state = {"monitor": self.monitor.state(), "readings": self.readings, "stopped": self.stopped}
        draft = self.folder / f"{STATE}.new"
        draft.write_text(json.dumps(state), "utf-8")
        draft.replace(self.folder / STATE)

    def _restore(self, step: int) -> None:
        state = json.loads((self.folder / STATE).read_text("utf-8"))
        self.monitor.restore(state["monitor"])
        # Readings after the checkpoint come again, unless one of them is what is kept.
        kept = max((reading["step"] for reading in state["readings"] if reading["best"]), default=0)
        self.readings = [reading for reading in state["readings"] if reading["step"] <= max(step, kept)]

    def _mean(self, name: str) -> float:
        return fmean(self._logged[name]) if self._logged[name] else math.nan
