"""What can be wrong with a text that was written as a greeting, in words for people."""

from enum import StrEnum

from backend.errors import Message

LONGEST_GREETING = 600
"""Characters without white space; the longest good greetings in the research data have about 350."""


class Fault(StrEnum):
    """Closed list, in the order in which they are looked for."""

    EMPTY = "empty"
    GARBAGE = "garbage"
    REFUSED = "refused"
    WRONG_LANGUAGE = "wrong_language"
    REPEATS_PROMPT = "repeats_prompt"
    SEVERAL = "several"
    PLACEHOLDER = "placeholder"
    REPETITIVE = "repetitive"
    TOO_LONG = "too_long"
    WRONG_LENGTH = "wrong_length"
    CUT = "cut"
    INVENTED_NAME = "invented_name"
    WRONG_NUMBER = "wrong_number"

    @property
    def message(self) -> Message:
        """One sentence that says what is wrong."""
        return _FAULT_MESSAGES[self]


_FAULT_MESSAGES = {
    Fault.EMPTY: Message("Nothing was written.", "没有写出内容。"),
    Fault.GARBAGE: Message("The text holds broken or technical characters.", "文字里有乱码或技术符号。"),
    Fault.REFUSED: Message("The model refused or asked back instead of writing.", "模型拒绝了，或没有写而是反问。"),
    Fault.WRONG_LANGUAGE: Message("The greeting is not in Chinese.", "祝福不是中文的。"),
    Fault.REPEATS_PROMPT: Message("The text only repeats the request.", "只是重复了请求。"),
    Fault.SEVERAL: Message("Several greetings where one was asked for.", "要的是一条，却写了好几条。"),
    Fault.PLACEHOLDER: Message("A blank was left to fill in, such as “[name]”.", "留有待填的空，例如“[名字]”。"),
    Fault.REPETITIVE: Message("The text repeats itself.", "文字反复重复。"),
    Fault.TOO_LONG: Message(f"Longer than {LONGEST_GREETING} characters.", f"超过 {LONGEST_GREETING} 个字，太长了。"),
    Fault.WRONG_LENGTH: Message("Not the length that was asked for.", "字数和要求的不一样。"),
    Fault.CUT: Message("The text breaks off in the middle of a sentence.", "句子没有写完。"),
    Fault.INVENTED_NAME: Message(
        "Somebody is called by a name that the request does not mention.", "用了请求里没有的人名。"
    ),
    Fault.WRONG_NUMBER: Message(
        "Another age or anniversary than the one that was asked for.", "年龄或周年数和要求的不一样。"
    ),
}
