"""Rewards, rarity and the figures of texts to the last digit."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from backend.core.errors import Message, UserError
from backend.generation.diversity import (
    build_profile,
    distinct_n,
    first_characters,
    prompt_fit,
    repetition_share,
    self_bleu,
)
from backend.training.programs.reward_terms import (
    ECHO_LENGTH,
    MIN_GREETINGS,
    DiversityReward,
    FormatReward,
    LengthBandReward,
    PhraseRarity,
    RepetitionReward,
    RequestFit,
    RequestFitReward,
    TextSpace,
    learn_request_fit,
)
from backend.training.programs.rewards import MixedReward, Reward, RewardValues, mean_scored, message_text


class Fixed(Reward):
    """Says what it was made with, or raises it."""

    def __init__(self, name: str, said: RewardValues | Exception) -> None:
        self.name = name
        super().__init__()
        self._said, self.closed, self.prepared = said, 0, 0
        self._notice: Message | None = None

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        if isinstance(self._said, Exception):
            raise self._said
        return list(self._said)

    def prepare(self) -> None:
        self.prepared += 1

    def close(self) -> None:
        self.closed += 1

    @property
    def notice(self) -> Message | None:
        return self._notice


# The form around a reward -------------------------------------------------------------------------


def test_what_is_no_finite_number_is_unscored() -> None:
    made = Fixed("r", [1, None, math.nan, math.inf, -0.5])
    assert made([""] * 5, [""] * 5) == [1.0, None, None, None, -0.5] and made.failures == Counter()
    short = Fixed("r", [1.0])
    assert short(["", ""], ["", ""]) == [None, None]
    assert short.failures == {"ValueError: 1 values for 2 texts": 1}
    long = Fixed("r", RuntimeError("x" * 300))
    assert long([""], [""]) == [None] and long([""], [""]) == [None]
    assert long.failures == {f"RuntimeError: {'x' * 186}": 2}
    with pytest.raises(UserError, match="stop"):
        Fixed("r", UserError("stop", "停"))([""], [""])


def test_a_failure_is_logged_when_it_is_new(caplog: pytest.LogCaptureFixture) -> None:
    made = Fixed("r", ValueError("down"))
    for calls in (1, 2, 3):
        made([""], [""])
        assert len(caplog.records) == 1 and made.failures == {"ValueError: down": calls}


def test_patience_ends_with_the_reason_of_this_rollout() -> None:
    made = Fixed("r", ValueError("down."))
    made.patience = 2
    made.failures["old"] = 9
    assert made([""], [""]) == [None]
    with pytest.raises(UserError, match=r"for 2 rollouts in a row \(ValueError: down\)"):
        made([""], [""])
    silent = Fixed("r", [None, None])
    silent.patience = 1
    with pytest.raises(UserError, match=r"\(\?\)"):
        silent(["", ""], ["", ""])
    broken = Fixed("r", [None, None])
    broken.patience = 2
    broken(["", ""], ["", ""])
    broken._said = [None, 1.0]
    broken(["", ""], ["", ""])
    broken._said = [None, None]
    assert broken(["", ""], ["", ""]) == [None, None], "one value in between begins anew"


def test_figures_of_a_call() -> None:
    told: dict[str, float] = {}
    Fixed("r", [1.0, None, None, 0.0])([""] * 4, [""] * 4, log_metric=told.__setitem__)
    assert told == {"unscored": 0.5} and Fixed("r", []).figures([]) == {"unscored": 0.0}
    assert message_text("好") == "好" and message_text([{"content": "甲"}, {"content": "乙"}]) == "乙"
    assert mean_scored([1.0, None, 3.0]) == 2.0 and math.isnan(mean_scored([None])) and math.isnan(mean_scored([]))


def test_requests_come_from_their_column_or_the_prompts() -> None:
    asked: list[str] = []

    class Asking(Fixed):
        def score(self, requests: Sequence[str], texts: Sequence[str]) -> RewardValues:
            asked.extend([*requests, *texts])
            return [1.0]

    Asking("r", [])([[{"content": "提问"}]], [[{"content": "祝福"}]], request=["请求"])
    Asking("r", [])([[{"content": "提问"}]], ["祝福"])
    assert asked == ["请求", "祝福", "提问", "祝福"]


def test_a_mix_by_hand() -> None:
    first, second, none = Fixed("a", [1.0, 0.5, None]), Fixed("b", [2.0, None, 1.0]), Fixed("c", [9.0] * 3)
    mix = MixedReward([(2.0, first), (-0.5, second), (0.0, none)])
    assert mix([""] * 3, [""] * 3) == [1.0, None, None] and [part.name for _, part in mix.weighted_parts] == [
        "a",
        "b",
    ]
    values: RewardValues = [1.0, None, None]
    assert mix.figures(values) == {"unscored": 2 / 3, "part/a": 0.75, "part/b": 1.5}
    mix.prepare()
    mix.close()
    assert (first.prepared, second.prepared, none.prepared) == (1, 1, 0) == (first.closed, second.closed, none.closed)
    assert mix.state() is None and mix.notice is None
    second._notice = Message("n", "注")
    assert mix.notice == Message("n", "注")
    first.failures["x"], second.failures["x"], mix.failures["y"] = 1, 2, 1
    assert mix.reasons() == {"x": 3, "y": 1} and mix.failures == {"y": 1}
    unscored = MixedReward([(1.0, Fixed("a", [None]))])
    unscored([""], [""])
    assert unscored.figures([None]) == {"unscored": 1.0}, "no mean of nothing"


def test_a_mix_keeps_the_state_of_its_parts_by_name() -> None:
    one = MixedReward([(1.0, DiversityReward()), (1.0, Fixed("a", [1.0, 1.0]))])
    one(["甲", "乙"], ["愿你平安喜乐", "愿你岁岁无忧"])
    assert one.state() == {"diversity": [("甲", ("愿你平安喜乐",)), ("乙", ("愿你岁岁无忧",))]}
    other = MixedReward([(1.0, DiversityReward())])
    other.restore(one.state())
    assert other.state() == one.state()
    other.restore({})
    assert other.state() == one.state(), "what is not there changes nothing"


# Terms ------------------------------------------------------------------------------------------------


def test_the_band_of_lengths_by_hand() -> None:
    made = LengthBandReward(20, 60)
    for count, value in (
        (0, 0.0),
        (10, 0.0),
        (15, 0.5),
        (19, 0.9),
        (20, 1.0),
        (60, 1.0),
        (75, 0.5),
        (90, 0.0),
        (99, 0.0),
    ):
        assert made.score([""], ["字" * count]) == [pytest.approx(value)]


def test_repetition_is_free_up_to_a_share_by_hand() -> None:
    # One character of five twice: 2/5 is covered.
    assert repetition_share("甲乙丙甲丁") == pytest.approx(0.4)
    assert RepetitionReward(0.4).score([""], ["甲乙丙甲丁"]) == [pytest.approx(1.0)]
    assert RepetitionReward(0.2).score([""], ["甲乙丙甲丁"]) == [pytest.approx(1 - 0.2 / 0.8)]
    assert RepetitionReward().free_share == 0.2 and RepetitionReward().score(["", ""], ["", "甲甲"]) == [
        0.0,
        0.0,
    ]


def test_what_is_one_greeting_and_nothing_else() -> None:
    asked = "祝福妈妈生日快乐"
    for text, value in (
        ("妈，生日快乐", 1.0),
        ("", 0.0),
        (" ", 0.0),
        (f"好的{asked}", 0.0),
        ("1. 快乐", 0.0),
        ("愿你\n第二条：平安", 0.0),
        ("甲\n\n乙", 0.0),
        ("甲\n乙", 1.0),
        ("好的，祝您", 0.0),
        ("祝您好的", 1.0),
        ("祝福语：快乐", 0.0),
        ("快乐<|im_end|>", 0.0),
        ("ASSISTANT", 0.0),
    ):
        assert FormatReward().score([asked], [text]) == [value], text
    for size, value in ((ECHO_LENGTH - 1, 1.0), (ECHO_LENGTH, 0.0)):
        assert FormatReward().score(["甲乙丙丁戊己"[:size]], ["祝甲乙丙丁戊己"]) == [value]


def test_rarity_by_hand() -> None:
    # 2-grams; 甲乙 stands in both requests' greetings, 乙丙 in one of two of the first.
    made = PhraseRarity(8, 2)
    values = made.rate_greetings(["p", "p", "q"], ["甲乙丙", "甲乙", "甲乙丁"])
    # For p: of q 甲乙 1, 乙丙 0: mean(1/2, 1); 甲乙 alone: 1/2. For q: 甲乙 in both of p: 1/2, 乙丁 1.
    assert values == [pytest.approx(0.75), pytest.approx(0.5), pytest.approx(0.75)]
    assert made.state() == [("p", ("甲乙丙", "甲乙")), ("q", ("甲乙丁",))]
    # A third request: 甲乙 of p 1 and of q 1: 1/3; 乙丙 of p half: 1/1.5.
    assert made.rate_greetings(["r"], ["甲乙丙"]) == [pytest.approx((1 / 3 + 1 / 1.5) / 2)]
    assert made.rate_greetings(["r", "s"], ["甲", ""]) == [0.0, 0.0]
    again = PhraseRarity(8, 2)
    again.restore(made.state())
    assert again.state() == made.state()
    own = PhraseRarity(8, 2)
    own.rate_greetings(["p", "q"], ["甲乙", "丙丁"])
    assert own.rate_greetings(["p"], ["甲乙"]) == [1.0], "the own request of before does not count against it"
    assert PhraseRarity(8, 2).rate_greetings(["p", "p"], ["甲乙", "丙丁"]) == [None, None]
    short = PhraseRarity(2, 2)
    short.rate_greetings(["a", "b", "c"], ["甲乙"] * 3)
    assert [request for request, _ in short.state()] == ["b", "c"]


def test_a_fit_needs_so_many_greetings() -> None:
    rows = [(f"请求{n}", f"祝福{n}") for n in range(MIN_GREETINGS - 1)]
    with pytest.raises(ValueError, match="99 greetings"):
        learn_request_fit([*rows, rows[0]])
    with pytest.raises(UserError, match="99 greetings"):
        RequestFitReward(rows).prepare()


def test_a_fit_counts_the_requests_that_a_greeting_points_to_more() -> None:
    class Plane:
        """Texts that are their own places: “x,y”; “?” is unknown."""

        def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[0.0, 0.0] if one in ("?", "") else [*map(float, one.split(","))] for one in texts])

    plane: TextSpace = Plane()  # type: ignore[assignment]
    others = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    made = RequestFit(plane, plane, np.eye(2), others)
    values = made.rate_greetings(["2,0", "0,3", "-1,0", "0,3", "?", "1,0"], ["5,0", "1,0", "9,0", "", "1,0", "?"])
    # Of three others: none is nearer and the own one equal; one nearer; two nearer and one equal.
    expected = [
        1 - math.log(1.5) / math.log(4),
        1 - math.log(2.5) / math.log(4),
        1 - math.log(3.5) / math.log(4),
    ]
    assert values == [*map(pytest.approx, expected), 0.0, None, None]


# Figures of texts ----------------------------------------------------------------------------------------


def test_figures_of_a_body_of_texts() -> None:
    made = build_profile(["祝妈妈生日快乐", "祝老师节日快乐", "无"], ["妈妈好妈妈", "", "好"])
    assert (made.n, made.empty, made.length, made.length_median) == (3, pytest.approx(1 / 3), 2.0, 1)
    assert made.length_sd == pytest.approx(math.sqrt((9 + 4 + 1) / 3))
    assert made.repetition == pytest.approx((4 / 5 + 0) / 2)
    assert made.distinct_2 == pytest.approx(3 / 4)
    nothing = build_profile([], [])
    assert nothing.n == 0 and all(math.isnan(value) for value in (nothing.length, nothing.length_sd, nothing.fit))
    assert math.isnan(nothing.length_median) and math.isnan(nothing.empty)


def test_distinct_and_first_characters() -> None:
    assert distinct_n(["甲乙甲", "甲 乙"], 2) == pytest.approx(2 / 3) and distinct_n(["甲乙"], 1) == 1.0
    assert math.isnan(distinct_n(["甲"], 2)) and math.isnan(distinct_n([], 1))
    texts = ["甲乙", "丙丁戊", "己"]
    assert [len(first_characters(texts, size)) for size in (0, 1, 2, 4, 5, 6)] == [0, 0, 1, 1, 2, 3]


def test_repetition_without_overlap() -> None:
    for text, share in (
        ("甲乙甲乙", 1.0),
        ("甲甲甲", 2 / 3),
        ("甲乙丙", 0.0),
        ("甲乙丙甲乙丁", 4 / 6),
        ("甲 甲", 1.0),
    ):
        assert repetition_share(text) == pytest.approx(share)
    assert math.isnan(repetition_share(" "))


def test_self_bleu_of_orders_by_hand() -> None:
    assert self_bleu(["甲乙丙丁戊", "甲乙丙丁戊"]) == pytest.approx(1.0)
    # Orders 1 and 2 of 甲乙丙 against 甲乙: 2/3 and 1/2; of 甲乙: 1 and 1, brevity exp(1 - 3/2).
    expected = (math.sqrt(2 / 3 * 1 / 2) + math.exp(-0.5)) / 2
    assert self_bleu(["甲乙丙", "甲乙"], 2) == pytest.approx(expected)
    # No shared pair: .1 of one; no shared character: 0.
    assert self_bleu(["甲乙", "乙甲"], 2) == pytest.approx(math.sqrt(0.1))
    assert self_bleu(["甲乙", "丙丁"], 2) == 0.0
    assert math.isnan(self_bleu(["甲乙", " "])) and math.isnan(self_bleu([]))


def test_fit_of_each_part_by_hand() -> None:
    assert math.isnan(prompt_fit("写一句话", "好"))
    # Occasion and recipient named and met; bigrams of 妈妈生日: 妈妈, 妈生, 生日.
    assert prompt_fit("妈妈生日", "妈妈生日快乐") == pytest.approx((1 + 1 + 1) / 3)
    assert prompt_fit("妈妈生日", "妈妈，生日快乐") == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert prompt_fit("妈妈生日", "老师，新年快乐") == 0.0
    assert prompt_fit("妈妈生日", "好") == pytest.approx((0.25 + 0.25 + 0) / 3)
    assert prompt_fit("妈妈生日", " ") == 0.0
