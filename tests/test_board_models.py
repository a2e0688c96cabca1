"""A model's figures: shares by hand, sides, ties, silence, and the whole way from cards to the board."""

from dataclasses import replace

import numpy as np
import pytest

from backend.agreement.statistics import minimums
from backend.agreement.statistics.categorical import wilson_interval
from backend.agreement.statistics.judge_rows import judge_opinions, share_of_model
from backend.annotation.records import ComparisonInput, VerdictInput
from backend.core.enums import CampaignKind, Scale
from backend.db.play_tables import GreetingOrigin
from backend.services import Services
from tests.llm_fixtures import FakeLLM
from tests.playing import GREETING, WISH, ask, endpoint, played
from ui.agreement.views import models_table
from ui.components.language import Translator

NAN = np.nan
WISHES = (WISH, "给老师的教师节写一句", "给同事的新年写一句", "给妈妈的生日写一句")


def test_shares_by_hand() -> None:
    said = np.tile([1.0, 0.0, 0.5, NAN, 1.0, 0.0], 4)
    first = np.tile([True, False, True, True, True, False], 4)
    second = np.tile([False, True, False, False, True, False], 4)
    figure = share_of_model(said, first, second, np.arange(24))
    # wins of the model: 1, 1 - 0, half; silence, both sides and neither side do not count.
    assert figure.n == 12 and figure.value == pytest.approx(2.5 / 3)
    figure = share_of_model(np.ones(10), np.ones(10, bool), np.zeros(10, bool), np.repeat([1, 2], 5))
    low, high = wilson_interval(1.0, 2)
    assert (figure.value, figure.low, figure.high) == (1.0, low, high), "two requests count as two"
    none = share_of_model(np.array([NAN]), np.array([True]), np.array([False]), np.array([1]))
    assert none.value is None and none.n == 0


def test_opinions_need_no_people_where_the_threshold_is_fixed() -> None:
    silent, groups = np.full(3, NAN), np.arange(3)
    np.testing.assert_array_equal(
        judge_opinions(silent, np.array([1.0, 0.0, NAN]), groups, Scale.BINARY, is_paired=False), [1, 0, NAN]
    )
    np.testing.assert_array_equal(
        judge_opinions(silent, np.array([2.0, 1.9, NAN]), groups, Scale.RUBRIC, is_paired=False), [1, 0, NAN]
    )
    np.testing.assert_array_equal(
        judge_opinions(silent, np.array([3.0, -1.0, 0.0]), groups, Scale.SCORE, is_paired=True), [1, 0, 0.5]
    )
    assert np.isnan(judge_opinions(silent, np.ones(3), groups, Scale.SCORE, is_paired=False)).all()


@pytest.mark.database
def test_from_cards_to_the_board(services: Services, fake_llm: FakeLLM) -> None:
    endpoint(services, fake_llm)
    endpoint(services, fake_llm, "second", model="other")
    fake_llm.script(reply=GREETING, models=["fake", "other"])
    for number, asked in enumerate(WISHES):
        played(services, ask(asked, "fake", count=3, seed=1 + number))
        played(services, ask(asked, "second", count=3, seed=90 + number))
    single = services.flow.create_campaign(["fake"], CampaignKind.VALIDATE)
    person = services.annotation.enter("小林")
    assert single.items == 12
    for number in range(9):
        item = services.annotation.next_item(single.id, person.id)
        assert item is not None
        value = VerdictInput(single.id, item.item_id, int(number > 2), f"v{number}")
        services.annotation.judge_blind(value, person.id)
    few = services.board.board(single.name).models[0]
    assert few.figure.value is None and few.figure.why == minimums.too_few_items(9)
    for number in range(9, 12):
        item = services.annotation.next_item(single.id, person.id)
        assert item is not None
        services.annotation.judge_blind(VerdictInput(single.id, item.item_id, int(number > 9), f"v{number}"), person.id)
    board = services.board.board(single.name)
    people = board.models[0]
    assert (people.generator, people.model, people.by, people.n) == ("fake", "fake", "", 12)
    assert people.figure.value == pytest.approx(8 / 12)
    assert (people.ties, people.missing, people.never_asked) == (0, 0, 0)
    assert (few.n, few.missing, few.never_asked) == (9, 3, 3), "nobody was asked for the last three"
    assert {row.by for row in board.models} == {"", "length", "style", "ngram"}
    shown = models_table(Translator("zh"), board)
    assert "优秀率" in shown and "0.67" in shown
    assert models_table(Translator("zh"), replace(board, models=())) == "", "nothing where no model wrote"
    pair = services.flow.create_campaign(["fake", "second"], CampaignKind.COMPARE)
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
    assert all(row.never_asked == 0 for row in silent), "it was asked, but has nothing to learn from"
