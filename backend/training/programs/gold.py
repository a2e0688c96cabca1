"""Judges fitted on a snapshot, such as the gold judge that no reward ever uses; and the reward that settings mean."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev

from backend.core.enums import Split
from backend.core.errors import Message
from backend.core.settings import Settings
from backend.core.text import assign_bucket
from backend.db.engine import Database
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.judges.base import Judge, JudgeKind, JudgeSpec, Sample
from backend.judges.context import JudgeContext
from backend.judges.crossfit import TrainingLabel, TrainingPool
from backend.judges.examples import ExampleService
from backend.judges.ngram import fit_ngram
from backend.llm.budget import Budget, JobCallBudget
from backend.llm.endpoints import EndpointService
from backend.training.grpo_settings import GrpoSettings
from backend.training.messages import GOLD_OFF
from backend.training.programs import models
from backend.training.programs.card import OutputKind
from backend.training.programs.environment import process_count, process_rank
from backend.training.programs.program import TrainingRun
from backend.training.programs.reward_judges import JudgeReward, RewardModelReward
from backend.training.programs.reward_ranking import RankingReward
from backend.training.programs.reward_terms import (
    DiversityReward,
    FormatReward,
    LengthBandReward,
    RepetitionReward,
    RequestFitReward,
)
from backend.training.programs.rewards import MixedReward, Reward
from backend.training.programs.soundness import SoundnessModel, learn_soundness
from backend.training.snapshot import Snapshot, open_snapshot

# Where reward and gold learn from the same rows each gets the requests of one half, or gold would praise what
# the reward has taught.
WHOLE_SNAPSHOT, REWARD_HALF, GOLD_HALF = -1, 0, 1


def fit_snapshot_judge(snapshot: Snapshot, data_half: int = WHOLE_SNAPSHOT) -> Judge:
    """The n-gram judge on the labels and pairs of every split; cross-fitting keeps requests apart."""
    training_labels = [label for split in Split for label in _load_labels(snapshot, split)]
    return fit_ngram(
        TrainingPool(
            labels=[
                candidate
                for candidate in training_labels
                if data_half in (WHOLE_SNAPSHOT, find_request_half(candidate.prompt))
            ]
        )
    )


def find_request_half(prompt_text: str) -> int:
    """The half that a request belongs to where reward and gold must not share data."""
    return assign_bucket(prompt_text, 2, hash_salt="gold")


def _load_labels(snapshot: Snapshot, split: Split) -> list[TrainingLabel]:
    split_labels = [
        TrainingLabel(data_row["prompt"], data_row["greeting"], data_row["good"])
        for data_row in snapshot.rows("labels", split)
    ]
    for data_row in snapshot.rows("pairs", split):
        split_labels += [
            TrainingLabel(data_row["prompt"], data_row["chosen"], True),
            TrainingLabel(data_row["prompt"], data_row["rejected"], False),
        ]
    return split_labels


@dataclass(frozen=True)
class GoldReading:
    """Gold on a body of greetings: mean and spread of the probability of good, share that is good, share unscored.

    The first three are nan where it could score none or cannot tell, as `reason` says. The last three are nan where
    only the judge was asked: share that is fluent, share that fits its request (chance taken out), share of character
    pairs that gold has never seen.
    """

    mean: float
    spread: float
    excellence: float
    unscored: float
    fluent: float = math.nan
    fit: float = math.nan
    unseen: float = math.nan
    reason: Message | None = None


@dataclass(frozen=True)
class GoldJudge:
    """Reads a judge on a logit scale: mean probability of good, and the share that is good (logit ≥ 0).

    With `soundness`, good is only what is fluent as well; and both figures are multiplied by the share of greetings
    that fit their requests, which no single text shows. A judge of wording alone calls an untrained model excellent.
    """

    judge: Judge
    soundness: SoundnessModel | None = None

    def read_greetings(self, requests: Sequence[str], greetings: Sequence[str]) -> GoldReading:
        """One reading of greetings written for these requests."""
        samples = [
            Sample(prompt_text, greeting_text) for prompt_text, greeting_text in zip(requests, greetings, strict=True)
        ]
        judge_values = [judgment.value for judgment in asyncio.run(self.judge.score(samples))]
        soundness_reading = self.soundness.read_greetings(requests, greetings) if self.soundness else None
        fluent = soundness_reading.fluent if soundness_reading else [True] * len(greetings)
        fit_share = soundness_reading.fit_share if soundness_reading else math.nan
        scored = [
            (logit, is_fluent) for logit, is_fluent in zip(judge_values, fluent, strict=True) if logit is not None
        ]
        reading = GoldReading(math.nan, math.nan, math.nan, 1 - len(scored) / len(greetings))
        if soundness_reading:
            reading = replace(reading, fluent=fmean(fluent), fit=fit_share, unseen=soundness_reading.unseen_share)
        if not scored or (soundness_reading and soundness_reading.is_beyond):
            return replace(reading, reason=_cannot_tell(reading))
        # math.exp raises OverflowError beyond about 709.
        probabilities = [is_fluent / (1 + math.exp(-max(-500.0, logit))) for logit, is_fluent in scored]
        # Unknown where accepted greetings fit no better than any others, as where all answer one request.
        fit_factor = 1.0 if math.isnan(fit_share) else fit_share
        return replace(
            reading,
            mean=fit_factor * fmean(probabilities),
            spread=pstdev(probabilities),
            excellence=fit_factor * fmean(is_fluent and logit >= 0 for logit, is_fluent in scored),
        )


def _cannot_tell(reading: GoldReading) -> Message:
    if reading.unscored == 1:
        return Message("its judge knows nothing in any of the greetings", "其裁判不认识这些祝福语中的任何字词")
    return Message(
        f"the greetings fit their requests, but {reading.unseen:.0%} of their character pairs are new to it",
        f"祝福语切合请求，但其中 {reading.unseen:.0%} 的相邻字对它从未见过",
    )


CALL_COUNT_FILE = "judge_calls"


def open_reward_context(
    settings: Settings, snapshot_folder: Path, run_folder: Path, data_half: int, max_calls: int | None
) -> JudgeContext:
    """What rewards build their judges from. Any process opens its own, so that nothing open has to be pickled.

    `max_calls` and the endpoints' concurrency are the whole training's: its processes share both.
    """
    database = Database(settings.url)
    database.wait_patiently()
    endpoint_service = EndpointService(database, settings.home, settings, process_count())
    return JudgeContext(
        endpoint_service,
        lambda _: fit_snapshot_judge(open_snapshot(settings.home, str(snapshot_folder)), data_half),
        Budget() if max_calls is None else JobCallBudget(run_folder / CALL_COUNT_FILE, max_calls),
        example_service=ExampleService(database, settings.home, endpoint_service),
    )


def reward_of(training_run: TrainingRun[GrpoSettings]) -> Reward:
    """The main reward and the terms of form; alone where they have no weight."""
    grpo_settings = training_run.settings
    weighted_terms: list[tuple[float, Reward]] = [
        (grpo_settings.length_weight, LengthBandReward(grpo_settings.length_low, grpo_settings.length_high)),
        (grpo_settings.repetition_weight, RepetitionReward()),
        (grpo_settings.diversity_weight, DiversityReward()),
        (grpo_settings.format_weight, FormatReward()),
    ]
    if grpo_settings.fit_weight:
        accepted_rows = training_run.snapshot.rows("sft", Split.TRAIN)
        accepted_pairs = [(data_row["prompt"], data_row["completion"]) for data_row in accepted_rows]
        weighted_terms.append((grpo_settings.fit_weight, RequestFitReward(accepted_pairs)))
    if grpo_settings.reward_weight:
        weighted_terms.insert(0, (grpo_settings.reward_weight, _build_main_reward(training_run)))
    # A term without weight is not even computed.
    active_terms = [(weight, reward_term) for weight, reward_term in weighted_terms if weight]
    reward = active_terms[0][1] if len(active_terms) == 1 else MixedReward(active_terms)
    reward.patience = grpo_settings.unscored_rollouts
    return reward


def _build_main_reward(training_run: TrainingRun[GrpoSettings]) -> Reward:
    grpo_settings = training_run.settings
    if grpo_settings.reward == "reward_model":
        return RewardModelReward(_find_reward_folder(training_run), binary=grpo_settings.binary)
    judge_kind = JudgeKind(grpo_settings.reward)
    data_half = REWARD_HALF if judge_kind is JudgeKind.NGRAM else WHOLE_SNAPSHOT
    snapshot_folder = training_run.snapshot.folder
    # A partial of a module's function: a closure could not be pickled for the other processes.
    open_context = partial(
        open_reward_context,
        Settings.load(),
        snapshot_folder,
        training_run.output_folder,
        data_half,
        grpo_settings.max_calls,
    )
    judge_spec = JudgeSpec(judge_kind, judge_kind.value, grpo_settings.endpoint, grpo_settings.judge)
    if judge_kind is JudgeKind.RANKING:
        return RankingReward(judge_spec, open_context, group_size=grpo_settings.generations)
    return JudgeReward(judge_spec, open_context, binary=grpo_settings.binary)


def _find_reward_folder(training_run: TrainingRun[GrpoSettings]) -> Path:
    requested_artifact = training_run.settings.reward_artifact
    if requested_artifact == LATEST or requested_artifact.startswith(ARTIFACT_PREFIX):
        return models.find_artifact(training_run, requested_artifact, OutputKind.REWARD_MODEL)[1]
    return Path(requested_artifact).expanduser()


def build_gold_judge(training_run: TrainingRun[GrpoSettings]) -> GoldJudge | None:
    """The judge that the reward never uses; None where there shall be none."""
    grpo_settings = training_run.settings
    # Readings are taken by the first process alone.
    if grpo_settings.gold == "off" or process_rank() > 0:
        return None
    snapshot_name = grpo_settings.gold_snapshot
    snapshot = open_snapshot(training_run.home_folder, snapshot_name) if snapshot_name else training_run.snapshot
    # Of all rewards only the n-gram judge learns from these rows.
    shares_data = grpo_settings.reward == "ngram" and snapshot.hash == training_run.snapshot.hash
    data_half = GOLD_HALF if shares_data else WHOLE_SNAPSHOT
    accepted_pairs = [
        (data_row["prompt"], data_row["completion"])
        for split in Split
        for data_row in snapshot.rows("sft", split)
        if data_half in (WHOLE_SNAPSHOT, find_request_half(data_row["prompt"]))
    ]
    soundness = learn_soundness(accepted_pairs)
    if soundness is None:
        training_run.report.log(GOLD_OFF.fill(greetings=len(accepted_pairs)))
        return None
    return GoldJudge(fit_snapshot_judge(snapshot, data_half), soundness)
