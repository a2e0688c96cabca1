"""The two languages of the pages, and the names of closed vocabularies in both."""

from dataclasses import dataclass
from typing import Literal

from backend.core.enums import CampaignKind, Flaw, Outcome
from backend.core.errors import Message, UserError

Language = Literal["zh", "en"]
# What is shown, in Chinese and in English: `translate(*text)`.
BilingualText = tuple[str, str]


@dataclass(frozen=True)
class Translator:
    """Picks the reader's language: `translate("中文", "English")`."""

    lang: Language

    def __call__(self, zh: str, en: str) -> str:
        """The one of the two that the reader chose."""
        return zh if self.lang == "zh" else en

    def localize(self, message: Message | UserError) -> str:
        """The sentence of a message or an error."""
        return message.text(self.lang)


FLAW_NAMES = {
    Flaw.CLICHE: ("套话", "Cliché"),
    Flaw.VAGUE: ("空泛", "Vague"),
    Flaw.WRONG_RELATIONSHIP: ("身份不合", "Wrong relationship"),
    Flaw.WRONG_OCCASION: ("场合不对", "Wrong occasion"),
    Flaw.IGNORED_DETAIL: ("没回应要求", "Ignored detail"),
    Flaw.TABOO: ("犯忌讳", "Taboo"),
    Flaw.PRESSURE: ("给压力", "Pressure"),
    Flaw.GRAMMAR: ("语病", "Grammar"),
    Flaw.STIFF: ("生硬", "Stiff"),
    Flaw.OFF_LENGTH: ("长短不合", "Off length"),
}
OUTCOME_NAMES = {
    Outcome.A: ("A 更好", "A is better"),
    Outcome.B: ("B 更好", "B is better"),
    Outcome.BOTH_GOOD: ("都好", "Both good"),
    Outcome.BOTH_BAD: ("都不好", "Both bad"),
    Outcome.SKIP: ("跳过", "Skipped"),
    Outcome.WITHDRAWN: ("已撤销", "Withdrawn"),
}
CAMPAIGN_KIND_NAMES = {
    CampaignKind.COMPARE: ("两条对比", "Compare"),
    CampaignKind.VALIDATE: ("验证裁判", "Validate"),
}
# Kinds of imported files and formats of exported ones; others are called as they are.
FORMAT_NAMES = {
    "labels": ("带标签", "labels"),
    "seed": ("自带语料", "built-in"),
    "pairs": ("偏好对批次", "a run of pairs"),
    "prompts": ("只有请求", "prompts"),
    "table": ("表格", "table"),
    "trl": ("TRL", "TRL"),
    "sharegpt": ("ShareGPT", "ShareGPT"),
    "alpaca": ("Alpaca", "Alpaca"),
}
DIMENSION_NAMES = {
    "language": ("语言", "Language"),
    "creativity": ("创意", "Creativity"),
    "emotion": ("情感", "Emotion"),
    "culture": ("文化", "Culture"),
    "richness": ("丰富", "Richness"),
}


def reason_text(translate: Translator, stored_reason: str) -> str:
    """A reason for an answer: the name of a flaw that people chose, or the words a judge wrote, as they are."""
    return translate(*FLAW_NAMES[Flaw(stored_reason)]) if stored_reason in set(Flaw) else stored_reason
