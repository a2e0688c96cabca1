"""Fit to the request as a reward: greetings point back to what they were written for."""

import math
import pickle
import random

import pytest

from backend.core.errors import UserError
from backend.corpus.seed import SEED_FOLDER, load_seed_rows
from backend.training.programs.reward_terms import RequestFit, RequestFitReward, _normalize_rows, learn_request_fit
from backend.training.programs.rewards import mean_scored

ROWS = [(row["prompt"], row["strong"]) for row in load_seed_rows(SEED_FOLDER)]
random.Random(0).shuffle(ROWS)
LEARNT, HELD_OUT = ROWS[130:], ROWS[:130]
REQUESTS, TEXTS = [request for request, _ in HELD_OUT], [text for _, text in HELD_OUT]
ELSEWHERE = TEXTS[1:] + TEXTS[:1]


@pytest.fixture(scope="module")
def fitted() -> RequestFit:
    return learn_request_fit(LEARNT)


def test_held_out_greetings_point_to_their_own_request(fitted: RequestFit) -> None:
    own, other = fitted.rate_greetings(REQUESTS, TEXTS), fitted.rate_greetings(REQUESTS, ELSEWHERE)
    assert mean_scored(own) > 0.5, "530 greetings are few; 5,000 give .76"
    assert mean_scored(other) == pytest.approx(0.2, abs=0.08), "chance"
    better = [a > b for a, b in zip(own, other, strict=True) if a is not None and b is not None]
    assert sum(better) / len(better) > 0.8


def test_the_value_falls_with_the_logarithm_of_the_requests_ahead(fitted: RequestFit) -> None:
    """Counted by hand from the places that the greeting and all requests have."""
    points = _normalize_rows(fitted.greeting_space.embed_texts(TEXTS[:5]) @ fitted.greeting_to_request)
    own = (points * _normalize_rows(fitted.request_space.embed_texts(REQUESTS[:5]))).sum(axis=1)
    ahead = [
        sum(float(point @ other) > near for other in fitted.other_requests)
        for point, near in zip(points, own, strict=True)
    ]
    size = len(fitted.other_requests)
    expected = [1 - math.log(1 + count) / math.log(1 + size) for count in ahead]
    assert fitted.rate_greetings(REQUESTS[:5], TEXTS[:5]) == pytest.approx(expected)


def test_length_earns_nothing(fitted: RequestFit) -> None:
    twice = [text + other for text, other in zip(TEXTS, ELSEWHERE, strict=True)]
    assert mean_scored(fitted.rate_greetings(REQUESTS, twice)) < mean_scored(fitted.rate_greetings(REQUESTS, TEXTS))
    assert fitted.rate_greetings(REQUESTS, [text * 2 for text in TEXTS]) == pytest.approx(
        fitted.rate_greetings(REQUESTS, TEXTS), abs=0.2
    )


def test_what_cannot_be_compared_is_unscored(fitted: RequestFit) -> None:
    assert fitted.rate_greetings([REQUESTS[0], "qqq", REQUESTS[0]], [" ", TEXTS[0], "zzz"]) == [
        0.0,
        None,
        None,
    ]


def test_the_same_greetings_in_any_order_are_the_same_reward(fitted: RequestFit) -> None:
    again = learn_request_fit([*reversed(LEARNT), *LEARNT[:5]])
    assert again.rate_greetings(REQUESTS, TEXTS) == pytest.approx(fitted.rate_greetings(REQUESTS, TEXTS))


def test_as_a_reward(fitted: RequestFit) -> None:
    reward = pickle.loads(pickle.dumps(RequestFitReward(LEARNT)))
    reward.prepare()
    assert reward(prompts=REQUESTS, completions=TEXTS) == pytest.approx(fitted.rate_greetings(REQUESTS, TEXTS))
    with pytest.raises(UserError, match="fit_weight"):
        RequestFitReward(LEARNT[:99]).prepare()
