"""Plans: what a composed greeting is about, in tokens that the starter writes before it and nobody is shown.

Plan and write (Yao et al. 2019): naming occasion, recipient, style, number and detail first turns reading the
request into a few clear decisions, and every clause after them follows from these, not from characters far
back. The tokens are special ones, so decoding leaves them out; rows without a plan are learnt as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

PLAN_OPEN, PLAN_CLOSE = "<|plan:", "|>"


def plan_token(plan_word: str) -> str:
    """The token that stands for a word of a plan."""
    return f"{PLAN_OPEN}{plan_word}{PLAN_CLOSE}"


def plan_tokens_of(data_rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every token that the plans of these rows need, sorted."""
    return sorted({plan_token(plan_word) for data_row in data_rows for plan_word in data_row.get("plan", ())})


def text_with_plan(data_row: Mapping[str, Any], vocabulary: Mapping[str, int]) -> str:
    """The greeting after its plan, or alone where a vocabulary has no tokens for plans."""
    planned_tokens = [plan_token(plan_word) for plan_word in data_row.get("plan", ())]
    return "".join(planned_token for planned_token in planned_tokens if planned_token in vocabulary) + str(
        data_row["completion"]
    )
