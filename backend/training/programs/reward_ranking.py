"""The reward of a judge that ranks: the greetings of a group, which TRL compares, are compared by the judge too."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from backend.judges.base import JudgeSpec, Judgment, Sample
from backend.judges.context import JudgeContext
from backend.judges.ranking import RankingGroup, RankingJudge
from backend.training.programs.reward_judges import JudgeReward


class RankingReward(JudgeReward):
    """Places within each group of `group_size` greetings, 1 for the best and 0 for the worst.

    A group are the rows of one request, in order, `group_size` at a time: a rollout that holds a request several times
    is several groups. All groups are judged at once.
    """

    def __init__(self, judge_spec: JudgeSpec, open_context: Callable[[], JudgeContext], *, group_size: int) -> None:
        super().__init__(judge_spec, open_context)
        self.group_size = group_size
        self._flips = (0, 0)

    async def judge_samples(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One judgment per sample, in order."""
        row_groups = split_rows([sample.prompt for sample in samples], self.group_size)
        groups = [
            RankingGroup(
                samples[row_numbers[0]].prompt, tuple(samples[row_number].greeting for row_number in row_numbers)
            )
            for row_numbers in row_groups
        ]
        judgments_by_group = await cast(RankingJudge, self.judge).rank_groups(groups)
        self._flips = _count_flips(judgments_by_group)
        judgment_by_row: dict[int, Judgment] = {}
        for row_numbers, judgments in zip(row_groups, judgments_by_group, strict=True):
            judgment_by_row |= dict(zip(row_numbers, judgments, strict=True))
        return [judgment_by_row[row_number] for row_number in range(len(samples))]

    def figures(self, reward_values: Sequence[float | None]) -> dict[str, float]:
        """Also the share of pairs that two orders of asking put the opposite way, where both are asked."""
        flip_count, pair_count = self._flips
        flip_share = {"ranking/flips": flip_count / pair_count} if pair_count else {}
        return super().figures(reward_values) | flip_share


def split_rows(requests: Sequence[str], group_size: int) -> list[list[int]]:
    """The numbers of the rows of each group, in order of their first rows."""
    rows_by_request: dict[str, list[int]] = {}
    for row_number, request_text in enumerate(requests):
        rows_by_request.setdefault(request_text, []).append(row_number)
    return [
        row_numbers[start : start + group_size]
        for row_numbers in rows_by_request.values()
        for start in range(0, len(row_numbers), group_size)
    ]


def _count_flips(judgments_by_group: Sequence[Sequence[Judgment]]) -> tuple[int, int]:
    """Flips and compared pairs of all groups; every judgment of a group holds those of the whole group."""
    group_details: list[dict[str, Any]] = [
        next((judgment.details for judgment in judgments if judgment.details), {}) for judgments in judgments_by_group
    ]
    return (
        sum(details.get("flips", 0) for details in group_details),
        sum(details.get("flip_pairs", 0) for details in group_details),
    )
