"""What a thinking model writes before its answer, and the answer without it.

Models such as Qwen3 put their thoughts between `<think>` and `</think>`. Nobody who reads, scores or stores a greeting
may take them for a part of it.
"""

import re

_OPENING_TAG = "<think>"
_TAG_NAMES = "(?:think|thinking|reasoning)"
_THOUGHT_START = re.compile(f"<{_TAG_NAMES}>", re.I)
_THOUGHT_END = re.compile(f"</{_TAG_NAMES}>", re.I)
_ENDED_THOUGHT = re.compile(f"<{_TAG_NAMES}>.*?</{_TAG_NAMES}>", re.I | re.S)
_LEADING_THOUGHT = re.compile(r"\s*<think>(?:.*?</think>\s*|.*\Z)", re.S)
# Some chat templates open the block in the prompt, so that a reply holds its end alone.
_STORED_THOUGHT = re.compile(r"<think>.*?</think>|^[^<]{0,4000}</think>", re.S)


def remove_thoughts(written_text: str) -> str | None:
    """The answer in a whole text (the text itself where it holds no thought); None where a thought was not ended.

    `written_text` is what a model wrote, after what its chat template has written of the answer already (where that
    opens the thought, the text alone would hold no sign of it).
    """
    answer = _ENDED_THOUGHT.sub("", written_text)
    if lone_end := _THOUGHT_END.search(answer):
        return remove_thoughts(answer[lone_end.end() :].strip())
    if _THOUGHT_START.search(answer):
        return None
    return answer if answer == written_text else answer.strip()


def holds_thought(written_text: str) -> bool:
    """Whether the text holds an ended thought with something in it."""
    return any(
        _THOUGHT_END.sub("", _THOUGHT_START.sub("", thought_match[0])).strip()
        for thought_match in _ENDED_THOUGHT.finditer(written_text)
    )


def strip_thoughts(model_text: str) -> str:
    """The text so far without the thoughts at its beginning, also where those have not ended yet (for streams)."""
    # A stream that has sent “<th” so far may be about to think: shown now, it would have to vanish again.
    if model_text and _OPENING_TAG.startswith(model_text.lstrip()):
        return ""
    return _LEADING_THOUGHT.sub("", model_text, count=1) if model_text.lstrip().startswith(_OPENING_TAG) else model_text


def cut_stored_thoughts(stored_text: str) -> str:
    """A stored text without ended thoughts; one that never ended stays, as a fault that can be seen."""
    return _STORED_THOUGHT.sub("", stored_text)
