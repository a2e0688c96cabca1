"""Gold calls good what is fluent and answers its request, and says where it cannot tell."""

import json
import math
from typing import Any

import pytest

from backend.training.programs.soundness import CharacterModel, Fluency
from tests import warm


@pytest.fixture(scope="module")
def readings() -> dict[str, Any]:
    done = warm.run("tests.gold_probe")
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_unseen_good_greetings_are_called_what_they_were(readings: dict[str, Any]) -> None:
    accepted = readings["accepted"]
    assert accepted["excellence"] == pytest.approx(accepted["judge"], abs=0.02) and accepted["judge"] > 0.8
    assert accepted["fit"] == 1 and accepted["reason"] is None


@pytest.mark.parametrize("name", ["vocabulary", "frequent"])
def test_characters_in_any_order_are_not_good_though_the_judge_calls_them_so(
    readings: dict[str, Any], name: str
) -> None:
    found = readings[name]
    assert found["judge"] > 0.5 and found["excellence"] < 0.05 and found["mean"] < 0.05
    assert found["unscored"] == 0 and found["reason"] is None, "a figure, for it can be told"


def test_good_greetings_for_other_requests_are_not_good(readings: dict[str, Any]) -> None:
    others = readings["others"]
    assert others["fluent"] > 0.95 and others["fit"] < 0.2
    assert others["unscored"] == 1 or others["excellence"] < 0.15


def test_beyond_what_it_has_seen_gold_cannot_tell(readings: dict[str, Any]) -> None:
    new = readings["new"]
    assert math.isnan(new["excellence"]) and math.isnan(new["mean"]) and new["unseen"] > 0.5 and new["fit"] > 0.5
    assert "character pairs are new to it" in new["reason"]
    english = readings["english"]
    assert math.isnan(english["excellence"]) and english["unseen"] > 0.95
    assert english["reason"] == "its judge knows nothing in any of the greetings"


def test_too_few_greetings_teach_nothing(readings: dict[str, Any]) -> None:
    assert readings["few"]


def test_probabilities_of_all_characters_add_up_to_one() -> None:
    model = CharacterModel(["祝你快乐", "祝你好"])
    known = "祝你快乐好\x03"
    for first in ("\x02", "祝", "你", "龘"):
        # What was never seen shares one place.
        total = math.fsum(model._joint_probability(first, second) for second in (*known, "龘"))
        assert total == pytest.approx(1)
    assert model.unseen_share("祝你好") == 0 and model.unseen_share("好你祝") == 1 and model.unseen_share("祝") == 1


def test_one_impossible_joint_shows_in_its_window() -> None:
    model = CharacterModel(["祝你天天快乐", "愿你岁岁平安"] * 20)
    smooth, broken = (Fluency.measure(model, text) for text in ("祝你天天快乐", "祝你天天岁平"))
    assert broken.window < smooth.window and broken.whole < smooth.whole and broken.joints < smooth.joints
    assert smooth.reaches(smooth) and not broken.reaches(smooth)
    assert math.isfinite(Fluency.measure(model, "").whole)
