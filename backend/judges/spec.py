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


EXAMPLE_SETTINGS = frozenset({"examples", "embeddings", "index"})
"""How many examples a panel sees, the endpoint that embeds requests, and the index they come from."""
_SAMPLING_SETTINGS = frozenset({"temperature", "max_tokens", "seed"})
_ALLOWED_SETTINGS: dict[JudgeKind, frozenset[str]] = {
    JudgeKind.LENGTH: frozenset(),
    JudgeKind.STYLE: frozenset(),
    JudgeKind.NGRAM: frozenset(),
    JudgeKind.PRINCIPLE: _SAMPLING_SETTINGS | {"principles"},
    JudgeKind.RUBRIC: _SAMPLING_SETTINGS,
    JudgeKind.PAIRWISE: _SAMPLING_SETTINGS,
    JudgeKind.PANEL: _SAMPLING_SETTINGS | {"positive", "negative", "judge", "reflect", "endpoints"} | EXAMPLE_SETTINGS,
    JudgeKind.REWARD_MODEL: frozenset({"path", "max_length"}),
}
TRAINED_HERE = frozenset({JudgeKind.LENGTH, JudgeKind.STYLE, JudgeKind.NGRAM})
"""Fitted to the corpus by themselves; they have no configuration."""
ASKING_KINDS = frozenset({JudgeKind.PRINCIPLE, JudgeKind.RUBRIC, JudgeKind.PAIRWISE, JudgeKind.PANEL})
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
            raise UserError("Give the judge a name of 1 to 60 characters.", "请填写裁判名称（1 到 60 个字符）。")
        if self.name in TRAINED_HERE and self.name != self.kind:
            raise UserError(
                f"“{self.name}” is the name of a baseline; choose another.",
                f"“{self.name}”是基线裁判的名称，请换一个。",
            )
        unknown_settings = sorted(self.config.keys() - _ALLOWED_SETTINGS[self.kind])
        if unknown_settings:
            raise UserError(
                f"A judge of kind {self.kind} has no setting “{unknown_settings[0]}”.",
                f"{self.kind} 类裁判没有“{unknown_settings[0]}”这项设置。",
            )

    def with_name(self, new_name: str) -> "JudgeSpec":
        """The same judge under another name."""
        return replace(self, name=new_name)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "endpoint": self.endpoint,
            "config": dict(self.config),
        }

    @classmethod
    def read(cls, stored_spec: Mapping[str, Any]) -> Self:
        """From what `plain` gave. Raises UserError where it is no judge."""
        try:
            judge_kind = JudgeKind(stored_spec["kind"])
            return cls(
                judge_kind,
                str(stored_spec["name"]),
                stored_spec.get("endpoint"),
                dict(stored_spec.get("config") or {}),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"The stored description of a judge cannot be read ({error}).",
                f"无法读取裁判的定义（{error}）。",
            ) from error
