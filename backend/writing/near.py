"""Texts that say the same: near-duplicates of greetings and of requests, exactly and in one pass.

Two texts are near-duplicates where the sets of their character n-grams have a Jaccard index of at least the
threshold. The index filters by prefix and by size, as in Chaudhuri et al. (2006) and Bayardo et al. (2007):
no pair above the threshold is missed.
"""

import math
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from backend.corpus.occasion import occasion_of
from backend.writing.rules import words

_COUNTED = re.compile(r"[^\W_]+")
_EDGE = "\x02"
FIRST_LESSON = 256
# What requests add without asking for anything else.
_POLITE = re.compile(
    r"(?:请|麻烦|可以|能不能|能|帮忙|帮我|给我|替我)*(?:写|来|想|编|生成|创作)(?=[一几]?[条句段个])[一几]?[条句段个]?|一[条句段]|大全|合集|的|了|吗|呢|吧|呀|啊"
)
_FIXED = re.compile(rf"\d+|[零一二三四五六七八九十百千两]+|{words('person')}")
_WISHES = re.compile(r"祝福(?:语句|语|词|话|句子|短句|句)|祝词|祝语|贺词|贺语|吉祥[话语]|吉利[话语]")


@dataclass(frozen=True)
class Rule:
    """How texts are compared: what of them counts, n-gram order, smallest Jaccard index of a duplicate.

    What `fixed` takes from two texts must be equal, however alike they are.
    """

    normal: Callable[[str], str]
    order: int
    threshold: float
    fixed: Callable[[str], object] = lambda _: None


def normal_greeting(text: str) -> str:
    """Letters, digits and Chinese characters in one form and case; no punctuation, emoji or white space."""
    return "".join(_COUNTED.findall(unicodedata.normalize("NFKC", text).lower()))


def normal_prompt(text: str) -> str:
    """The request without politeness and particles, its words for "greeting" made one."""
    body = normal_greeting(text)
    return _WISHES.sub("祝福", _POLITE.sub("", body)) or body


def named(body: str) -> tuple[Counter[str], str | None]:
    """Numbers, people and occasion of a request: 18岁 is not 8岁, and a son is no daughter."""
    return Counter(_FIXED.findall(body)), occasion_of(body)


GREETINGS = Rule(normal_greeting, order=3, threshold=0.7)
PROMPTS = Rule(normal_prompt, order=2, threshold=0.8, fixed=named)


class Seen:
    """Texts met so far. The index knows which n-grams are rare, and learns it anew when it has doubled."""

    def __init__(self, rule: Rule = GREETINGS) -> None:
        self.rule = rule
        self._texts: list[str] = []
        self._bodies: list[str] = []
        self._sets: list[array[int]] = []
        self._whole: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._order: list[int] = []  # by n-gram: its place among all, the rare ones first
        self._postings: defaultdict[int, list[int]] = defaultdict(list)
        self._learn_at = FIRST_LESSON

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> str | None:
        """The first text met before that says the same; None where it is new, and then it is kept."""
        body = self.rule.normal(text)
        grams = self._numbered(body)
        prefix = self._prefix(grams)
        found = self._match(body, grams, prefix)
        if found is not None:
            return self._texts[found]
        self._texts.append(text)
        self._bodies.append(body)
        self._sets.append(array("I", grams))
        self._whole[body] = len(self) - 1
        self._file(len(self) - 1, prefix)
        if len(self) >= self._learn_at:
            self._learn()
        return None

    def find(self, text: str) -> str | None:
        """As `add`, without keeping the text."""
        body = self.rule.normal(text)
        grams = self._numbered(body)
        found = self._match(body, grams, self._prefix(grams))
        return None if found is None else self._texts[found]

    def _match(self, body: str, grams: set[int], prefix: Sequence[int]) -> int | None:
        if (same := self._whole.get(body)) is not None:
            return same
        near = {one for gram in prefix for one in self._postings.get(gram, ())}
        size, sets, least = len(grams), self._sets, self.rule.threshold
        alike = (one for one in sorted(near) if _overlap(grams, size, sets[one], least) >= least)
        fixed = self.rule.fixed(body)
        return next((one for one in alike if self.rule.fixed(self._bodies[one]) == fixed), None)

    def _learn(self) -> None:
        counts = Counter(gram for grams in self._sets for gram in grams)
        for place, gram in enumerate(sorted(range(len(self._order)), key=lambda gram: (counts[gram], gram))):
            self._order[gram] = place
        self._postings.clear()
        for number, grams in enumerate(self._sets):
            self._file(number, self._prefix(grams))
        self._learn_at = 2 * len(self)

    def _file(self, number: int, prefix: Sequence[int]) -> None:
        for gram in prefix:
            self._postings[gram].append(number)

    def _prefix(self, grams: Collection[int]) -> list[int]:
        """The rarest n-grams: two sets above the threshold share one of these."""
        ordered = sorted(grams, key=self._order.__getitem__)
        return ordered[: len(grams) - math.ceil(self.rule.threshold * len(grams)) + 1]

    def _numbered(self, body: str) -> set[int]:
        ids, order, numbers = self._ids, self._order, set()
        for gram in _grams(body, self.rule.order):
            number = ids.get(gram)
            if number is None:
                number = ids[gram] = len(order)
                order.append(-number - 1)  # never met: rarer than all others
            numbers.add(number)
        return numbers


def _overlap(grams: set[int], size: int, other: "array[int]", least: float) -> float:
    """The Jaccard index, or 0 where the sizes alone forbid `least`."""
    if not least * size <= len(other) <= size / least:
        return 0.0
    shared = len(grams.intersection(other))
    return shared / (size + len(other) - shared)


def _grams(body: str, order: int) -> set[str]:
    padded = f"{_EDGE}{body}{_EDGE}"
    return {padded[at : at + order] for at in range(max(1, len(padded) - order + 1))}


def jaccard(first: set[str], second: set[str]) -> float:
    """Shared over all; 1 for two empty sets."""
    shared = len(first & second)
    union = len(first) + len(second) - shared
    return shared / union if union else 1.0


def similarity(first: str, second: str, rule: Rule = GREETINGS) -> float:
    """The Jaccard index of two texts, from 0 to 1."""
    return jaccard(_grams(rule.normal(first), rule.order), _grams(rule.normal(second), rule.order))


def without_near(texts: Iterable[str], rule: Rule = GREETINGS) -> tuple[list[str], Counter[str]]:
    """The texts that are new, in order, and how often each of them was met again."""
    seen, again = Seen(rule), Counter[str]()
    kept = []
    for text in texts:
        if (same := seen.add(text)) is None:
            kept.append(text)
        else:
            again[same] += 1
    return kept, again
