"""People before use, and one reviewer: who decided stands with every pair, and what is exported follows."""

import json
import uuid
from pathlib import Path

import pytest

from backend.annotation.records import ReviewInput, VerdictInput
from backend.core.enums import CampaignKind, Decider, PairState, Split
from backend.core.errors import Conflict, NotFound, UserError
from backend.db.tables import Campaign
from backend.preferences.records import HumanChecking, PairDetail, PairFilter
from backend.services import Services
from backend.training.snapshot import SnapshotOptions, export_snapshot
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, house, prompts, prompts_file, request, stored

pytestmark = pytest.mark.database


def made(services: Services, count: int = 12, **options: object) -> int:
    """A finished run of one-call verdicts."""
    given = {"balance_length": False, "balance_style": False, **options}
    source = prompts_file(services, prompts(count))
    run = services.pairs.open(request(services, source, judge="principle", **given))
    services.pairs.run(run.id)
    return run.id


def answer(services: Services, run: int, name: str, translate: dict[str, int]) -> int:
    """One person answers every item of the run's campaign; how many there were."""
    campaign = next(c for c in services.annotation.campaigns() if c.name == services.pairs.find_run(run).campaign)
    rater = services.annotation.enter(name).id
    seen = 0
    while (item := services.annotation.next_item(campaign.id, rater)) is not None:
        given = VerdictInput(campaign.id, item.item_id, translate[item.left], uuid.uuid4().hex)
        judged = services.annotation.judge_blind(given, rater)
        assert judged.reveal is not None, "the judge's verdict comes after one's own"
        review = ReviewInput(campaign.id, item.item_id, None, uuid.uuid4().hex)
        services.annotation.review(review, rater)
        seen += 1
    return seen


def checked(services: Services, run: int, state: PairState = PairState.CHECKING) -> list[PairDetail]:
    rows = services.pairs.pair_page(run, PairFilter(state=state), 0, 1000).rows
    return [services.pairs.pair_detail(row.id) for row in rows]


def test_a_share_waits_for_people_and_they_decide(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = made(services, 20, checking=HumanChecking(0.3, 2))
        waiting = checked(services, run)
        before = stored(services)
        campaign = next(c for c in services.annotation.campaigns() if c.judge)
        assert (campaign.kind, campaign.k, campaign.judge) == (CampaignKind.VALIDATE, 2, "principle")
        assert 0.15 < len(waiting) / (len(waiting) + len(before)) < 0.45
        # The first pair: people agree. The second: they see it the other way. The rest: no difference.
        translate: dict[str, int] = {side.text: 1 for pair in waiting for side in (pair.chosen, pair.rejected)}
        first = waiting[0]
        other = next(
            pair
            for pair in waiting[1:]
            if not {pair.chosen.text, pair.rejected.text} & {first.chosen.text, first.rejected.text}
        )
        translate |= {
            first.chosen.text: 1,
            first.rejected.text: 0,
            other.chosen.text: 0,
            other.rejected.text: 1,
        }
        items = answer(services, run, "小林", translate)
        assert items == len(translate) and services.pairs.settle(run) == 0, "each item waits for its second person"
        assert answer(services, run, "老周", translate) == items
        assert services.pairs.settle(run) == len(waiting) and services.pairs.settle(run) == 0
        agreed, parted = services.pairs.pair_detail(first.id), services.pairs.pair_detail(other.id)
        assert (agreed.state, parted.state) == (PairState.ACCEPTED, PairState.REVIEW)
        assert (agreed.chosen.people, agreed.rejected.people) == ((1.0, 1.0), (0.0, 0.0))
        assert [(d.by, d.state) for d in agreed.decisions] == [
            (Decider.PANEL, PairState.CHECKING),
            (Decider.PEOPLE, PairState.ACCEPTED),
        ]
        after = stored(services)
        assert (first.chosen.greeting, first.rejected.greeting) in after
        assert (other.chosen.greeting, other.rejected.greeting) not in after
        assert set(before) < set(after)
        # Those in review stand first, and only a person can free them.
        page = services.pairs.pair_page(run, PairFilter(), 0, 5)
        assert page.rows[0].state is PairState.REVIEW
        services.pairs.decide(other.id, "flip", "小林", "被拒的更真诚")
        assert (other.rejected.greeting, other.chosen.greeting) in stored(services)
        people = services.pairs.pair_page(run, PairFilter(decided_by=Decider.PEOPLE), 0, 1000)
        assert {row.id for row in people.rows} == {pair.id for pair in waiting} - {other.id}


def test_a_campaign_of_the_same_name_is_no_obstacle(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        first = made(services, 6, name="a", checking=HumanChecking(1.0, 1))
        with services.database.write() as session:
            session.get_one(Campaign, services.annotation.campaigns()[0].id).name = "b · 抽查"
        second = made(services, 6, name="b", checking=HumanChecking(1.0, 1))
        names = [services.pairs.find_run(run).campaign for run in (first, second)]
    assert names == ["b · 抽查", "b · 抽查 2"]


def test_a_closed_campaign_waits_for_nobody(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = made(services, 12, checking=HumanChecking(1.0, 3))
        waiting = checked(services, run)
        assert stored(services) == [] and services.pairs.funnel(run).pairs == 0
        translate = {pair.chosen.text: 1 for pair in waiting} | {pair.rejected.text: 0 for pair in waiting}
        answer(services, run, "小林", translate)
        assert services.pairs.settle(run) == 0
        services.annotation.close_campaign(services.annotation.campaigns()[0].id)
        assert services.pairs.settle(run) == len(waiting)
        assert len(stored(services)) == len(waiting)


def test_a_flip_and_a_discard_change_what_is_exported(home: Path, fake_llm: FakeLLM, tmp_path: Path):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = made(services)
        name = services.pairs.find_run(run).name
        rows = services.pairs.pair_page(run, PairFilter(), 0, 1000).rows
        one, two, three = (services.pairs.pair_detail(row.id) for row in rows[:3])
        services.pairs.decide(one.id, "flip", "小林", seen_state=PairState.PROPOSED)
        services.pairs.decide(two.id, "discard", "小林")
        services.pairs.decide(three.id, "accept", "小林")
        shown = services.pairs.pair_page(run, PairFilter(), 0, 1000).rows
        report = services.pairs.export(run, "trl", tmp_path / "pairs.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
        chat = services.pairs.export(run, "sharegpt", tmp_path / "pairs.json")
        home_ = services.settings.home
        data = export_snapshot(services.database, home_, SnapshotOptions(datasets=(name,)))
        confirmed, judged = (
            export_snapshot(services.database, home_, SnapshotOptions(panel_pairs=asked)) for asked in (False, True)
        )
        everything = [
            services.corpus.export("pairs", "trl", tmp_path / "all.jsonl", panel=asked) for asked in (False, True)
        ]
    told = {(text(row["chosen"]), text(row["rejected"])) for row in lines}
    assert (one.rejected.text, one.chosen.text) in told and (one.chosen.text, one.rejected.text) not in told
    assert not {(two.chosen.text, two.rejected.text), (two.rejected.text, two.chosen.text)} & told
    assert (three.chosen.text, three.rejected.text) in told
    assert report.rows == chat.rows == len(rows) - 1 - report.dropped["leak"]
    turned = next(row for row in shown if row.id == one.id)
    assert (turned.chosen, turned.rejected, turned.by) == (one.rejected.text, one.chosen.text, Decider.PERSON)
    trained = {(row["chosen"], row["rejected"]) for split in Split for row in data.rows("pairs", split)}
    assert (one.rejected.text, one.chosen.text) in trained
    assert (two.chosen.text, two.rejected.text) not in trained
    # Without a data set only what a person decided counts, unless a judge's pairs are asked for.
    mine = {(one.rejected.text, one.chosen.text), (three.chosen.text, three.rejected.text)}
    assert {(row["chosen"], row["rejected"]) for row in confirmed.rows("pairs", Split.TRAIN)} <= mine
    assert confirmed.manifest["dropped"]["panel_pairs"] == everything[0].dropped["panel"] == len(rows) - 3
    assert judged.manifest["files"]["pairs"] == data.manifest["files"]["pairs"]
    assert [each.rows for each in everything] == [2, len(rows) - 1 - report.dropped["leak"]]


def text(value: object) -> str:
    """A side of a TRL row: plain, or a conversation."""
    return value if isinstance(value, str) else value[-1]["content"]  # type: ignore[index,no-any-return]


def test_decisions_can_be_taken_back_and_are_all_remembered(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = made(services, 6)
        before = stored(services)
        pair = services.pairs.pair_page(run, PairFilter()).rows[0].id
        for action in ("discard", "flip", "flip", "accept"):
            services.pairs.decide(pair, action, "小林", f"第 {action} 次")
        found = services.pairs.pair_detail(pair)
        assert [d.state.value for d in found.decisions] == ["discarded", "flipped", "flipped", "accepted"]
        assert {(d.by, d.name) for d in found.decisions} == {(Decider.PERSON, "小林")}
        assert stored(services) == before


def test_a_decision_on_what_has_changed_since_is_refused(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = made(services, 6)
        pair = services.pairs.pair_page(run, PairFilter()).rows[0].id
        services.pairs.decide(pair, "discard", "一")
        with pytest.raises(Conflict, match="look at it again"):
            services.pairs.decide(pair, "flip", "二", seen_state=PairState.PROPOSED)
        for action, number, name in (("burn", pair, ""), ("flip", 9_999, ""), ("flip", pair, "长" * 41)):
            with pytest.raises((UserError, NotFound)):
                services.pairs.decide(number, action, name)
        with pytest.raises(UserError):
            services.pairs.decide(pair, "flip", "a\x00b")
        assert services.pairs.pair_detail(pair).state is PairState.DISCARDED
        assert len(services.pairs.pair_detail(pair).decisions) == 1


def test_filters_of_the_table(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm, "other") as services:
        source = prompts_file(services, prompts(10))
        wish = request(services, source, "fake", "other", balance_length=False, balance_style=False)
        run = services.pairs.open(wish).id
        services.pairs.run(run)
        every = services.pairs.pair_page(run, PairFilter(), 0, 1000)
        turned = services.pairs.pair_page(run, PairFilter(overturned=True), 0, 1000)
        mine = services.pairs.pair_page(run, PairFilter(generator="other"), 0, 1000)
        word = every.rows[0].prompt
        found = services.pairs.pair_page(run, PairFilter(search=word), 0, 1000)
        nothing = services.pairs.pair_page(run, PairFilter(search="100%_"), 0, 1000)
        short = services.pairs.pair_page(run, PairFilter(), 2, 3)
        details = [services.pairs.pair_detail(row.id) for row in every.rows]
    reviewed = {p.id for p in details if p.chosen.details["overturned"] or p.rejected.details["overturned"]}
    assert {row.id for row in turned.rows} == reviewed and 0 < len(reviewed) < every.total
    by = {p.id for p in details if "other" in (p.chosen.generator, p.rejected.generator)}
    assert {row.id for row in mine.rows} == by and 0 < len(by) < every.total
    assert {row.prompt for row in found.rows} == {word} and nothing.total == 0
    assert [row.id for row in short.rows] == [row.id for row in every.rows[2:5]] and short.total == every.total
