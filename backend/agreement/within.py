"""Agreement within requests: pairs of greetings for one request that people tell apart, and how judges order them.

For a judge that ranks this is the only agreement there is: its values say nothing across requests.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from backend.agreement.records import WithinRow
from backend.agreement.reference import FloatArray, Reference
from backend.agreement.statistics.figures import undefined_figure
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.agreement.statistics.matched import same_prompt_accuracy
from backend.agreement.statistics.minimums import withhold_if_few
from backend.core.errors import Message
from backend.db.tables import Rater
from backend.judges.base import JudgeKind

RANKS_WITHIN = Message(
    "This judge ranks greetings within a request, so its values say nothing across requests; see its pairs within "
    "requests.",
    "这个裁判只给同一请求内的祝福排名次，不同请求之间的名次不能比；请看“同一请求内”的准确率。",
)
_ACROSS_FIGURES = ("spearman", "kendall", "accuracy", "kappa", "ac1", "auc", "matched_auc", "threshold")


def ranks_within(rater: Rater) -> bool:
    """Whether the rater is a judge whose values are places within a request."""
    spec = rater.config.get("spec")
    return isinstance(spec, dict) and spec.get("kind") == JudgeKind.RANKING


def without_across_figures(row: JudgeRow) -> JudgeRow:
    """The row with the reason in place of every figure that compares greetings of different requests."""
    withheld: dict[str, Any] = {name: undefined_figure(RANKS_WITHIN, getattr(row, name).n) for name in _ACROSS_FIGURES}
    return replace(row, **withheld)


def within_rows(reference: Reference, values_by_key: Iterable[tuple[str, str, FloatArray]]) -> tuple[WithinRow, ...]:
    """One row a judge: key and name on the board with its values (units,), NaN where it gave none."""
    human_values = reference.majority()
    prompt_groups = np.array([unit.prompt_id for unit in reference.units])
    all_pairs = _pair_count(human_values, prompt_groups)
    rows = []
    for row_key, judge_name, judge_values in values_by_key:
        has_both = ~np.isnan(human_values) & np.isfinite(judge_values)
        figure = same_prompt_accuracy(human_values[has_both], judge_values[has_both], prompt_groups[has_both])
        pair_count = figure.n or 0
        rows.append(
            WithinRow(row_key, judge_name, withhold_if_few(figure, pair_count), pair_count, all_pairs - pair_count)
        )
    return tuple(rows)


def _pair_count(human_values: FloatArray, prompt_groups: FloatArray) -> int:
    """How many pairs of one request people tell apart."""
    is_labelled = ~np.isnan(human_values)
    figure = same_prompt_accuracy(human_values[is_labelled], human_values[is_labelled], prompt_groups[is_labelled])
    return figure.n or 0
