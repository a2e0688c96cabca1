"""Which requests are taken, and which candidates: the house's reading of both, in one place."""

from backend.writing.checks import Fault, clean_greeting, find_fault
from backend.writing.wish import GreetingRequest, parse_request

__all__ = [
    "CUT",
    "SEVERAL",
    "GreetingRequest",
    "clean_greeting",
    "find_fault",
    "parse_request",
    "prompt_drop_reason",
]

SEVERAL = "several"
"""A request for several greetings: a pair compares single ones, so there is no fair candidate for it."""
DUPLICATE, NEAR_DUPLICATE, UNREADABLE = "duplicate", "near_duplicate", "unreadable"
CUT = Fault.CUT.value


def prompt_drop_reason(request: GreetingRequest) -> str | None:
    """Why a request is not taken; None where it is."""
    if request.refusal is not None:
        return request.refusal.value
    return SEVERAL if request.count > 1 else None
