"""What every judge is: samples in, drafts of the same length and order out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from backend.vocabulary import Scale


@dataclass(frozen=True)
class Sample:
    """One greeting and the request it answers."""

    prompt: str
    greeting: str


@dataclass(frozen=True)
class Draft:
    """A judge's verdict on one sample. `value` None means unscored, and `reason` then says why."""

    value: float | None
    reason: str
    details: dict[str, Any] | None = None


@runtime_checkable
class Judge(Protocol):
    """An automatic judge at one exact version; it knows no database."""

    @property
    def name(self) -> str:
        """Short stable name, such as "length"."""

    @property
    def version(self) -> str:
        """Hash of everything that decides its verdicts, see `version_of`."""

    @property
    def scale(self) -> Scale:
        """What the values of its drafts mean."""

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """One draft per sample, in the order of the batch. Never raises for one item: that is unscored."""


def version_of(config: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 over the canonical JSON of `config`."""
    canonical = json.dumps(config, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


EMPTY = Draft(None, "祝福语为空，无法评分")
"""What judges that read the text say of an empty greeting."""
