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

from backend.corpus.occasion import detect_occasion
from backend.generation.rules import word_pattern

_COUNTED_CHARACTERS = re.compile(r"[^\W_]+")
# At both ends, so that beginnings and ends count and a text
# of one character has an n-gram; no normal text holds it.
_EDGE_MARK = "\x02"
# Texts after which the order of rarity is learnt for the first time; below that any order is quick enough.
FIRST_RELEARNING = 256
# What requests add without asking for anything else.
_POLITE_WORDS = re.compile(
    r"(?:请|麻烦|可以|能不能|能|帮忙|帮我|给我|替我)*(?:写|来|想|编|生成|创作)(?=[一几]?[条句段个])[一几]?[条句段个]?|一[条句段]|大全|合集|的|了|吗|呢|吧|呀|啊"
)
_FIXED_FACTS = re.compile(rf"\d+|[零一二三四五六七八九十百千两]+|{word_pattern('person')}")
_GREETING_WORDS = re.compile(r"祝福(?:语句|语|词|话|句子|短句|句)|祝词|祝语|贺词|贺语|吉祥[话语]|吉利[话语]")


@dataclass(frozen=True)
class SimilarityRule:
    """How texts are compared: what of them counts, n-gram order, smallest Jaccard index of a duplicate.

    What `fixed_facts` finds in two texts must be equal, however alike they are.
    """

    normalise: Callable[[str], str]
    ngram_order: int
    threshold: float
    fixed_facts: Callable[[str], object] = lambda _: None


def normal_greeting(raw_text: str) -> str:
    """Letters, digits and Chinese characters in one form and case; no punctuation, emoji or white space."""
    return "".join(_COUNTED_CHARACTERS.findall(unicodedata.normalize("NFKC", raw_text).lower()))


def normal_prompt(raw_text: str) -> str:
    """The request without politeness and particles, its words for "greeting" made one."""
    normal_text = normal_greeting(raw_text)
    return _GREETING_WORDS.sub("祝福", _POLITE_WORDS.sub("", normal_text)) or normal_text


def extract_facts(normal_text: str) -> tuple[Counter[str], str | None]:
    """Numbers, people and occasion of a request: 18岁 is not 8岁, and a son is no daughter."""
    return Counter(_FIXED_FACTS.findall(normal_text)), detect_occasion(normal_text)


GREETING_RULE = SimilarityRule(normal_greeting, ngram_order=3, threshold=0.7)
PROMPT_RULE = SimilarityRule(normal_prompt, ngram_order=2, threshold=0.8, fixed_facts=extract_facts)


class NearDuplicateIndex:
    """Texts met so far. The index knows which n-grams are rare, and learns it anew when it has doubled."""

    def __init__(self, similarity_rule: SimilarityRule = GREETING_RULE) -> None:
        self.similarity_rule = similarity_rule
        self._raw_texts: list[str] = []
        self._normal_texts: list[str] = []
        self._ngram_sets: list[array[int]] = []
        self._exact_positions: dict[str, int] = {}
        self._ngram_ids: dict[str, int] = {}
        self._rarity_order: list[int] = []  # by n-gram: its place among all, the rare ones first
        self._postings: defaultdict[int, list[int]] = defaultdict(list)
        self._relearn_size = FIRST_RELEARNING

    def __len__(self) -> int:
        return len(self._raw_texts)

    def add_if_new(self, raw_text: str) -> str | None:
        """The first text met before that says the same; None where it is new, and then it is kept."""
        normal_text = self.similarity_rule.normalise(raw_text)
        ngram_ids = self._number_ngrams(normal_text)
        rarest_ngrams = self._rarest_ngrams(ngram_ids)
        match_position = self._find_match(normal_text, ngram_ids, rarest_ngrams)
        if match_position is not None:
            return self._raw_texts[match_position]
        self._raw_texts.append(raw_text)
        self._normal_texts.append(normal_text)
        # Four bytes an n-gram; kept as a set it would take about ten times as much.
        self._ngram_sets.append(array("I", ngram_ids))
        self._exact_positions[normal_text] = len(self) - 1
        self._add_postings(len(self) - 1, rarest_ngrams)
        if len(self) >= self._relearn_size:
            self._reorder_ngrams()
        return None

    def find_similar(self, raw_text: str) -> str | None:
        """The first text met before that says the same, None without one; the text is not kept."""
        normal_text = self.similarity_rule.normalise(raw_text)
        ngram_ids = self._number_ngrams(normal_text)
        match_position = self._find_match(normal_text, ngram_ids, self._rarest_ngrams(ngram_ids))
        return None if match_position is None else self._raw_texts[match_position]

    def _find_match(self, normal_text: str, ngram_ids: set[int], rarest_ngrams: Sequence[int]) -> int | None:
        if (same_position := self._exact_positions.get(normal_text)) is not None:
            return same_position
        nearby_positions = {position for ngram_id in rarest_ngrams for position in self._postings.get(ngram_id, ())}
        ngram_count, ngram_sets, threshold = len(ngram_ids), self._ngram_sets, self.similarity_rule.threshold
        # A generator, so that facts are only extracted for the few that are alike.
        similar_positions = (
            position
            for position in sorted(nearby_positions)  # the earliest match is the one that is named
            if _bounded_jaccard(ngram_ids, ngram_count, ngram_sets[position], threshold) >= threshold
        )
        text_facts = self.similarity_rule.fixed_facts(normal_text)
        return next(
            (
                position
                for position in similar_positions
                if self.similarity_rule.fixed_facts(self._normal_texts[position]) == text_facts
            ),
            None,
        )

    def _reorder_ngrams(self) -> None:
        ngram_counts = Counter(ngram_id for ngram_ids in self._ngram_sets for ngram_id in ngram_ids)
        for rarity_rank, ngram_id in enumerate(
            sorted(range(len(self._rarity_order)), key=lambda ngram_id: (ngram_counts[ngram_id], ngram_id))
        ):
            self._rarity_order[ngram_id] = rarity_rank
        self._postings.clear()
        for text_position, ngram_ids in enumerate(self._ngram_sets):
            self._add_postings(text_position, self._rarest_ngrams(ngram_ids))
        # At each doubling, so that all relearning together costs no more than a few passes over the texts.
        self._relearn_size = 2 * len(self)

    def _add_postings(self, text_position: int, rarest_ngrams: Sequence[int]) -> None:
        for ngram_id in rarest_ngrams:
            self._postings[ngram_id].append(text_position)

    def _rarest_ngrams(self, ngram_ids: Collection[int]) -> list[int]:
        """The rarest n-grams: two sets above the threshold share one of these."""
        rarest_first = sorted(ngram_ids, key=self._rarity_order.__getitem__)
        # Sets of Jaccard index t or more share at least t·n of n elements, so one is among any n - ⌈t·n⌉ + 1
        # of them; the rarest give the fewest candidates.
        return rarest_first[: len(ngram_ids) - math.ceil(self.similarity_rule.threshold * len(ngram_ids)) + 1]

    def _number_ngrams(self, normal_text: str) -> set[int]:
        known_ids, rarity_order, ngram_ids = self._ngram_ids, self._rarity_order, set()
        for ngram_text in _character_ngrams(normal_text, self.similarity_rule.ngram_order):
            ngram_number = known_ids.get(ngram_text)
            if ngram_number is None:
                ngram_number = known_ids[ngram_text] = len(rarity_order)
                rarity_order.append(-ngram_number - 1)  # never met: rarer than all others
            ngram_ids.add(ngram_number)
        return ngram_ids


def _bounded_jaccard(ngram_ids: set[int], ngram_count: int, other_ngrams: "array[int]", threshold: float) -> float:
    """The Jaccard index, or 0 where the sizes alone forbid `threshold`."""
    # The shared part is no larger than the smaller set, the union no smaller than the larger one.
    if not threshold * ngram_count <= len(other_ngrams) <= ngram_count / threshold:
        return 0.0
    shared_count = len(ngram_ids.intersection(other_ngrams))
    return shared_count / (ngram_count + len(other_ngrams) - shared_count)


def _character_ngrams(normal_text: str, ngram_order: int) -> set[str]:
    padded_text = f"{_EDGE_MARK}{normal_text}{_EDGE_MARK}"
    return {
        padded_text[start_index : start_index + ngram_order]
        for start_index in range(max(1, len(padded_text) - ngram_order + 1))
    }


def jaccard_index(first_set: set[str], second_set: set[str]) -> float:
    """Shared over all; 1 for two empty sets."""
    shared_count = len(first_set & second_set)
    union_count = len(first_set) + len(second_set) - shared_count
    return shared_count / union_count if union_count else 1.0


def text_similarity(first_text: str, second_text: str, similarity_rule: SimilarityRule = GREETING_RULE) -> float:
    """The Jaccard index of two texts, from 0 to 1."""
    return jaccard_index(
        _character_ngrams(similarity_rule.normalise(first_text), similarity_rule.ngram_order),
        _character_ngrams(similarity_rule.normalise(second_text), similarity_rule.ngram_order),
    )


def without_duplicates(
    raw_texts: Iterable[str], similarity_rule: SimilarityRule = GREETING_RULE
) -> tuple[list[str], Counter[str]]:
    """The texts that are new, in order, and how often each of them was met again."""
    near_duplicates, repeat_counts = NearDuplicateIndex(similarity_rule), Counter[str]()
    new_texts = []
    for raw_text in raw_texts:
        if (earlier_text := near_duplicates.add_if_new(raw_text)) is None:
            new_texts.append(raw_text)
        else:
            repeat_counts[earlier_text] += 1
    return new_texts, repeat_counts
