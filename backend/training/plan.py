"""Plans: what a composed greeting is about, in tokens that the starter writes before it and nobody is shown.

Plan and write (Yao et al. 2019): naming occasion, recipient, style, number and detail first turns reading the
request into a few clear decisions, and every clause after them follows from these, not from characters far
back. The tokens are special ones, so decoding leaves them out; rows without a plan are learnt as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

OPEN, CLOSE = "<|plan:", "|>"


def token(word: str) -> str:
    """The token that stands for a word of a plan."""
    return f"{OPEN}{word}{CLOSE}"


def tokens_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every token that the plans of these rows need, sorted."""
    return sorted({token(word) for row in rows for word in row.get("plan", ())})


def written(row: Mapping[str, Any], known: Mapping[str, int]) -> str:
    """The greeting after its plan, or alone where a vocabulary has no tokens for plans."""
    plan = [token(word) for word in row.get("plan", ())]
    return "".join(one for one in plan if one in known) + str(row["completion"])
