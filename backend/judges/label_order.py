"""An order of labelled greetings as a reply gives it, and what a place in it is worth.

A reply lists labels from best to worst; labels of one place are tied. A reply that does not clearly order gives no
order: nothing is guessed.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

T = TypeVar("T")

# Letters and no figures: figures are read as scores, and in a numbered list as the numbers of its lines.
LABELS = ascii_uppercase
# Of the labels, the share that an order must hold at least. A list of the best three of twelve would make the third the
# worst of those that are ranked, and teach that it is worse than the nine that nobody ranked.
LEAST_SHARE = 0.5
# Characters of a whole order and of one place of it: what is longer is prose.
LONGEST_ORDER, LONGEST_PLACE = 4_000, 400

_BETTER_SIGN = re.compile(r"\s*(?:-+>|>+|≻|→|优于|好于|胜过|BETTER THAN)\s*")
# "A < B" may mean either, and "A >= B" is half an order.
_UNCLEAR_SIGN = re.compile(r"[<≤≥≺]|>\s*=|=\s*>")
_TIE_SIGN = re.compile(r"\s*(?:=+|≈|≡|~|;|,|、|/|&|\+|和|与|跟|及|并列|\bAND\b)\s*")
_CLAUSE_MARK = re.compile(r"[,;]")
_LIST_SIGN = re.compile(r"\s*[,、;\n]\s*")
_LINE_NUMBER = re.compile(r"^\s*[0-9]{1,3}\s*[.)、]\s*(?=\S)")
_BRACKETED_REMARK = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|【[^【】]*】")
_MARKS = r"[\s\"'“”‘’「」『』()\[\]{}【】*_`#.。]*"
_LABEL = re.compile(
    rf"{_MARKS}(?:祝福语?|GREETING|标号|编号|LABEL)?{_MARKS}(?P<label>[A-Z]{{1,2}}|[0-9]{{1,3}}){_MARKS}(?:号|条)?{_MARKS}"
)
# What a reply quotes is a greeting's own text and no order of the model.
_QUOTATION = re.compile(r"“[^”]*”|「[^」]*」|『[^』]*』|\"[^\"\n]*\"|‘[^’]*’|`[^`]*`")
_SPACED_SIGN = re.compile(r"\s*(-+>|[>=<≻]+)\s*")
_NAME = r"(?:[A-Z]|[0-9]{1,2})"
_CHAIN = re.compile(rf"(?<![A-Z0-9>=<≻]){_NAME}(?:(?:-+>|>+|≻|=){_NAME})+(?![A-Z0-9>=<≻-])")


@dataclass(frozen=True)
class LabelOrder:
    """Labels from best to worst: `places` holds the labels of each place (several are tied), every label once.

    `repeated` labels stand in more than one place of the reply and in none of `places`; `unknown` names label nothing.
    """

    places: tuple[tuple[str, ...], ...]
    repeated: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()


def read_label_order(listed_places: Sequence[str], labels: Collection[str]) -> LabelOrder | None:
    """The order that a list of places gives, best first: `["C", "A=B"]`, or all of it in one item: `["C > A = B"]`.

    Widths, case, quotation marks, list numbers and remarks in brackets do not matter. None where an item is more than
    labels, where a sign of the other direction ("<", ">=") stands in it, or where less than two labels or less than
    `LEAST_SHARE` of them have a place.
    """
    place_texts = _split_places([_fold(place_text) for place_text in listed_places])
    places = [_read_place(place_text, labels) for place_text in place_texts or ()]
    named_places = [place for place in places if place is not None]
    if not places or len(named_places) < len(places):
        return None
    mention_counts = Counter(label for place in named_places for label in place)
    single_places = (
        tuple(label for label in place if label in labels and mention_counts[label] == 1) for place in named_places
    )
    known_places = tuple(place for place in single_places if place)
    if sum(map(len, known_places)) < max(2, LEAST_SHARE * len(labels)):
        return None
    return LabelOrder(
        known_places,
        frozenset(label for label, mention_count in mention_counts.items() if mention_count > 1 and label in labels),
        tuple(label for label in mention_counts if label not in labels),
    )


def find_label_chain(reply_text: str, labels: Collection[str]) -> LabelOrder | None:
    """The order of the one chain "C > A = B" in a reply without the form that was asked for.

    None where the reply holds no chain, or several that differ: nobody could say which one is meant.
    """
    unquoted_text = _QUOTATION.sub(" ", _fold(reply_text))
    plain_text = _SPACED_SIGN.sub(r"\1", " ".join(unquoted_text.split()))
    chains = {chain_match.group() for chain_match in _CHAIN.finditer(plain_text)}
    chain_text = chains.pop() if len(chains) == 1 else ""
    return read_label_order([chain_text], labels) if _BETTER_SIGN.search(chain_text) else None


def place_values(places: Sequence[Sequence[T]], copies: Mapping[T, int]) -> dict[T, float]:
    """What each place is worth, 1 best and 0 worst: the share of the others that one beats, where a tie is half.

    That is the mid-rank r among n, scaled: (n - r) / (n - 1). `copies` says how many stand behind each member; there
    must be two in all.
    """
    total_count = remaining_count = sum(copies[member] for place in places for member in place)
    values: dict[T, float] = {}
    for place in places:
        place_size = sum(copies[member] for member in place)
        remaining_count -= place_size
        values |= dict.fromkeys(place, (remaining_count + (place_size - 1) / 2) / (total_count - 1))
    return values


def count_flips(first_values: Mapping[T, float], second_values: Mapping[T, float]) -> tuple[int, int]:
    """How many pairs two orders put the opposite way round, and how many pairs stand in both; ties are no flip."""
    shared = [member for member in first_values if member in second_values]
    differences = [
        (first_values[one] - first_values[other]) * (second_values[one] - second_values[other])
        for index, one in enumerate(shared)
        for other in shared[:index]
    ]
    return sum(difference < 0 for difference in differences), len(differences)


def _fold(raw_text: str) -> str:
    """Plain width and upper case."""
    return unicodedata.normalize("NFKC", raw_text).upper().strip()


def _split_places(listed_texts: Sequence[str]) -> list[str] | None:
    """One text a place; None where the list is no clear order."""
    place_texts = [listed_text for listed_text in listed_texts if listed_text]
    if sum(map(len, place_texts)) > LONGEST_ORDER or any(map(_UNCLEAR_SIGN.search, place_texts)):
        return None
    if len(place_texts) == 1:
        is_chain = _BETTER_SIGN.search(place_texts[0]) is not None
        # "C > A, B > D" may be one chain with a tie, or two chains.
        if is_chain and _CLAUSE_MARK.search(place_texts[0]):
            return None
        return (_BETTER_SIGN if is_chain else _LIST_SIGN).split(place_texts[0])
    # Several chains: none of them says how the one stands to the other.
    return None if any(_BETTER_SIGN.search(place_text) for place_text in place_texts) else place_texts


def _read_place(place_text: str, labels: Collection[str]) -> tuple[str, ...] | None:
    """The labels of one place; None where it holds anything else."""
    if len(place_text) > LONGEST_PLACE:
        return None
    numberless_text = _LINE_NUMBER.sub("", place_text)
    # "C: 具体" and "第一名: C": on one side of the colon stands the label, on the other a remark.
    readings = [
        tied_labels
        for part_text in numberless_text.split(":", 1)
        if (tied_labels := _read_tied(part_text) or _read_tied(_BRACKETED_REMARK.sub("", part_text)))
    ]
    known_readings = [tied_labels for tied_labels in readings if set(tied_labels) & set(labels)]
    if len(known_readings) == 1:
        return known_readings[0]
    return readings[0] if len(readings) == 1 else None


def _read_tied(part_text: str) -> tuple[str, ...] | None:
    label_matches = [_LABEL.fullmatch(piece) for piece in _TIE_SIGN.split(part_text) if piece.strip()]
    names = tuple(label_match["label"] for label_match in label_matches if label_match is not None)
    return names if names and len(names) == len(label_matches) else None
