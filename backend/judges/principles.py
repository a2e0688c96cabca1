"""Written principles: at most ten rules, one a line."""

import re
from pathlib import Path

from backend.errors import UserError

MAX_RULES = 10
MAX_RULE_CHARACTERS = 500
START_FILE = Path(__file__).parent / "prompts" / "principles_start.txt"
_LIST_MARKER = re.compile(r"^\s*(?:[-*•·]|[（(]?(?:\d{1,2}|[一二三四五六七八九十]{1,2})[.、．)）:：](?!\d))\s*")


def parse_principles(principles_text: str) -> tuple[str, ...]:
    """The rules of a text, one a line; numbers and bullets in front are dropped.

    Raises UserError for none, more than ten, or one that is too long.
    """
    rules = tuple(
        rule for text_line in principles_text.splitlines() if (rule := _LIST_MARKER.sub("", text_line).strip())
    )
    if not rules:
        raise UserError("Write at least one principle, one a line.", "请至少写一条原则，每行一条。")
    if len(rules) > MAX_RULES:
        raise UserError(
            f"There are {len(rules)} principles; at most {MAX_RULES} are allowed: merge or drop some.",
            f"现有 {len(rules)} 条原则，最多 {MAX_RULES} 条，请合并或删去一些。",
        )
    long_rule_number = next(
        (rule_number for rule_number, rule in enumerate(rules, 1) if len(rule) > MAX_RULE_CHARACTERS), None
    )
    if long_rule_number is not None:
        raise UserError(
            f"Principle {long_rule_number} is longer than {MAX_RULE_CHARACTERS} characters; shorten it.",
            f"第 {long_rule_number} 条原则超过 {MAX_RULE_CHARACTERS} 字，请精简。",
        )
    return rules


def starting_principles() -> tuple[str, ...]:
    """Our own ten."""
    return parse_principles(START_FILE.read_text(encoding="utf-8"))


def numbered_rules(rules: tuple[str, ...]) -> str:
    """The rules as a prompt and an editor show them."""
    return "\n".join(f"{rule_number}. {rule}" for rule_number, rule in enumerate(rules, 1))
