"""What a judge is made of, as plain values: kept in the database, forked in the page, given to jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from backend.errors import UserError


class JudgeKind(StrEnum):
    """Every kind of judge there is."""

    LENGTH = "length"
    STYLE = "style"
    NGRAM = "ngram"
    PRINCIPLE = "principle"
    RUBRIC = "rubric"
    PAIRWISE = "pairwise"
    PANEL = "panel"
    REWARD_MODEL = "reward_model"


EXAMPLES = frozenset({"examples", "embeddings", "index"})
"""How many examples a panel sees, the endpoint that embeds requests, and the index they come from."""
_SAMPLING = frozenset({"temperature", "max_tokens", "seed"})
_ALLOWED: dict[JudgeKind, frozenset[str]] = {
    JudgeKind.LENGTH: frozenset(),
    JudgeKind.STYLE: frozenset(),
    JudgeKind.NGRAM: frozenset(),
    JudgeKind.PRINCIPLE: _SAMPLING | {"principles"},
    JudgeKind.RUBRIC: _SAMPLING,
    JudgeKind.PAIRWISE: _SAMPLING,
    JudgeKind.PANEL: _SAMPLING | {"positive", "negative", "judge", "reflect", "endpoints"} | EXAMPLES,
    JudgeKind.REWARD_MODEL: frozenset({"path", "max_length"}),
}
TRAINED_HERE = frozenset({JudgeKind.LENGTH, JudgeKind.STYLE, JudgeKind.NGRAM})
"""Fitted to the corpus by themselves; they have no configuration."""
ASKING = frozenset({JudgeKind.PRINCIPLE, JudgeKind.RUBRIC, JudgeKind.PAIRWISE, JudgeKind.PANEL})
"""They ask a language model and need an endpoint."""


@dataclass(frozen=True)
class JudgeSpec:
    """A judge before it is built. `config` holds what its kind allows; everything else has a default."""

    kind: JudgeKind
    name: str
    endpoint: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= 60 or not self.name.isprintable():
            raise UserError(
                "Give the judge a name of 1 to 60 characters.", "请填写裁判名称（1 到 60 个字符）。"
            )
        if self.name in TRAINED_HERE and self.name != self.kind:
            raise UserError(
                f"“{self.name}” is the name of a baseline; choose another.",
                f"“{self.name}”是基线裁判的名称，请换一个。",
            )
        unknown = sorted(self.config.keys() - _ALLOWED[self.kind])
        if unknown:
            raise UserError(
                f"A judge of kind {self.kind} has no setting “{unknown[0]}”.",
                f"{self.kind} 类裁判没有“{unknown[0]}”这项设置。",
            )

    def named(self, name: str) -> "JudgeSpec":
        """The same judge under another name."""
        return replace(self, name=name)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "endpoint": self.endpoint,
            "config": dict(self.config),
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """From what `plain` gave. Raises UserError where it is no judge."""
        try:
            kind = JudgeKind(value["kind"])
            return cls(kind, str(value["name"]), value.get("endpoint"), dict(value.get("config") or {}))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"The stored description of a judge cannot be read ({error}).",
                f"无法读取裁判的定义（{error}）。",
            ) from error
