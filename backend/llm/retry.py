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
    base_pause_s: float = 0.5
    max_pause_s: float = 20.0
    max_retry_after_s: float = 60.0
    deadline_s: float | None = None

    def call_deadline(self, timeout_s: float) -> float:
        """Seconds that one call may take in all."""
        return 3 * timeout_s if self.deadline_s is None else self.deadline_s

    def retry_pause(self, attempt_number: int, error: LLMError) -> float:
        """Seconds to wait after the failed attempt (1 is the first)."""
        if error.retry_after is not None:
            requested_wait = min(error.retry_after, self.max_retry_after_s)
            return requested_wait + random.uniform(0, min(self.base_pause_s, requested_wait / 4))
        return random.uniform(0, min(self.max_pause_s, self.base_pause_s * 2.0 ** (attempt_number - 1)))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: milliseconds, seconds, or an HTTP date. None where it asks nothing."""
    for header_name, units_per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_seconds = float(headers[header_name]) / units_per_second
        except (KeyError, ValueError):
            continue
        return wait_seconds if 0 <= wait_seconds < float("inf") else None
    try:
        retry_time = email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, retry_time - time.time())
