"""When to try again: bounded attempts, full jitter, Retry-After, a deadline. The only retries there are."""

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from backend.llm.errors import LLMError


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long one call is tried. `deadline_s` None means three times the endpoint's timeout.

    The deadline counts attempts and pauses, not the wait for a free slot: a long queue is no failure.
    """

    attempts: int = 4
    base_s: float = 0.5
    cap_s: float = 20.0
    retry_after_cap_s: float = 60.0
    deadline_s: float | None = None

    def deadline(self, timeout_s: float) -> float:
        """Seconds that one call may take in all."""
        return 3 * timeout_s if self.deadline_s is None else self.deadline_s

    def pause(self, attempt: int, error: LLMError) -> float:
        """Seconds to wait after the failed attempt (1 is the first)."""
        if error.retry_after is not None:
            wait = min(error.retry_after, self.retry_after_cap_s)
            return wait + random.uniform(0, min(self.base_s, wait / 4))
        return random.uniform(0, min(self.cap_s, self.base_s * 2.0 ** (attempt - 1)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: milliseconds, seconds, or an HTTP date. None where it asks nothing."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        when = email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, when - time.time())
