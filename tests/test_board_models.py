"""A model's figures: shares by hand, sides, ties, silence, and the whole way from cards to the board."""

from dataclasses import replace

import numpy as np
import pytest

from backend.agreement.categorical import wilson
from backend.agreement.models import opinion, share
from backend.db.play_tables import GreetingOrigin
from backend.records import ComparisonInput, VerdictInput
from backend.services import Services
from backend.vocabulary import CampaignKind, Scale
from tests.llm_fixtures import FakeLLM
from tests.playing import GREETING, WISH, ask, endpoint, played
from ui.board_view import models_table
from ui.say import Say

NAN = np.nan


def test_shares_by_hand() -> None:
    said = np.array([1.0, 0.0, 0.5, NAN, 1.0, 0.0])
    first = np.array([True, False, True, True, True, False])
    second = np.array([False, True, False, False, True, False])
    figure, n = share(said, first, second, np.arange(6))
    # wins of the model: 1, 1 - 0, half; silence, both sides and neither side do not count.
    assert n == 3 and figure.value == pytest.approx(2.5 / 3)
    figure, n = share(np.ones(4), np.ones(4, bool), np.zeros(4, bool), np.array([1, 1, 2, 2]))
    low, high = wilson(1.0, 2)
    assert (figure.value, figure.low, figure.high) == (1.0, low, high), "two requests count as two"
    none, n = share(np.array([NAN]), np.array([True]), np.array([False]), np.array([1]))
    assert none.value is None and n == 0


def test_opinions_need_no_people_where_the_threshold_is_fixed() -> None:
    silent, groups = np.full(3, NAN), np.arange(3)
    np.testing.assert_array_equal(
        opinion(silent, np.array([1.0, 0.0, NAN]), groups, Scale.BINARY, paired=False), [1, 0, NAN]
    )
    np.testing.assert_array_equal(
        opinion(silent, np.array([2.0, 1.9, NAN]), groups, Scale.RUBRIC, paired=False), [1, 0, NAN]
    )
    np.testing.assert_array_equal(
        opinion(silent, np.array([3.0, -1.0, 0.0]), groups, Scale.SCORE, paired=True), [1, 0, 0.5]
    )
    assert np.isnan(opinion(silent, np.ones(3), groups, Scale.SCORE, paired=False)).all()


@pytest.mark.database
def test_from_cards_to_the_board(services: Services, fake_llm: FakeLLM) -> None:
    endpoint(services, fake_llm)
    endpoint(services, fake_llm, "second", model="other")
    fake_llm.script(reply=GREETING, models=["fake", "other"])
    played(services, ask(WISH, "fake", count=3, seed=1))
    played(services, ask(WISH, "second", count=3, seed=90))
    single = services.flow.campaign(["fake"], CampaignKind.VALIDATE)
    person = services.annotation.enter("小林")
    for number in range(3):
        item = services.annotation.next_item(single.id, person.id)
        assert item is not None
        value = VerdictInput(single.id, item.item_id, int(number > 0), f"v{number}")
        services.annotation.judge_blind(value, person.id)
    board = services.board.board(single.name)
    people = board.models[0]
    assert (people.generator, people.model, people.by, people.n) == ("fake", "fake", "", 3)
    assert people.figure.value == pytest.approx(2 / 3) and people.missing == 0
    assert {row.by for row in board.models} == {"", "length", "style", "ngram"}
    shown = models_table(Say("zh"), board)
    assert "优秀率" in shown and "0.67" in shown
    assert models_table(Say("zh"), replace(board, models=())) == "", "nothing where no model wrote"
    pair = services.flow.campaign(["fake", "second"], CampaignKind.COMPARE)
    with services.database.read() as session:
        query = session.query(GreetingOrigin.greeting_id).filter(GreetingOrigin.generator == "second")
        second = {id_ for (id_,) in query}
    while (item := services.annotation.next_item(pair.id, person.id)) is not None:
        detail = services.annotation.item(item.item_id)
        left_is_a = item.left == detail.a.text
        winner = "a" if (detail.a.id in second) == left_is_a else "b"
        given = ComparisonInput(pair.id, item.item_id, winner, f"c{item.item_id}")
        services.annotation.compare(given, person.id)
    board = services.board.board(pair.name)
    wins = {row.generator: row.figure.value for row in board.models if not row.by}
    assert wins == {"fake": 0.0, "second": 1.0}
    judged = {row.generator: row for row in board.models if row.by == "length"}
    total = sum(row.figure.value or 0 for row in judged.values())
    assert total == pytest.approx(1.0), "one side's win is the other's loss"
    silent = [row for row in board.models if row.by == "ngram"]
    assert all(row.figure.value is None and row.missing == pair.items for row in silent)
