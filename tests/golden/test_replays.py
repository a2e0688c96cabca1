"""What models said once is found again by today's requests: nothing here asks anybody (see conftest)."""

import pytest

from tests.golden.expected import same
from tests.golden.looks import replays
from tests.golden.looks.home import House

pytestmark = pytest.mark.database


@pytest.mark.parametrize("judge", replays.ASKED_JUDGES)
def test_a_judge_that_scores_again_finds_every_answer(own_house: House, judge: int) -> None:
    again = replays.scored_again(own_house, judge)
    assert again["calls"] == 0 and again["state"] == "done" and again["differ"] == []
    same(f"replays/judge-{judge}", again)


def test_a_run_of_pairs_goes_on_to_its_end(own_house: House) -> None:
    done = replays.run_goes_on(own_house)
    assert done["calls"] == 0 and done["state"] == "done"
    same("replays/pair-run", done)


@pytest.mark.parametrize("run", [1, 2])
def test_a_run_makes_its_pairs_once_more(own_house: House, run: int) -> None:
    again = replays.paired_again(own_house, run)
    assert all(again[name] for name in ("pairs", "twice", "items", "report"))
    same(f"replays/paired-{run}", again)


def test_the_index_of_examples_is_built_the_same(own_house: House) -> None:
    again = replays.indexed_again(own_house)
    assert again["stored"] == again["fresh"]
    same("replays/index", again)


def test_new_campaigns_draw_the_same(own_house: House) -> None:
    same("replays/drawn", replays.drawn(own_house))


@pytest.mark.parametrize("run", [1, 2])
def test_a_game_is_the_same_game(own_house: House, run: int) -> None:
    again = replays.game_again(own_house, run)
    assert again["same"]
    same(f"replays/game-{run}", again)


def test_versions_compare_as_before(own_house: House) -> None:
    again = replays.comparison_again(own_house)
    assert again["same"]
    same("replays/comparison", again)


@pytest.mark.parametrize(("judge", "most"), [(12, 4), (20, 6)])
def test_a_judge_that_is_tried_on_what_it_knows(own_house: House, judge: int, most: int) -> None:
    """The second one finds its examples by meaning, among vectors that the home keeps."""
    again = replays.tried_again(own_house, judge, most)
    assert len(again) == most
    assert all(one["before"] == [one["now"]["value"], one["now"]["reason"]] for one in again)
    same(f"replays/tried-{judge}", again)
