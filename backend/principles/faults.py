"""What is wrong with a greeting that the Generator handed in, before anybody judges it."""

from backend.writing.checks import fault_of
from backend.writing.faults import Fault
from backend.writing.wish import read_wish

UNREADABLE = "unreadable"
NOTHING_TO_JUDGE = frozenset(
    {
        Fault.EMPTY,
        Fault.GARBAGE,
        Fault.REFUSED,
        Fault.WRONG_LANGUAGE,
        Fault.REPEATS_PROMPT,
        Fault.SEVERAL,
        Fault.PLACEHOLDER,
        Fault.TOO_LONG,
    }
)
"""The other faults (a wrong length, say) may be the very flaw that was to be planted."""


def no_greeting(prompt: str, text: str) -> Fault | None:
    """Why the text is no greeting that could be judged; None where it is one."""
    found = fault_of(read_wish(prompt), text)
    return found if found in NOTHING_TO_JUDGE else None
