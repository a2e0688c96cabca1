"""What one call used: the server's count where it can be true, otherwise the most it can have been."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.llm.messages import TokenUsage

# In one call; no model reads or writes as many.
MOST_TOKENS = 10**8
# Characters. No vocabulary has longer tokens, so a count below one for as many characters is no count.
LONGEST_TOKEN = 128
# OpenAI's names, then Anthropic's.
_INPUT_FIELDS, _OUTPUT_FIELDS = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_CACHED_INPUT_FIELDS = ("cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True)
class ReportedUsage:
    """The tokens a server says it used; None for each figure that it leaves out or that cannot be true.

    `written` is how many characters of the reply are known, thoughts included. `complete` is False where
    the reply broke off, so that more than what was counted may be billed.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    total_tokens: int | None = None
    written: int = 0
    complete: bool = True

    @property
    def is_unknown(self) -> bool:
        """Whether no figure is known."""
        return self.tokens_in is None and self.tokens_out is None and self.total_tokens is None

    @property
    def only_total(self) -> bool:
        """Whether nothing but the sum is known."""
        return self.tokens_in is None and self.tokens_out is None and self.total_tokens is not None


def usage_in_document(document: Mapping[str, Any], written_characters: int = 0) -> ReportedUsage:
    """The count in a reply or an error body, wherever servers put it; nothing known where there is none."""
    for usage_object in _usage_objects(document):
        reported_usage = _parse_usage(usage_object)
        if not reported_usage.is_unknown:
            return replace(reported_usage, written=written_characters)
    return ReportedUsage(written=written_characters)


def larger_usage(first_usage: ReportedUsage, second_usage: ReportedUsage) -> ReportedUsage:
    """The larger of each figure: servers that count along send a new sum with every piece of a stream."""
    return ReportedUsage(
        _larger_count(first_usage.tokens_in, second_usage.tokens_in),
        _larger_count(first_usage.tokens_out, second_usage.tokens_out),
        _larger_count(first_usage.total_tokens, second_usage.total_tokens),
        max(first_usage.written, second_usage.written),
        first_usage.complete and second_usage.complete,
    )


def settled_usage(reported_usage: ReportedUsage, maximum_usage: TokenUsage, sent_characters: int) -> TokenUsage:
    """What a chat call counts as: `sent_characters` went out, and `maximum_usage` is the most expected of it.

    More than `maximum_usage` is believed, since it will be billed. Too little to be true is not: a server that says
    0 tokens for a text it read or wrote does not count, so that side is taken as the most. A total above
    the sum holds thoughts that are billed as output. A reply that broke off may have gone on to the most.
    """
    tokens_in, tokens_out = _believable_tokens(reported_usage, maximum_usage, sent_characters)
    output_unknown = tokens_out is None or not reported_usage.complete
    return TokenUsage(
        maximum_usage.tokens_in if tokens_in is None else tokens_in,
        max(tokens_out or 0, maximum_usage.tokens_out if output_unknown else 0),
        estimated=tokens_in is None or output_unknown or reported_usage.only_total,
    )


def settled_input_usage(reported_usage: ReportedUsage, maximum_usage: TokenUsage, sent_characters: int) -> TokenUsage:
    """What an embedding call counts as: it has no output, and some servers give the total only."""
    input_tokens = max(reported_usage.tokens_in or 0, reported_usage.total_tokens or 0)
    return TokenUsage(input_tokens, 0) if _count_if_possible(input_tokens, max(1, sent_characters)) else maximum_usage


def _believable_tokens(
    reported_usage: ReportedUsage, maximum_usage: TokenUsage, sent_characters: int
) -> tuple[int | None, int | None]:
    """Tokens in and out as far as they can be believed, filled up from the total."""
    total_tokens, written_characters = reported_usage.total_tokens, reported_usage.written
    if not written_characters and 0 in (
        reported_usage.tokens_out,
        total_tokens if reported_usage.only_total else None,
    ):
        sent_characters = 0  # refused before it was read: here even 0 tokens in can be true
    tokens_in, tokens_out = (
        _count_if_possible(reported_usage.tokens_in, sent_characters),
        _count_if_possible(reported_usage.tokens_out, written_characters),
    )
    if total_tokens is not None and reported_usage.only_total:
        tokens_out = min(total_tokens, maximum_usage.tokens_out)  # the dearer side, as far as it goes
        tokens_in = total_tokens - tokens_out
    elif total_tokens is not None and tokens_in is not None:
        tokens_out = max(total_tokens - tokens_in, tokens_out or 0)
    elif total_tokens is not None and tokens_out is not None:
        tokens_in = total_tokens - tokens_out
    # Checked again, since a figure that was filled up from the total may be as impossible as a reported one.
    return _count_if_possible(tokens_in, sent_characters), _count_if_possible(tokens_out, written_characters)


def _usage_objects(document: Mapping[str, Any]) -> Iterator[object]:
    yield document.get("usage")
    choices = document.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        yield choices[0].get("usage")  # Moonshot's streams
    # Groq puts the count of a stream into a member of its own.
    for member_name in ("error", "x_groq"):
        inner_object = document.get(member_name)
        if isinstance(inner_object, dict):
            yield inner_object.get("usage")


def _parse_usage(usage_object: object) -> ReportedUsage:
    if not isinstance(usage_object, dict):
        return ReportedUsage()
    tokens_in = _first_count(usage_object, _INPUT_FIELDS)
    if tokens_in is not None and "prompt_tokens" not in usage_object:
        # Anthropic's form counts what it reads from or writes to its cache apart from the rest.
        tokens_in = _sane_count(
            tokens_in + sum(_sane_count(usage_object.get(field_name)) or 0 for field_name in _CACHED_INPUT_FIELDS)
        )
    return ReportedUsage(
        tokens_in, _first_count(usage_object, _OUTPUT_FIELDS), _sane_count(usage_object.get("total_tokens"))
    )


def _first_count(usage_object: Mapping[str, Any], field_names: tuple[str, ...]) -> int | None:
    return next(
        (
            token_count
            for field_name in field_names
            if (token_count := _sane_count(usage_object.get(field_name))) is not None
        ),
        None,
    )


def _sane_count(candidate: object) -> int | None:
    """The value where it can be a number of tokens: no text, no truth value, nothing below 0 or absurd."""
    return candidate if type(candidate) is int and 0 <= candidate < MOST_TOKENS else None


def _count_if_possible(token_count: int | None, character_count: int) -> int | None:
    """The count, unless as many characters cannot have been so few tokens."""
    return None if token_count is not None and token_count * LONGEST_TOKEN < character_count else token_count


def _larger_count(first_count: int | None, second_count: int | None) -> int | None:
    return max((token_count for token_count in (first_count, second_count) if token_count is not None), default=None)
