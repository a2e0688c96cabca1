"""Campaigns: what is drawn, what is refused, what the counts say."""

import pytest
from sqlalchemy import event, select

from backend.annotation.records import ComparisonInput
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind
from backend.core.errors import NotFound, UserError
from backend.db.engine import Database
from backend.db.tables import Greeting, Item, PreferencePair
from tests.annotation_helpers import LEASE, add_corpus, add_judge, campaign, greeting_ids


@pytest.fixture
def service(database: Database) -> AnnotationService:
    return AnnotationService(database, LEASE)


def _items(database: Database, campaign_id: int) -> list[Item]:
    with database.read() as session:
        return list(session.scalars(select(Item).where(Item.campaign_id == campaign_id).order_by(Item.position)))


def test_compare_items_are_the_stored_pairs_in_random_order_and_sides(
    database: Database, service: AnnotationService
) -> None:
    add_corpus(database, 200)
    made = campaign(service, limit=100)
    items = _items(database, made.id)
    with database.read() as session:
        chosen = {pair.prompt_id: pair.chosen_id for pair in session.scalars(select(PreferencePair))}
    a_is_chosen = sum(chosen[item.prompt_id] == item.greeting_a_id for item in items)
    assert made.items == len(items) == 100
    assert 30 < a_is_chosen < 70
    assert [item.position for item in items] == list(range(100))
    assert [item.prompt_id for item in items] != sorted(item.prompt_id for item in items)
    assert len({item.prompt_id for item in items}) == 100


def test_a_sample_spreads_over_the_corpus_and_over_both_greetings(
    database: Database, service: AnnotationService
) -> None:
    add_corpus(database, 500)
    made = campaign(service, kind=CampaignKind.VALIDATE, limit=200)
    ids = [item.greeting_a_id for item in _items(database, made.id)]
    assert 70 < sum(one % 2 for one in ids) < 130
    assert 70 < sum(one > 500 for one in ids) < 130


def test_the_same_seed_draws_the_same_and_another_seed_differs(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 50)

    def drawn(name: str, seed: int) -> list[tuple[int, int | None]]:
        made = campaign(service, name=name, seed=seed, limit=20)
        return [(item.greeting_a_id, item.greeting_b_id) for item in _items(database, made.id)]

    first = drawn("一", 3)
    assert first == drawn("二", 3)
    assert first != drawn("三", 4)


def test_without_pairs_two_greetings_of_a_prompt_are_compared(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 10, pairs=False)
    made = campaign(service)
    with database.read() as session:
        prompt_of = {greeting.id: greeting.prompt_id for greeting in session.scalars(select(Greeting))}
    for item in _items(database, made.id):
        assert item.greeting_b_id is not None
        assert prompt_of[item.greeting_a_id] == prompt_of[item.greeting_b_id] == item.prompt_id
    assert made.items == 10


def test_filters_and_data_sets_narrow_the_draw(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 5, name="one", occasion="生日")
    add_corpus(database, 7, name="two", occasion="除夕")
    assert campaign(service, name="a", datasets=("two",)).items == 7
    assert campaign(service, name="b", occasion="生日").items == 5
    assert campaign(service, name="c").items == 12
    assert campaign(service, name="d", kind=CampaignKind.VALIDATE, datasets=("one",)).items == 10
    with pytest.raises(UserError, match="matches 0 prompts"):
        campaign(service, name="e", datasets=("one",), occasion="除夕")


def test_a_validate_campaign_holds_what_its_judge_has_judged(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 5)
    add_judge(database, "panel", greeting_ids(database)[:4])
    made = campaign(service, kind=CampaignKind.VALIDATE, judge="panel")
    assert (made.items, made.judge) == (4, "panel")
    with pytest.raises(UserError, match="known: panel"):
        campaign(service, name="x", kind=CampaignKind.VALIDATE, judge="nobody")


def test_a_newer_version_with_few_verdicts_does_not_shrink_a_validate_campaign(
    database: Database, service: AnnotationService
) -> None:
    add_corpus(database, 5)
    add_corpus(database, 4, name="other")
    ids = greeting_ids(database)
    first, rest = ids[:10], ids[10:]
    add_judge(database, "panel", first)
    add_judge(database, "panel", first[:3] + rest, version="v2")
    validate = {"kind": CampaignKind.VALIDATE, "judge": "panel"}
    assert campaign(service, name="a", datasets=("demo",), **validate).items == 10
    assert campaign(service, name="b", datasets=("other",), **validate).items == len(rest)
    add_judge(database, "panel", first, version="v3")
    assert campaign(service, name="c", datasets=("demo",), **validate).items == 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "  "}, "name is empty"),
        ({"name": "a\x00b"}, "control"),
        ({"name": "长" * 61}, "at most 60"),
        ({"name": "已有"}, "already"),
        ({"k": 0}, "from 1 to 20"),
        ({"k": 21}, "from 1 to 20"),
        ({"limit": 0}, "from 1 to"),
        ({"seed": -1}, "seed"),
        ({"kind": "poll"}, "kind must be one of"),
        ({"datasets": ("none",)}, "no data set named “none”"),
        ({"judge": "panel"}, "Only a validate campaign"),
    ],
)
def test_a_wrong_wish_is_one_sentence_in_both_languages(
    database: Database, service: AnnotationService, changes: dict[str, object], sentence: str
) -> None:
    add_corpus(database, 2)
    campaign(service, name="已有")
    with pytest.raises(UserError, match=sentence) as caught:
        campaign(service, **changes)
    assert caught.value.text("zh") and "\n" not in caught.value.text("zh")
    assert [info.name for info in service.campaigns()] == ["已有"]


def test_counts_and_a_constant_number_of_queries(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 3)
    made = campaign(service, k=2)
    campaign(service, name="另一个")
    people = [service.enter(name).id for name in ("甲", "乙")]
    for person in people:
        view = service.next_item(made.id, person)
        assert view is not None
        service.compare(ComparisonInput(made.id, view.item_id, "a", f"r{person}"), person)
    service.next_item(made.id, people[0])
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    infos = {info.name: info for info in service.campaigns()}
    first = len(seen)
    found = infos["测试"]
    assert (found.items, found.finished, found.labels, found.raters) == (3, 1, 2, 2)
    assert (infos["另一个"].finished, infos["另一个"].labels) == (0, 0)
    campaign(service, name="第三个")
    seen.clear()
    service.campaigns()
    assert len(seen) == first


def test_a_closed_campaign_takes_no_answers_until_reopened(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 2)
    made = campaign(service)
    person = service.enter("甲").id
    view = service.next_item(made.id, person)
    assert view is not None
    service.close_campaign(made.id)
    with pytest.raises(UserError, match="closed"):
        service.next_item(made.id, person)
    with pytest.raises(UserError, match="closed"):
        service.compare(ComparisonInput(made.id, view.item_id, "a", "r"), person)
    service.reopen_campaign(made.id)
    assert service.compare(ComparisonInput(made.id, view.item_id, "a", "r"), person).created
    with pytest.raises(NotFound):
        service.close_campaign(99)


def test_names_are_cleaned_and_checked(service: AnnotationService) -> None:
    known = service.enter("  小明 ")
    assert known.name == "小明"
    assert service.enter("小明") == known == service.rater(known.id)
    for wrong in ("", "   ", "长" * 41, "a\nb", "a\u200bb", "a\x07b"):
        with pytest.raises(UserError):
            service.enter(wrong)
    with pytest.raises(NotFound):
        service.rater(99)
