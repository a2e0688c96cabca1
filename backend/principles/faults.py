"""What is wrong with a greeting that the Generator handed in, before anybody judges it."""

from backend.writing.checks import find_fault
from backend.writing.faults import Fault
from backend.writing.wish import parse_request

UNREADABLE_REPLY = "unreadable"
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


def unjudgeable_fault(prompt_text: str, greeting_text: str) -> Fault | None:
    """Why the text is no greeting that could be judged; None where it is one."""
    greeting_fault = find_fault(parse_request(prompt_text), greeting_text)
    return greeting_fault if greeting_fault in NOTHING_TO_JUDGE else None
