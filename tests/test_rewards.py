"""Rewards: what they give, what a failure costs, and what TRL makes of None."""

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import pytest

from backend.core.enums import Scale
from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.judges.base import Judge, JudgeKind, JudgeSpec, Judgment, Sample
from backend.judges.context import JudgeContext
from backend.llm.errors import LLMError, LLMErrorKind
from backend.training.programs.reward_judges import JudgeReward, RewardModelReward
from backend.training.programs.reward_terms import (
    DiversityReward,
    FormatReward,
    LengthBandReward,
    LengthDebias,
    RepetitionReward,
)
from backend.training.programs.rewards import MixedReward, Reward, RewardValues
from tests.fake_llm import quality
from tests.judging import context_at
from tests.llm_fixtures import FakeLLM

PRINCIPLE = JudgeSpec(JudgeKind.PRINCIPLE, "principle")
TEXTS = [f"第{n}条：愿你平安喜乐，万事顺遂。" for n in range(20)]
REQUESTS = ["新年祝福"] * len(TEXTS)


@dataclass
class Fixed:
    """A judge that says what it was told to say."""

    values: Sequence[float | None]
    scale: Scale = Scale.SCORE
    name: str = "fixed"
    version: str = "1"

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        return [Judgment(value, "" if value is not None else "无法评分") for value in self.values[: len(samples)]]


@dataclass
class FixedContext:
    """Opens what a reward is built from: one fitted judge and nothing else. A class, since rewards are pickled."""

    judge: Judge

    def __call__(self) -> JudgeContext:
        return JudgeContext(None, lambda _: self.judge)


@pytest.fixture
def asking(fake_llm: FakeLLM) -> Iterator[Callable[..., JudgeReward]]:
    made: list[JudgeReward] = []

    def make(**endpoint: object) -> JudgeReward:
        made.append(JudgeReward(PRINCIPLE, partial(context_at, fake_llm, **endpoint)))
        return made[-1]

    yield make
    for reward in made:
        reward.close()


class Broken(Reward):
    name = "broken"

    def __init__(self, error: Exception | None = None, values: RewardValues | None = None) -> None:
        super().__init__()
        self.error, self.values = error, values

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        if self.error:
            raise self.error
        return self.values or []


def test_a_judge_scores_a_batch_at_once(asking: Callable[..., JudgeReward], fake_llm: FakeLLM) -> None:
    fake_llm.script(latency_s=0.2)
    reward = asking(concurrency=20)
    assert reward(prompts=REQUESTS, completions=TEXTS) == [quality(text) for text in TEXTS]
    assert fake_llm.state()["most_active"] >= 10
    assert reward(prompts=REQUESTS, completions=TEXTS) == [quality(text) for text in TEXTS]
    assert sum(fake_llm.state()["asked"].values()) == len(TEXTS), "the second time comes from the ledger"


def test_conversations_and_the_request_column_are_read(asking: Callable[..., JudgeReward], fake_llm: FakeLLM) -> None:
    prompts = [[{"role": "user", "content": "模板：新年祝福"}]]
    completions = [[{"role": "assistant", "content": TEXTS[0]}]]
    assert asking()(prompts=prompts, completions=completions, request=["新年祝福"]) == [quality(TEXTS[0])]
    assert "模板" not in str(fake_llm.state()["bodies"])


def test_what_a_judge_cannot_score_stays_none_and_is_counted(
    asking: Callable[..., JudgeReward], fake_llm: FakeLLM
) -> None:
    fake_llm.script(reply="chatter")
    said: dict[str, float] = {}
    reward = asking()
    assert reward(prompts=REQUESTS, completions=TEXTS, log_metric=said.__setitem__) == [None] * len(TEXTS)
    assert said == {"unscored": 1.0}
    assert sum(reward.failures.values()) == len(TEXTS)


def test_a_refused_key_ends_the_run_with_its_sentence(asking: Callable[..., JudgeReward], fake_llm: FakeLLM) -> None:
    fake_llm.script(api_key="right")
    with pytest.raises(UserError, match="401"):
        asking(api_key="wrong")(prompts=REQUESTS, completions=TEXTS)


def test_an_unknown_model_ends_the_run_with_its_sentence(asking: Callable[..., JudgeReward], fake_llm: FakeLLM) -> None:
    fake_llm.script(models=["another"])
    with pytest.raises(UserError, match="does not know the model"):
        asking()(prompts=REQUESTS, completions=TEXTS)


def test_a_budget_used_up_ends_the_run() -> None:
    with pytest.raises(UserError, match="budget"):
        Broken(LLMError(LLMErrorKind.BUDGET))(prompts=REQUESTS, completions=TEXTS)


@pytest.mark.parametrize(
    "broken",
    [Broken(RuntimeError("CUDA out of memory")), Broken(values=[1.0]), Broken(ZeroDivisionError())],
)
def test_any_other_failure_costs_its_batch_only(broken: Reward, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert broken(prompts=REQUESTS, completions=TEXTS) == [None] * len(TEXTS)
    assert list(broken.failures.values()) == [3]
    assert len(caplog.records) == 1, "said once"


def test_a_reward_that_scores_nothing_ends_the_run_after_a_few_rollouts() -> None:
    reward = Broken(RuntimeError("gone"))
    reward.patience = 3
    for _ in range(2):
        assert reward(prompts=REQUESTS, completions=TEXTS) == [None] * len(TEXTS)
    reward.error, reward.values = None, [1.0] + [None] * (len(TEXTS) - 1)
    assert reward(prompts=REQUESTS, completions=TEXTS)[0] == 1.0, "one score, and the count begins anew"
    reward.values = [None] * len(TEXTS)
    for _ in range(2):
        reward(prompts=REQUESTS, completions=TEXTS)
    reward.error = ConnectionError("refused")
    with pytest.raises(UserError, match=r"nothing for 3 rollouts in a row \(ConnectionError: refused\); mend"):
        reward(prompts=REQUESTS, completions=TEXTS)


def test_values_that_are_no_numbers_are_unscored() -> None:
    reward = Broken(values=[math.nan, math.inf, 1, None])
    assert reward(prompts=REQUESTS[:4], completions=TEXTS[:4]) == [None, None, 1.0, None]


@pytest.mark.parametrize(
    ("scale", "values", "expected"),
    [
        (Scale.SCORE, [-0.1, 0.0, None], [0.0, 1.0, None]),
        (Scale.RUBRIC, [1.9, 2.0, 3.0], [0.0, 1.0, 1.0]),
        (Scale.BINARY, [0.0, 1.0, None], [0.0, 1.0, None]),
    ],
)
def test_a_fitted_judge_can_say_yes_or_no(scale: Scale, values: RewardValues, expected: RewardValues) -> None:
    opener = FixedContext(Fixed(values, scale))
    spec = JudgeSpec(JudgeKind.NGRAM, "ngram")
    with closing(JudgeReward(spec, opener)) as plain, closing(JudgeReward(spec, opener, binary=True)) as binary:
        assert plain(prompts=REQUESTS[:3], completions=TEXTS[:3]) == values
        assert binary(prompts=REQUESTS[:3], completions=TEXTS[:3]) == expected


def test_a_judge_of_pairs_is_no_reward() -> None:
    with pytest.raises(UserError, match="pairs"):
        JudgeReward(JudgeSpec(JudgeKind.PAIRWISE, "pairwise"), FixedContext(Fixed([]))).prepare()


@pytest.mark.parametrize(
    ("count", "value"), [(0, 0), (5, 0), (10, 0), (15, 0.5), (20, 1), (60, 1), (75, 0.5), (90, 0), (500, 0)]
)
def test_length_band(count: int, value: float) -> None:
    assert LengthBandReward(20, 60)(prompts=["祝福"], completions=["福" * count]) == [pytest.approx(value)]


def test_repetition_is_free_up_to_a_point() -> None:
    texts = ["岁岁平安，万事如意。", "ABCABC", "ABXAB", ""]
    assert RepetitionReward(0.2)(prompts=REQUESTS[:4], completions=texts) == pytest.approx([1, 0, 0.25, 0])


def test_what_every_request_is_answered_with_earns_little() -> None:
    texts = ["甲乙丙丁", "甲乙丙丁戊", "春风得意", "福"]
    reward = DiversityReward()
    assert reward(prompts=["生日"] * 4, completions=texts) == [None] * 4
    values = reward(prompts=["婚礼", "中秋"], completions=["甲乙丙丁", "万事如意"])
    assert values == pytest.approx([1 / (1 + 1 / 2), 1]), "half of the greetings for the birthday say it"


def test_a_mix_goes_on_from_what_its_parts_remember() -> None:
    mixed = MixedReward([(1, DiversityReward()), (1, FormatReward())])
    mixed(prompts=["生日", "婚礼"], completions=["甲乙丙丁", "春风得意"])
    again = MixedReward([(1, FormatReward()), (1, DiversityReward())])
    again.restore(json.loads(json.dumps(mixed.state())))
    asked = {"prompts": ["中秋"], "completions": ["甲乙丙丁"]}
    assert again(**asked) == mixed(**asked) == [pytest.approx(1.5)]
    assert MixedReward([(1, FormatReward())]).state() is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("妈妈，生日快乐！", 1),
        ("春风得意，\n万事如意。", 1),
        ("", 0),
        ("1. 生日快乐！\n2. 万事如意！", 0),
        ("一、生日快乐！", 0),
        ("生日快乐！\n\n万事如意！", 0),
        ("好的，这是一条祝福：生日快乐！", 0),
        ("祝福语：生日快乐！", 0),
        ("送给妈妈的 生日祝福语，生日快乐！", 0),
        ("<|assistant|>生日快乐！", 0),
    ],
)
def test_format(text: str, value: float) -> None:
    assert FormatReward()(prompts=["送给妈妈的生日祝福语"], completions=[text]) == [value]


def test_a_mix_is_a_weighted_sum_and_none_where_a_part_is_none() -> None:
    parts = [(1.0, Broken(values=[1.0, None, 0.0])), (0.5, LengthBandReward(2, 4)), (0.0, Broken(KeyError()))]
    said: dict[str, float] = {}
    values = MixedReward(parts)(prompts=REQUESTS[:3], completions=["福福", "福福", "福"], log_metric=said.__setitem__)
    assert values == [1.5, None, 0.0]
    assert said == {"unscored": pytest.approx(1 / 3), "part/broken": 0.5, "part/length": pytest.approx(2 / 3)}


def test_a_mix_knows_the_failures_of_its_parts() -> None:
    mixed = MixedReward([(1, Broken(RuntimeError("one"))), (1, Broken(RuntimeError("two")))])
    assert mixed(prompts=REQUESTS, completions=TEXTS) == [None] * len(TEXTS)
    assert mixed.reasons() == {"RuntimeError: one": 1, "RuntimeError: two": 1}


def test_rewards_are_named_and_picklable() -> None:
    opener = FixedContext(Fixed([1.0, 0.0]))
    with closing(JudgeReward(JudgeSpec(JudgeKind.NGRAM, "ngram"), opener)) as judge:
        before = judge(prompts=REQUESTS[:2], completions=TEXTS[:2])
    mixed = MixedReward([(1, judge), (1, FormatReward()), (1, RewardModelReward(PROJECT_ROOT / "nothing"))])
    again = pickle.loads(pickle.dumps(mixed))
    assert [part.__name__ for _, part in again.weighted_parts] == ["ngram", "format", "reward_model"]
    with closing(again.weighted_parts[0][1]) as ngram:
        assert ngram(prompts=REQUESTS[:2], completions=TEXTS[:2]) == before


def test_a_missing_reward_model_is_unscored_not_a_crash() -> None:
    reward = RewardModelReward(PROJECT_ROOT / "nothing-here")
    assert reward(prompts=REQUESTS[:2], completions=TEXTS[:2]) == [None, None]
    assert len(reward.failures) == 1
    with pytest.raises(UserError, match="cannot be loaded"):
        reward.prepare()


def test_a_reward_model_s_scores_are_passed_on_as_they_are() -> None:
    class Counter:
        def score(self, items: list[list[str]]) -> RewardValues:
            return [None if "长" in text else float(len(text)) - 2 for _, text in items]

    reward = RewardModelReward(PROJECT_ROOT / "nothing")
    reward._model = Counter()
    assert reward.score(["祝福"] * 4, ["福", "福福福", "", "长"]) == [-1.0, 1.0, None, None]
    reward.binary = True
    assert reward.score(["祝福"] * 4, ["福", "福福福", "", "长"]) == [0.0, 1.0, None, None]


def test_a_length_term_is_fitted_within_good_and_within_bad() -> None:
    # Good greetings are longer and score more, but within either kind a character is worth one tenth.
    good, bad = [("福" * 9, 2.9), ("福" * 11, 3.1)], [("福" * 3, 0.3), ("福" * 5, 0.5)]
    fitted = LengthDebias.fit([good, bad])
    assert (fitted.slope, fitted.mean) == (pytest.approx(0.1), pytest.approx(7.0))
    assert fitted.correct_score("福" * 11, 3.1) == pytest.approx(3.1 - 0.1 * (11 - 7))


def test_rewards_need_no_torch_until_a_model_is_loaded() -> None:
    code = "import sys, backend.training.programs.reward_judges, backend.training.programs.reward_terms as _"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
