"""Why a request is not taken, in words for the person who made it."""

from enum import StrEnum

from backend.errors import Message

LONGEST_REQUEST = 500
"""Characters of a request; who needs more describes a text, not a greeting."""


class RefusalReason(StrEnum):
    """Closed list of reasons."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NO_WORDS = "no_words"
    INJECTION = "injection"
    UNSAFE = "unsafe"
    OTHER_LANGUAGE = "other_language"
    NOT_A_GREETING = "not_a_greeting"

    @property
    def message(self) -> Message:
        """One friendly sentence: what is wrong and what to write instead."""
        return _REFUSAL_MESSAGES[self]


_REFUSAL_MESSAGES = {
    RefusalReason.EMPTY: Message(
        "Write for whom the greeting is and on what occasion.", "请写下祝福送给谁、为了什么事。"
    ),
    RefusalReason.TOO_LONG: Message(
        f"This request is too long; say it in at most {LONGEST_REQUEST} characters.",
        f"请求太长了，请用不超过 {LONGEST_REQUEST} 个字说明。",
    ),
    RefusalReason.NO_WORDS: Message(
        "There are no words in this request; write for whom the greeting is and on what occasion.",
        "请求里没有文字，请写下祝福送给谁、为了什么事。",
    ),
    RefusalReason.INJECTION: Message(
        "This reads like an instruction to the program; only describe the greeting you want.",
        "这像是在给程序下指令，请只描述您想要的祝福。",
    ),
    RefusalReason.UNSAFE: Message(
        "No greeting is written that hurts, mocks or threatens somebody; tell what you sincerely wish.",
        "不写伤害、嘲笑或威胁他人的话，请说说您真心的祝愿。",
    ),
    RefusalReason.OTHER_LANGUAGE: Message(
        "Zhufu writes greetings in Chinese only; ask for a Chinese one.",
        "这里只写中文祝福，请换成中文的请求。",
    ),
    RefusalReason.NOT_A_GREETING: Message(
        "This does not ask for a greeting; name the person or the occasion that you want to greet.",
        "这不像是在要祝福语，请写明想祝福谁、为了什么事。",
    ),
}
