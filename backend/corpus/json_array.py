"""A JSON array read value by value, with the line each one starts on.

`ijson` streams too, but knows no lines; `raw_decode` over a window of the text does, and is faster because
each value is built by the C scanner in one go.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from backend.errors import UserError

_WINDOW = 1 << 16
_MAX_VALUE = 8_000_000
_SPACE = re.compile(r"[ \t\r\n]*")
# Control characters inside strings pass here, so that the row's own check can name them.
_DECODER = json.JSONDecoder(strict=False)


def array_items(name: str, stream: TextIO) -> Iterator[tuple[int, Any]]:
    """The elements of the array that `stream` holds. Raises UserError naming file `name` and the line."""
    window = _Window(name, stream)
    window.take("[")
    if window.peek() == "]":
        window.take("]")
    else:
        yield from _elements(window)
    if window.peek():
        raise window.broken("there is something after the list", "列表之后还有内容")


def _elements(window: "_Window") -> Iterator[tuple[int, Any]]:
    while True:
        window.peek()
        yield window.line, window.value()
        if window.peek() == "]":
            window.take("]")
            return
        window.take(",")


class _Window:
    """The part of the text that is being looked at."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream = name, stream
        self._text, self._at, self._ended = "", 0, False
        self.line = 1

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._go(match.end() if match else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Step over one expected character."""
        found = self.peek()
        if not found:
            raise self.broken("the file ends in the middle of the list", "文件在列表中间就结束了")
        if found != character:
            raise self.broken(f"“{character}” is missing before “{found}”", f"“{found}”之前缺少“{character}”")
        self._at += 1

    def value(self) -> Any:
        """The value that starts here, however much text must be read for it (within reason)."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _MAX_VALUE or not self._more():
                    raise self._undecodable(error) from error
                continue
            # A number that touches the end of the window may go on.
            if end == len(self._text) and self._more():
                continue
            self._go(end)
            return value

    def broken(self, en: str, zh: str, line: int | None = None) -> UserError:
        """The error for text that is no JSON here."""
        line = line or self.line
        return UserError(
            f"{self._name}, line {line}: not valid JSON, {en}; correct the file.",
            f"{self._name} 第 {line} 行：不是有效的 JSON（{zh}），请改正文件。",
        )

    def _undecodable(self, error: Exception) -> UserError:
        if not isinstance(error, json.JSONDecodeError):
            return self.broken("nested or long beyond reason", "嵌套过深或过长")
        line = self.line + self._text.count("\n", self._at, error.pos)
        if self._ended and (error.pos >= len(self._text.rstrip()) or "Unterminated" in error.msg):
            return self.broken("the file ends in the middle of a row", "文件在一行数据中间就结束了", line)
        return self.broken(error.msg, "语法错误", line)

    def _go(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        rest = self._text[self._at :]
        # Doubling keeps the work linear where one value spans many windows.
        block = "" if self._ended else self._stream.read(max(_WINDOW, len(rest)))
        self._ended = not block
        self._text, self._at = rest + block, 0
        return bool(block)
