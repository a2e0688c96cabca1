"""When so many calls fail that the endpoint is gone, a run stops to be resumed; it concludes nothing."""

from collections.abc import Iterable

from backend.errors import UserError
from backend.llm.errors import RETRYABLE_KINDS, LLMErrorKind

TRANSPORT_FAILURES = RETRYABLE_KINDS - {LLMErrorKind.EMPTY}
"""Failures that say nothing about the item."""
MAX_FAILURE_SHARE, FEW_FAILURES = 0.10, 2


class EndpointUnavailable(UserError):
    """The calls of a phase failed for the endpoint's sake."""


def refuse_unavailable(failures: Iterable[str], agent_name: str) -> None:
    """Raise EndpointLost where more than a tenth of the calls (and more than two) failed, or all did.

    failures: per call the kind of its failure, "" where it has none. `who` names the agent.
    """
    failure_kinds = list(failures)
    transport_failures = [failure_kind for failure_kind in failure_kinds if failure_kind in TRANSPORT_FAILURES]
    if transport_failures and len(transport_failures) > max(
        MAX_FAILURE_SHARE * len(failure_kinds), min(FEW_FAILURES, len(failure_kinds) - 1)
    ):
        failed_share = f"{len(transport_failures)} / {len(failure_kinds)}"
        raise EndpointUnavailable(
            f"{failed_share} calls of the {agent_name} failed ({transport_failures[0]}): its endpoint seems to be gone. "
            "See to it and resume the run; nothing is lost.",
            f"{agent_name} 的调用失败了 {failed_share} 次（{transport_failures[0]}），端点可能已中断。"
            "处理好后继续运行即可，不会丢失结果。",
        )
