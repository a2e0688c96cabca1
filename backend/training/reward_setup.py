"""From GRPO's settings to its reward and to the gold judge that stands beside it."""

from pathlib import Path

from backend.judges.spec import JudgeKind, JudgeSpec
from backend.settings import Settings
from backend.training import models
from backend.training.card import Kind
from backend.training.environment import rank
from backend.training.gold import GOLD_HALF, REWARD_HALF, WHOLE, Gold, RewardHouse, fit_snapshot
from backend.training.program import Run
from backend.training.reward_judges import JudgeReward, RewardModelReward
from backend.training.reward_terms import (
    DiversityReward,
    FormatReward,
    LengthBandReward,
    RepetitionReward,
    RequestFitReward,
)
from backend.training.rewards import MixedReward, Reward
from backend.training_runs.config import ARTIFACT, LATEST
from backend.training_runs.config_grpo import GrpoSettings
from backend.training_runs.data import open_snapshot
from backend.vocabulary import Split


def reward_of(run: Run[GrpoSettings]) -> Reward:
    """The main reward and the terms of form; alone where they have no weight."""
    chosen = run.settings
    terms: list[tuple[float, Reward]] = [
        (chosen.length_weight, LengthBandReward(chosen.length_low, chosen.length_high)),
        (chosen.repetition_weight, RepetitionReward()),
        (chosen.diversity_weight, DiversityReward()),
        (chosen.format_weight, FormatReward()),
    ]
    if chosen.fit_weight:
        accepted = run.snapshot.rows("sft", Split.TRAIN)
        rows = [(row["prompt"], row["completion"]) for row in accepted]
        terms.append((chosen.fit_weight, RequestFitReward(rows)))
    if chosen.reward_weight:
        terms.insert(0, (chosen.reward_weight, _main_reward(run)))
    used = [(weight, part) for weight, part in terms if weight]
    reward = used[0][1] if len(used) == 1 else MixedReward(used)
    reward.patience = chosen.unscored_rollouts
    return reward


def _main_reward(run: Run[GrpoSettings]) -> Reward:
    chosen = run.settings
    if chosen.reward == "reward_model":
        return RewardModelReward(_reward_folder(run), binary=chosen.binary)
    kind = JudgeKind(chosen.reward)
    half = REWARD_HALF if kind is JudgeKind.NGRAM else WHOLE
    settings = Settings.load()
    house = RewardHouse(settings, run.snapshot.folder, half, chosen.max_calls)
    spec = JudgeSpec(kind, kind.value, chosen.endpoint, chosen.judge)
    return JudgeReward(spec, house, binary=chosen.binary)


def _reward_folder(run: Run[GrpoSettings]) -> Path:
    wish = run.settings.reward_artifact
    if wish == LATEST or wish.startswith(ARTIFACT):
        return models.find_artifact(run, wish, Kind.REWARD_MODEL)[1]
    return Path(wish).expanduser()


def gold_of(run: Run[GrpoSettings]) -> Gold | None:
    """The judge that the reward never uses; None where there shall be none."""
    chosen = run.settings
    if chosen.gold == "off" or rank() > 0:
        return None
    named = chosen.gold_snapshot
    snapshot = open_snapshot(run.home, named) if named else run.snapshot
    shared = chosen.reward == "ngram" and snapshot.hash == run.snapshot.hash
    return Gold(fit_snapshot(snapshot, GOLD_HALF if shared else WHOLE))
