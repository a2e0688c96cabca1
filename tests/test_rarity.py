"""The worth of rare phrases against constants derived by hand and against distinct-n."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.diversity import distinct
from backend.training.rarity import Rarity

TEXTS = st.lists(st.text("甲乙丙", max_size=8), min_size=2, max_size=7)


def test_by_hand() -> None:
    rarity = Rarity(n=2)
    # AB stands in half of q's greetings; in all of p's, of whom q borrows it.
    assert rarity.values(["p", "q", "q"], ["ABC", "A B", "XY"]) == pytest.approx([(2 / 3 + 1) / 2, 1 / 2, 1])
    assert rarity.values(["r"], ["ABAB"]) == pytest.approx([(1 / 2.5 + 1) / 2])
    assert rarity.values(["p"], ["AB"]) == pytest.approx([1 / 2.5]), "what p was answered before is its own"


def test_without_another_request_nothing_is_known() -> None:
    rarity = Rarity()
    assert rarity.values(["p", "p"], ["ABCD", "WXYZ"]) == [None, None]
    assert rarity.values(["p", "q"], ["AAAAA", "福"]) == [1.0, 0.0]


def test_the_oldest_request_is_forgotten() -> None:
    rarity = Rarity(requests=2, n=2)
    rarity.values(["p", "q", "r"], ["AB", "CD", "EF"])
    assert rarity.values(["s", "t"], ["AB", "CD"]) == pytest.approx([1, 1 / 2])
    again = Rarity(requests=2, n=2)
    again.restore(rarity.state())
    assert again.values(["u"], ["ABEF"]) == rarity.values(["u"], ["ABEF"]) == pytest.approx([(1 / 2 + 2) / 3])


@given(TEXTS, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_it_is_what_a_greeting_adds_to_distinct_n(texts: list[str], n: int) -> None:
    """Of greetings without a repetition, one for each request, the mean over all n-grams is distinct-n."""
    bodies = [body for text in texts if (body := _without_repeats(text, n))]
    if len(bodies) < 2:
        return
    values = Rarity(n=n).values([str(i) for i in range(len(bodies))], bodies)
    sizes = [len(body) - n + 1 for body in bodies]
    told = sum(value * size for value, size in zip(values, sizes, strict=True) if value is not None)
    assert told / sum(sizes) == pytest.approx(distinct(bodies, n))


def _without_repeats(text: str, n: int) -> str:
    """The longest start of the text that holds n-grams, each once; empty where there is none."""
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    whole = next((i for i in range(1, len(grams) + 1) if len(set(grams[:i])) < i), len(grams) + 1) - 1
    return text[: whole + n - 1] if whole else ""
