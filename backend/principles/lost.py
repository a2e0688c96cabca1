"""When so many calls fail that the endpoint is gone, a run stops to be resumed; it concludes nothing."""

from collections.abc import Iterable

from backend.errors import UserError
from backend.llm.errors import RETRYABLE, Kind

TRANSPORT = RETRYABLE - {Kind.EMPTY}
"""Failures that say nothing about the item."""
BEARABLE, FEW = 0.10, 2


class EndpointLost(UserError):
    """The calls of a phase failed for the endpoint's sake."""


def refuse_lost(failures: Iterable[str], who: str) -> None:
    """Raise EndpointLost where more than a tenth of the calls (and more than two) failed, or all did.

    failures: per call the kind of its failure, "" where it has none. `who` names the agent.
    """
    kinds = list(failures)
    gone = [kind for kind in kinds if kind in TRANSPORT]
    if gone and len(gone) > max(BEARABLE * len(kinds), min(FEW, len(kinds) - 1)):
        share = f"{len(gone)} / {len(kinds)}"
        raise EndpointLost(
            f"{share} calls of the {who} failed ({gone[0]}): its endpoint seems to be gone. "
            "See to it and resume the run; nothing is lost.",
            f"{who} 的调用失败了 {share} 次（{gone[0]}），端点可能已中断。"
            "处理好后继续运行即可，不会丢失结果。",
        )
