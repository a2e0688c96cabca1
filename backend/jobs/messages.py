"""What programs report in words: a code, a level, a sentence in each language, and the values in it.

Programs fill a `MessageTemplate`; the filled `JobMessage` is stored with the job, and pages show it by level and
language. Nobody downstream reads a sentence to learn what happened: that is what `code` and `values` are for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from backend.core.enums import EventLevel
from backend.core.errors import Message


@dataclass(frozen=True)
class JobMessage(Message):
    """One filled message. `code` is empty for a line that older programs stored as text alone."""

    code: str = ""
    level: EventLevel = EventLevel.INFO
    values: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def log_line(self) -> str:
        """The line for log files: English, and both languages where somebody should act on it."""
        return self.en if self.level is EventLevel.INFO else f"{self.zh} | {self.en}"

    def to_data(self) -> dict[str, Any]:
        """As stored, ready for JSON; the key “text” is what readers know who know nothing of codes."""
        return {
            "level": self.level.value,
            "code": self.code,
            "en": self.en,
            "zh": self.zh,
            "values": {value_name: _json_value(raw_value) for value_name, raw_value in self.values.items()},
            "text": self.log_line,
        }

    @classmethod
    def from_data(cls, event_data: Mapping[str, Any]) -> Self:
        """From what `to_data` gave; a row with the key “text” alone becomes a plain line that is never looked into."""
        if "code" not in event_data:
            return cls.from_text(str(event_data.get("text", "")))
        return cls(
            en=event_data["en"],
            zh=event_data["zh"],
            code=event_data["code"],
            level=EventLevel(event_data["level"]),
            values=event_data["values"],
        )

    @classmethod
    def from_text(cls, line_text: str) -> Self:
        """A line that has no code, the same in both languages."""
        return cls(en=line_text, zh=line_text)


@dataclass(frozen=True)
class MessageTemplate:
    """A message before its values are known. Raises ValueError where another template has the same code.

    `en` and `zh` name values as `str.format` does; a value that differs between the languages comes as two,
    by convention `…_en` and `…_zh`.
    """

    code: str
    en: str
    zh: str
    level: EventLevel = EventLevel.INFO

    # Every template of the modules that have been imported, by code.
    all_templates: ClassVar[dict[str, "MessageTemplate"]] = {}

    def __post_init__(self) -> None:
        # A code names one message for good: it is all that tells stored rows apart.
        if self.all_templates.setdefault(self.code, self) != self:
            raise ValueError(f"two message templates have the code {self.code}")

    def fill(self, **values: Any) -> JobMessage:
        """The message with these values, which must be ready for JSON. Raises KeyError for one that is missing."""
        return JobMessage(
            en=self.en.format(**values),
            zh=self.zh.format(**values),
            code=self.code,
            level=self.level,
            values=values,
        )


COUNTED = MessageTemplate("counted", "{done} / {total}", "{done} / {total}")
# How a run stands, in figures that read the same in both languages.
FIGURES = MessageTemplate("figures", "{figures}", "{figures}")
BUDGET_USED = MessageTemplate("budget_used", "budget used up · {figures}", "预算用完 · {figures}")
RUN_STARTED = MessageTemplate("run_started", "run {run}", "运行 {run}")
RUN_ENDED = MessageTemplate("run_ended", "{state}: {figures}", "{state}：{figures}")


def _json_value(raw_value: Any) -> Any:
    """The value, null where JSON has no word for it: PostgreSQL refuses a row that holds NaN."""
    return None if isinstance(raw_value, float) and not math.isfinite(raw_value) else raw_value
