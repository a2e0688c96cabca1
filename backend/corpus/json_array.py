"""A JSON array read value by value, with the line each one starts on.

The library ijson streams too, but knows no lines; `raw_decode` over a window of the text does, and is faster because
each value is built by the C scanner in one go.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from backend.core.errors import UserError

_WINDOW = 1 << 16
# As long as a line of JSON Lines may be, so that both containers take the same rows.
_MAX_VALUE_LENGTH = 8_000_000
_WHITE_SPACE = re.compile(r"[ \t\r\n]*")
# Control characters inside strings pass here, so that the row's own check can name them.
_LENIENT_DECODER = json.JSONDecoder(strict=False)


def iterate_array(file_name: str, text_stream: TextIO) -> Iterator[tuple[int, Any]]:
    """The elements of the array that `text_stream` holds, each with the line it starts on.

    Raises UserError naming `file_name` and the line.
    """
    text_window = _TextWindow(file_name, text_stream)
    text_window.expect_character("[")
    if text_window.peek_character() == "]":
        text_window.expect_character("]")
    else:
        yield from _iterate_elements(text_window)
    if text_window.peek_character():
        raise text_window.invalid_json_error("there is something after the list", "列表之后还有内容")


def _iterate_elements(text_window: "_TextWindow") -> Iterator[tuple[int, Any]]:
    while True:
        text_window.peek_character()
        yield text_window.line_number, text_window.decode_value()
        if text_window.peek_character() == "]":
            text_window.expect_character("]")
            return
        text_window.expect_character(",")


class _TextWindow:
    """The part of the text that is being looked at."""

    def __init__(self, file_name: str, text_stream: TextIO) -> None:
        self._file_name, self._text_stream = file_name, text_stream
        self._window_text, self._position, self._at_end = "", 0, False
        self.line_number = 1

    def peek_character(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            space_match = _WHITE_SPACE.match(self._window_text, self._position)
            self._advance_to(space_match.end() if space_match else self._position)
            if self._position < len(self._window_text):
                return self._window_text[self._position]
            if not self._read_more():
                return ""

    def expect_character(self, expected_character: str) -> None:
        """Step over one expected character."""
        next_character = self.peek_character()
        if not next_character:
            raise self.invalid_json_error("the file ends in the middle of the list", "文件在列表中间就结束了")
        if next_character != expected_character:
            raise self.invalid_json_error(
                f"“{expected_character}” is missing before “{next_character}”",
                f"“{next_character}”之前缺少“{expected_character}”",
            )
        self._position += 1

    def decode_value(self) -> Any:
        """The value that starts here, however much text must be read for it (within reason)."""
        while True:
            try:
                decoded_value, end_offset = _LENIENT_DECODER.raw_decode(self._window_text, self._position)
            # RecursionError: brackets nested too deep for the C scanner. A ValueError that is no
            # JSONDecodeError: a number of more than 4,300 digits, which Python refuses to convert.
            except (ValueError, RecursionError) as error:
                if len(self._window_text) - self._position > _MAX_VALUE_LENGTH or not self._read_more():
                    raise self._decode_failure(error) from error
                continue
            # A number that touches the end of the window may go on.
            if end_offset == len(self._window_text) and self._read_more():
                continue
            self._advance_to(end_offset)
            return decoded_value

    def invalid_json_error(self, en: str, zh: str, failing_line: int | None = None) -> UserError:
        """The error for text that is no JSON here."""
        failing_line = failing_line or self.line_number
        return UserError(
            f"{self._file_name}, line {failing_line}: not valid JSON, {en}; correct the file.",
            f"{self._file_name} 第 {failing_line} 行：不是有效的 JSON（{zh}），请改正文件。",
        )

    def _decode_failure(self, decode_error: Exception) -> UserError:
        if not isinstance(decode_error, json.JSONDecodeError):
            return self.invalid_json_error("nested or long beyond reason", "嵌套过深或过长")
        failing_line = self.line_number + self._window_text.count("\n", self._position, decode_error.pos)
        # Of a text without its closing quote the decoder gives the place where it opens, so the message has to
        # tell.
        if self._at_end and (decode_error.pos >= len(self._window_text.rstrip()) or "Unterminated" in decode_error.msg):
            return self.invalid_json_error(
                "the file ends in the middle of a row", "文件在一行数据中间就结束了", failing_line
            )
        return self.invalid_json_error(decode_error.msg, "语法错误", failing_line)

    def _advance_to(self, new_offset: int) -> None:
        self.line_number += self._window_text.count("\n", self._position, new_offset)
        self._position = new_offset

    def _read_more(self) -> bool:
        remaining_text = self._window_text[self._position :]
        # Doubling keeps the work linear where one value spans many windows.
        text_block = "" if self._at_end else self._text_stream.read(max(_WINDOW, len(remaining_text)))
        self._at_end = not text_block
        self._window_text, self._position = remaining_text + text_block, 0
        return bool(text_block)
