"""Which requests are taken, and which candidates: the house's reading of both, in one place."""

from backend.writing.checks import Fault, clean, fault_of
from backend.writing.wish import Wish, read_wish

__all__ = ["CUT", "SEVERAL", "Wish", "clean", "fault_of", "lost_of", "read_wish"]

SEVERAL = "several"
"""A request for several greetings: a pair compares single ones, so there is no fair candidate for it."""
DUPLICATE, NEAR_DUPLICATE, UNREADABLE = "duplicate", "near_duplicate", "unreadable"
CUT = Fault.CUT.value


def lost_of(wish: Wish) -> str | None:
    """Why a request is not taken; None where it is."""
    if wish.refusal is not None:
        return wish.refusal.value
    return SEVERAL if wish.count > 1 else None
