"""A campaign as a human reference: whatever side a greeting stood on, the same choice is the same value."""

import numpy as np
import pytest

from backend.agreement.reference import Reference, read_reference
from backend.annotation.records import CampaignSpec, ComparisonInput
from backend.core.enums import CampaignKind
from backend.services import Services

pytestmark = pytest.mark.database

ITEMS = 30


def labelled(services: Services, names: tuple[str, ...]) -> tuple[Reference, dict[str, str]]:
    """Everybody prefers the greeting whose text sorts first, wherever it is shown."""
    services.corpus.load_seed()
    spec = CampaignSpec("ref", CampaignKind.COMPARE, len(names), "", False, ("seed",), None, None, None, ITEMS, 1, None)
    campaign = services.annotation.create_campaign(spec)
    liked, sides = {}, set()
    for name in names:
        rater = services.annotation.enter(name)
        for number in range(ITEMS):
            item = services.annotation.next_item(campaign.id, rater.id)
            assert item is not None and item.right is not None
            outcome = "a" if item.left < item.right else "b"
            sides.add(outcome)
            liked[item.prompt] = min(item.left, item.right)
            given = ComparisonInput(campaign.id, item.item_id, outcome, f"{rater.id}-{number}")
            services.annotation.compare(given, rater.id)
    assert sides == {"a", "b"}
    with services.database.read() as session:
        return read_reference(session, "ref"), liked


def test_the_side_a_greeting_stood_on_does_not_matter(services: Services) -> None:
    reference, liked = labelled(services, ("one", "two", "three"))
    wanted = [float(unit.a == liked[unit.prompt]) for unit in reference.units]
    assert 0 < sum(wanted) < ITEMS
    np.testing.assert_array_equal(reference.majority(), wanted)
    assert (reference.matrix == reference.matrix[0]).all()


def test_a_campaign_counts_labels_that_are_there(services: Services) -> None:
    labelled(services, ("one",))
    (campaign,) = services.annotation.campaigns()
    rater = services.annotation.enter("one")
    assert [info.labels for info in services.board.references() if info.name == "ref"] == [ITEMS]
    services.annotation.undo(campaign.id, rater.id, "undo-0")
    item = services.annotation.next_item(campaign.id, rater.id)
    assert item is not None
    services.annotation.compare(ComparisonInput(campaign.id, item.item_id, "skip", "skip-0"), rater.id)
    assert [info.labels for info in services.board.references() if info.name == "ref"] == [ITEMS - 1]


def test_a_campaign_whose_answers_were_all_taken_back_is_no_reference(services: Services) -> None:
    labelled(services, ("one",))
    (campaign,) = services.annotation.campaigns()
    rater = services.annotation.enter("one")
    for number in range(ITEMS):
        services.annotation.undo(campaign.id, rater.id, f"undo-{number}")
    assert not [info for info in services.board.references() if info.name == "ref"]
