"""A ranking as a reward: the groups of a rollout, what is unscored, settings; and any judge whose server dies."""

import json
from contextlib import closing
from functools import partial

import pytest

from backend.core.errors import UserError
from backend.judges.base import JudgeKind, JudgeSpec
from backend.llm.budget import Budget
from backend.training.grpo_settings import GrpoSettings
from backend.training.programs.reward_judges import JudgeReward
from backend.training.programs.reward_ranking import RankingReward, split_rows
from backend.training.programs.reward_terms import FormatReward
from backend.training.programs.rewards import MixedReward
from backend.training.settings import settings_for
from tests.judging import context_at
from tests.llm_fixtures import FakeLLM, running
from tests.ranking_replies import merit

RANKING = JudgeSpec(JudgeKind.RANKING, "ranking")
TEXTS = [f"第{number}条：愿你平安喜乐，万事顺遂。" for number in range(16)]


def ranking_reward(fake: FakeLLM, **config: object) -> RankingReward:
    spec = JudgeSpec(JudgeKind.RANKING, "ranking", config=config)
    return RankingReward(spec, partial(context_at, fake), group_size=4)


def expected(texts: list[str]) -> list[float]:
    return [sum(merit(other) < merit(text) for other in texts) / (len(texts) - 1) for text in texts]


def test_a_rollout_is_split_into_its_groups() -> None:
    assert split_rows(["a"] * 4 + ["b"] * 4, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    # One request twice in a rollout is two groups, and they may be apart.
    assert split_rows(["a"] * 8, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert split_rows(["a", "a", "b", "b", "a", "a"], 2) == [[0, 1], [4, 5], [2, 3]]


def test_each_group_is_ranked_by_itself_and_all_at_once(fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit", latency_s=0.2)
    figures: dict[str, float] = {}
    with closing(ranking_reward(fake_llm)) as reward:
        requests = ["新年"] * 8 + ["中秋"] * 8
        values = reward(prompts=requests, completions=TEXTS, log_metric=figures.__setitem__)
    for start in range(0, 16, 4):
        assert values[start : start + 4] == pytest.approx(expected(TEXTS[start : start + 4]))
    state = fake_llm.state()
    assert sum(state["answered"].values()) == state["most_active"] == 4 and figures == {"unscored": 0.0}


def test_calls_are_recorded_and_counted_as_those_of_any_judge(fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:by_merit")
    context = context_at(fake_llm)
    context.budget = Budget(max_calls=2)
    with closing(RankingReward(RANKING, lambda: context, group_size=4)) as reward:
        values = reward(prompts=["新年"] * 8, completions=TEXTS[:8])
        # The same greetings in another order are the same calls, which the ledger has.
        assert reward(prompts=["新年"] * 8, completions=TEXTS[3::-1] + TEXTS[7:3:-1]) == values[3::-1] + values[7:3:-1]
        assert sum(fake_llm.state()["answered"].values()) == 2
        with pytest.raises(UserError, match="budget"):
            reward(prompts=["新年"] * 4, completions=TEXTS[8:12])


def test_flips_are_a_curve_where_both_orders_are_asked(fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:first_shown")
    figures: dict[str, float] = {}
    with closing(ranking_reward(fake_llm, both_orders=True)) as reward:
        values = reward(prompts=["新年"] * 4, completions=TEXTS[:4], log_metric=figures.__setitem__)
        assert values == [0.5] * 4 and figures == {"unscored": 0.0, "ranking/flips": 1.0}
        # In a mix the curve stays.
        mixed = MixedReward([(1.0, reward), (1.0, FormatReward())])
        mixed(prompts=["新年"] * 4, completions=TEXTS[4:8], log_metric=figures.__setitem__)
        assert figures["ranking/flips"] == 1.0 and figures["part/ranking"] == 0.5


def test_what_a_ranking_leaves_out_is_none_and_counted(fake_llm: FakeLLM) -> None:
    fake_llm.script(reply="tests.ranking_replies:without_the_worst")
    with closing(ranking_reward(fake_llm)) as reward:
        values = reward(prompts=["新年"] * 4, completions=TEXTS[:4])
        assert values.count(None) == 2 and sum(reward.reasons().values()) == 2
        assert reward(prompts=["新年"] * 4, completions=["福", "", "", ""]) == [None] * 4


def test_settings_refuse_what_does_not_go_with_a_ranking() -> None:
    ranking = {"base": "gpt2", "reward": "ranking"}
    assert GrpoSettings(**ranking).reward == "ranking"  # type: ignore[arg-type]
    with pytest.raises(UserError, match="binary does not go with reward = ranking"):
        settings_for("grpo", None, ranking | {"binary": True})
    uneven = {"processes": 3, "prompts": 4, "generations": 6, "batch_size": 8}
    with pytest.raises(UserError, match="prompts = 4 must be a multiple of processes = 3"):
        settings_for("grpo", None, ranking | uneven)
    assert settings_for("grpo", None, ranking | uneven | {"prompts": 6, "batch_size": 12})


# How the fake server answers each kind of judge that can be a reward.
REWARDS = {
    JudgeKind.PRINCIPLE: "verdict",
    JudgeKind.RUBRIC: "tests.judge_replies:rubric",
    JudgeKind.PANEL: "tests.judge_replies:panel",
    JudgeKind.RANKING: "tests.ranking_replies:by_merit",
}


def judge_reward(kind: JudgeKind, fake: FakeLLM) -> JudgeReward:
    spec, opener = JudgeSpec(kind, kind.value), partial(context_at, fake)
    return RankingReward(spec, opener, group_size=4) if kind is JudgeKind.RANKING else JudgeReward(spec, opener)


@pytest.mark.parametrize("kind", REWARDS, ids=str)
def test_a_server_that_dies_and_comes_back_costs_the_rollouts_between(kind: JudgeKind, fake_llm: FakeLLM) -> None:
    """Whatever it fails with: nothing else ends the run but `patience` rollouts without a score."""
    alive = {"reply": REWARDS[kind]}
    fake_llm.script(**alive)
    with closing(judge_reward(kind, fake_llm)) as reward:
        reward.patience = 3
        rollouts = iter(range(100))

        def rollout() -> list[float | None]:
            # New texts each time, as a policy writes them: the ledger knows none of them.
            number = next(rollouts)
            return reward(prompts=["新年"] * 4, completions=[f"{text}{number}" for text in TEXTS[:4]])

        assert None not in rollout()
        for fault in ("drop", "server_error"):
            fake_llm.script(**alive, faults={fault: 1.0})
            assert rollout() == [None] * 4
        fake_llm.script(**alive)
        assert None not in rollout(), "two rollouts are lost, and the run goes on"
        fake_llm.script(**alive, faults={"overloaded": 1.0})
        assert rollout() == rollout() == [None] * 4
        with pytest.raises(UserError, match=f"{kind.value} has scored nothing for 3 rollouts in a row"):
            rollout()


@pytest.mark.parametrize("kind", REWARDS, ids=str)
def test_connections_that_are_refused_for_a_while(kind: JudgeKind) -> None:
    with running() as fake:
        port = int(fake.address.rsplit(":", 1)[1])
        fake.script(reply=REWARDS[kind])
        reward = judge_reward(kind, fake)
        with_answer = reward(prompts=["新年"] * 4, completions=TEXTS[:4])
    with closing(reward):
        refused = reward(prompts=["新年"] * 4, completions=TEXTS[4:8])
        reasons = json.dumps(reward.reasons(), ensure_ascii=False)
        with running(port) as fake:
            fake.script(reply=REWARDS[kind])
            again = reward(prompts=["新年"] * 4, completions=TEXTS[8:12])
    assert None not in with_answer + again and refused == [None] * 4
    assert "拒绝连接" in reasons or "断开" in reasons
