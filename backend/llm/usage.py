"""What one call used: the server's count where it can be true, otherwise the most it can have been."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.llm.messages import Usage

MOST_TOKENS = 10**8
"""In one call; no model reads or writes as many."""
LONGEST_TOKEN = 128
"""Characters. No vocabulary has longer tokens, so a count below one for as many characters is no count."""
_IN, _OUT = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_CACHED_IN = ("cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True)
class Counted:
    """The tokens a server says it used; None for each figure that it leaves out or that cannot be true.

    `written` is how many characters of the reply are known, thoughts included. `complete` is False where
    the reply broke off, so that more than what was counted may be billed.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    total: int | None = None
    written: int = 0
    complete: bool = True

    @property
    def is_unknown(self) -> bool:
        """Whether no figure is known."""
        return self.tokens_in is None and self.tokens_out is None and self.total is None

    @property
    def only_total(self) -> bool:
        """Whether nothing but the sum is known."""
        return self.tokens_in is None and self.tokens_out is None and self.total is not None


def counted_in(document: Mapping[str, Any], written: int = 0) -> Counted:
    """The count in a reply or an error body, wherever servers put it; nothing known where there is none."""
    for value in _places(document):
        found = _counted(value)
        if not found.is_unknown:
            return replace(found, written=written)
    return Counted(written=written)


def larger(first: Counted, second: Counted) -> Counted:
    """The larger of each figure: servers that count along send a new sum with every piece of a stream."""
    return Counted(
        _larger(first.tokens_in, second.tokens_in),
        _larger(first.tokens_out, second.tokens_out),
        _larger(first.total, second.total),
        max(first.written, second.written),
        first.complete and second.complete,
    )


def settled(counted: Counted, most: Usage, sent: int) -> Usage:
    """What a chat call counts as: `sent` characters went out, and `most` is the most expected of it.

    More than `most` is believed, since it will be billed. Too little to be true is not: a server that says
    0 tokens for a text it read or wrote does not count, so that side is taken as the most. A total above
    the sum holds thoughts that are billed as output. A reply that broke off may have gone on to the most.
    """
    tokens_in, tokens_out = _sides(counted, most, sent)
    unknown_out = tokens_out is None or not counted.complete
    return Usage(
        most.tokens_in if tokens_in is None else tokens_in,
        max(tokens_out or 0, most.tokens_out if unknown_out else 0),
        estimated=tokens_in is None or unknown_out or counted.only_total,
    )


def settled_input(counted: Counted, most: Usage, sent: int) -> Usage:
    """What an embedding call counts as: it has no output, and some servers give the total only."""
    said = max(counted.tokens_in or 0, counted.total or 0)
    return Usage(said, 0) if _at_least(said, max(1, sent)) else most


def _sides(counted: Counted, most: Usage, sent: int) -> tuple[int | None, int | None]:
    """Tokens in and out as far as they can be believed, filled up from the total."""
    total, written = counted.total, counted.written
    if not written and 0 in (counted.tokens_out, total if counted.only_total else None):
        sent = 0  # refused before it was read: here even 0 tokens in can be true
    tokens_in, tokens_out = _at_least(counted.tokens_in, sent), _at_least(counted.tokens_out, written)
    if total is not None and counted.only_total:
        tokens_out = min(total, most.tokens_out)  # the dearer side, as far as it goes
        tokens_in = total - tokens_out
    elif total is not None and tokens_in is not None:
        tokens_out = max(total - tokens_in, tokens_out or 0)
    elif total is not None and tokens_out is not None:
        tokens_in = total - tokens_out
    return _at_least(tokens_in, sent), _at_least(tokens_out, written)


def _places(document: Mapping[str, Any]) -> Iterator[object]:
    yield document.get("usage")
    choices = document.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        yield choices[0].get("usage")  # Moonshot's streams
    for name in ("error", "x_groq"):
        inner = document.get(name)
        if isinstance(inner, dict):
            yield inner.get("usage")


def _counted(value: object) -> Counted:
    if not isinstance(value, dict):
        return Counted()
    tokens_in = _first(value, _IN)
    if tokens_in is not None and "prompt_tokens" not in value:
        # Anthropic's form counts what it reads from or writes to its cache apart from the rest.
        tokens_in = _sane(tokens_in + sum(_sane(value.get(name)) or 0 for name in _CACHED_IN))
    return Counted(tokens_in, _first(value, _OUT), _sane(value.get("total_tokens")))


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((tokens for name in names if (tokens := _sane(value.get(name))) is not None), None)


def _sane(value: object) -> int | None:
    """The value where it can be a number of tokens: no text, no truth value, nothing below 0 or absurd."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


def _at_least(tokens: int | None, characters: int) -> int | None:
    """The count, unless as many characters cannot have been so few tokens."""
    return None if tokens is not None and tokens * LONGEST_TOKEN < characters else tokens


def _larger(first: int | None, second: int | None) -> int | None:
    return max((one for one in (first, second) if one is not None), default=None)
