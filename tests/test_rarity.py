"""The worth of rare phrases against constants derived by hand and against distinct-n."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.generation.diversity import distinct_n
from backend.training.programs.reward_terms import PhraseRarity

TEXTS = st.lists(st.text("甲乙丙", max_size=8), min_size=2, max_size=7)


def test_by_hand() -> None:
    rarity = PhraseRarity(ngram_order=2)
    # AB stands in half of q's greetings; in all of p's, of whom q borrows it.
    assert rarity.rate_greetings(["p", "q", "q"], ["ABC", "A B", "XY"]) == pytest.approx([(2 / 3 + 1) / 2, 1 / 2, 1])
    assert rarity.rate_greetings(["r"], ["ABAB"]) == pytest.approx([(1 / 2.5 + 1) / 2])
    assert rarity.rate_greetings(["p"], ["AB"]) == pytest.approx([1 / 2.5]), "what p was answered before is its own"


def test_without_another_request_nothing_is_known() -> None:
    rarity = PhraseRarity()
    assert rarity.rate_greetings(["p", "p"], ["ABCD", "WXYZ"]) == [None, None]
    assert rarity.rate_greetings(["p", "q"], ["AAAAA", "福"]) == [1.0, 0.0]


def test_the_oldest_request_is_forgotten() -> None:
    rarity = PhraseRarity(remembered_requests=2, ngram_order=2)
    rarity.rate_greetings(["p", "q", "r"], ["AB", "CD", "EF"])
    assert rarity.rate_greetings(["s", "t"], ["AB", "CD"]) == pytest.approx([1, 1 / 2])
    again = PhraseRarity(remembered_requests=2, ngram_order=2)
    again.restore(rarity.state())
    assert (
        again.rate_greetings(["u"], ["ABEF"])
        == rarity.rate_greetings(["u"], ["ABEF"])
        == pytest.approx([(1 / 2 + 2) / 3])
    )


@given(TEXTS, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_it_is_what_a_greeting_adds_to_distinct_n(texts: list[str], n: int) -> None:
    """Of greetings without a repetition, one for each request, the mean over all n-grams is distinct-n."""
    bodies = [body for text in texts if (body := _without_repeats(text, n))]
    if len(bodies) < 2:
        return
    values = PhraseRarity(ngram_order=n).rate_greetings([str(i) for i in range(len(bodies))], bodies)
    sizes = [len(body) - n + 1 for body in bodies]
    told = sum(value * size for value, size in zip(values, sizes, strict=True) if value is not None)
    assert told / sum(sizes) == pytest.approx(distinct_n(bodies, n))


def _without_repeats(text: str, n: int) -> str:
    """The longest start of the text that holds n-grams, each once; empty where there is none."""
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    whole = next((i for i in range(1, len(grams) + 1) if len(set(grams[:i])) < i), len(grams) + 1) - 1
    return text[: whole + n - 1] if whole else ""
