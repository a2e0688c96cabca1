"""The few error types. A UserError is shown to people as it is, in their language."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One sentence in both languages of the application."""

    en: str
    zh: str

    def text(self, lang: str) -> str:
        """The sentence in `lang` ("zh" or "en")."""
        return self.zh if lang == "zh" else self.en


class UserError(Exception):
    """Wrong input or an impossible wish: one sentence that says what and what to do."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.message = Message(en, zh)

    def text(self, lang: str) -> str:
        """The sentence in `lang` ("zh" or "en")."""
        return self.message.text(lang)


class NotFound(UserError):
    """What was asked for does not exist (any more)."""


class Conflict(UserError):
    """Somebody else, or another tab, was faster; nothing was stored."""


class Unavailable(UserError):
    """Disk or database cannot take it now: nothing was saved, and the same request may succeed later."""


class Busy(Unavailable):
    """Another program holds what this one needs; asking again after `retry_after_s` seconds may succeed."""

    retry_after_s = 2
