"""From GRPO's settings to its reward and to the gold judge that stands beside it."""

from pathlib import Path

from backend.judges.spec import JudgeKind, JudgeSpec
from backend.settings import Settings
from backend.training import models
from backend.training.card import OutputKind
from backend.training.environment import process_rank
from backend.training.gold import (
    GOLD_HALF,
    REWARD_HALF,
    WHOLE_SNAPSHOT,
    GoldJudge,
    RewardContextFactory,
    fit_snapshot_judge,
)
from backend.training.program import TrainingRun
from backend.training.reward_judges import JudgeReward, RewardModelReward
from backend.training.reward_terms import (
    DiversityReward,
    FormatReward,
    LengthBandReward,
    RepetitionReward,
    RequestFitReward,
)
from backend.training.rewards import MixedReward, Reward
from backend.training_runs.config import ARTIFACT_PREFIX, LATEST
from backend.training_runs.config_grpo import GrpoSettings
from backend.training_runs.data import open_snapshot
from backend.vocabulary import Split


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
    app_settings = Settings.load()
    open_context = RewardContextFactory(app_settings, training_run.snapshot.folder, data_half, grpo_settings.max_calls)
    judge_spec = JudgeSpec(judge_kind, judge_kind.value, grpo_settings.endpoint, grpo_settings.judge)
    return JudgeReward(judge_spec, open_context, binary=grpo_settings.binary)


def _find_reward_folder(training_run: TrainingRun[GrpoSettings]) -> Path:
    requested_artifact = training_run.settings.reward_artifact
    if requested_artifact == LATEST or requested_artifact.startswith(ARTIFACT_PREFIX):
        return models.find_artifact(training_run, requested_artifact, OutputKind.REWARD_MODEL)[1]
    return Path(requested_artifact).expanduser()


def build_gold_judge(training_run: TrainingRun[GrpoSettings]) -> GoldJudge | None:
    """The judge that the reward never uses; None where there shall be none."""
    grpo_settings = training_run.settings
    if grpo_settings.gold == "off" or process_rank() > 0:
        return None
    snapshot_name = grpo_settings.gold_snapshot
    snapshot = open_snapshot(training_run.home_folder, snapshot_name) if snapshot_name else training_run.snapshot
    shares_data = grpo_settings.reward == "ngram" and snapshot.hash == training_run.snapshot.hash
    return GoldJudge(fit_snapshot_judge(snapshot, GOLD_HALF if shares_data else WHOLE_SNAPSHOT))
