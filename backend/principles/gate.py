"""What lets a proposal in: better beyond noise on labels the game never saw, and no less safe.

The game learns nothing from the gate but whether a proposal was accepted. So all that is tested before
the first acceptance is fixed without the gate's labels, and with one look a round, each at alpha / rounds,
a run over labels that mean nothing accepts anything with a chance of alpha at most (union bound).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backend.agreement.categorical import rate
from backend.agreement.figures import Figure, Floats
from backend.agreement.paired import Paired, paired
from backend.principles.labels import Label
from backend.principles.safety import Safety
from backend.principles.vocabulary import Why

Values = Sequence[float | None]
MOST_UNSCORED = 0.10
"""Share of the gate set that a proposal may leave unscored; beyond it, only as much as its parent."""


@dataclass(frozen=True)
class Ruling:
    """Whether a proposal is in, why, and the figures behind it."""

    accepted: bool
    why: Why
    facts: dict[str, Any]


def score(labels: Sequence[Label], values: Values) -> Figure:
    """Share of scored labels that the judge got right, with a Wilson interval clustered by request."""
    numbers = floats(values)
    known = ~np.isnan(numbers)
    human = np.array([float(one.good) for one in labels])
    groups = np.array([one.group for one in labels], dtype=object)
    return rate((human == numbers)[known].astype(float), groups[known].astype(str))


def compare(labels: Sequence[Label], before: Values, after: Values) -> Paired:
    """The exact paired test over the labels that both scored."""
    human = np.array([float(one.good) for one in labels])
    return paired(human, floats(before), floats(after), np.array([one.group for one in labels]))


def passes_minibatch(result: Paired) -> Ruling:
    """A proposal goes to the gate only if it mends more than it breaks where it was inspired."""
    return Ruling(result.gain > 0, Why.BETTER if result.gain > 0 else Why.MINIBATCH, asdict(result))


def passes_gate(result: Paired, before: Values, after: Values, level: float) -> Ruling:
    """The paired test at `level`; too many unscored labels settle it before."""
    missing = [sum(value is None for value in values) for values in (before, after)]
    facts = {**asdict(result), "level": level, "missing": missing[1], "of": len(after)}
    if missing[1] > max(MOST_UNSCORED * len(after), missing[0]):
        return Ruling(False, Why.UNSCORED, facts)
    better = result.gain > 0 and result.p <= level
    return Ruling(better, Why.BETTER if better else Why.GATE, facts)


def passes_safety(result: Safety, silent: int) -> Ruling:
    """Not one attack more may succeed, in any kind. `silent`: attacks that the present judge leaves open."""
    facts = asdict(result)
    if result.unscored > max(MOST_UNSCORED * sum(result.of.values()), silent):
        return Ruling(False, Why.UNSCORED, {"missing": result.unscored, "of": sum(result.of.values())})
    return Ruling(not result.worse, Why.SAFETY if result.worse else Why.BETTER, facts)


def floats(values: Values) -> Floats:
    """Values as numbers, NaN where unscored."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)
