"""Every figure of the golden home, and every hash, is what it was."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.golden.expected import same
from tests.golden.looks import figures, hashes
from tests.golden.looks.home import REFERENCES, House

pytestmark = pytest.mark.database
Masked = Callable[[Any], Any]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures(house: House, masked: Masked, name: str) -> None:
    same(f"figures/{name}", masked(figures.FIGURES[name](house)))


@pytest.mark.parametrize("name", REFERENCES)
def test_boards(house: House, name: str) -> None:
    same(f"boards/{name}", figures.board(house, REFERENCES[name]))


def test_references(house: House) -> None:
    found = figures.references(house)
    assert {one["name"] for one in found} == set(REFERENCES.values()), "a board for each"
    same("figures/references", found)


def test_a_board_that_is_kept_is_the_board_that_was_computed(house: House) -> None:
    assert figures.board(house, REFERENCES["short"]) == figures.board(house, REFERENCES["short"])


@pytest.mark.parametrize("name", hashes.HASHES)
def test_hashes(house: House, name: str) -> None:
    same(f"hashes/{name}", hashes.HASHES[name](house))
