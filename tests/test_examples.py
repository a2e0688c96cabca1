"""Examples from the corpus: who liked what, what is left out, and the index that follows the corpus."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale, Source, Split
from backend.core.errors import UserError
from backend.core.text import assign_split, digest
from backend.db.base import utc_now
from backend.db.tables import Campaign, Comparison, Greeting, Item, PreferencePair, Prompt, Rater, Verdict
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.examples import EXAMPLES_FOLDER, collect_liked
from backend.judges.registry import ExampleRequest, describe_judge
from backend.judges.scoring.run import run_blocking
from backend.services import Services
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import house, request, verdicts

pytestmark = pytest.mark.database


def prompts_of(split: Split, count: int) -> list[str]:
    """Requests that fall into a split."""
    made = (f"给第{n}位妈妈的生日祝福" for n in range(10_000))
    found = [text for text in made if assign_split(text) is split]
    return found[:count]


class Corpus:
    """Puts greetings and votes straight into the tables."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.raters = 0

    def greeting(self, prompt: str, text: str) -> int:
        with self.services.database.write() as session:
            row = session.scalar(select(Prompt).where(Prompt.text == prompt))
            if row is None:
                row = Prompt(text=prompt, text_hash=digest(prompt), split=assign_split(prompt))
                session.add(row)
                session.flush()
            made = Greeting(prompt_id=row.id, text=text, text_hash=digest(text), source=Source.MODEL)
            session.add(made)
            session.flush()
            return made.id

    def rater(self, kind: RaterKind = RaterKind.HUMAN) -> int:
        self.raters += 1
        with self.services.database.write() as session:
            made = Rater(kind=kind, name=f"r{self.raters}", version="", config={})
            session.add(made)
            session.flush()
            return made.id

    def verdict(self, greeting: int, value: float | None, rater: int, **more: object) -> int:
        with self.services.database.write() as session:
            made = Verdict(rater_id=rater, greeting_id=greeting, value=value, **{"scale": Scale.BINARY, **more})
            session.add(made)
            session.flush()
            return made.id

    def compare(self, left: int, right: int, outcome: Outcome, rater: int, **more: object) -> int:
        with self.services.database.write() as session:
            campaign = session.scalar(select(Campaign)) or Campaign(name="c", kind=CampaignKind.COMPARE)
            session.add(campaign)
            session.flush()
            item = session.scalar(select(Item).where(Item.greeting_a_id == left, Item.greeting_b_id == right))
            if item is None:
                prompt = session.get_one(Greeting, left).prompt_id
                place = len(session.scalars(select(Item)).all())
                item = Item(
                    campaign_id=campaign.id,
                    position=place,
                    prompt_id=prompt,
                    greeting_a_id=left,
                    greeting_b_id=right,
                )
                session.add(item)
                session.flush()
            made = Comparison(
                rater_id=rater, item_id=item.id, left_id=left, right_id=right, outcome=outcome,
                request_id=f"{utc_now().isoformat()}{left}{right}{rater}{more}"[:64], **more,
            )  # fmt: skip
            session.add(made)
            session.flush()
            return made.id

    def votes(self) -> dict[str, tuple[int, int]]:
        with self.services.database.read() as session:
            return {one.greeting: (one.likes, one.dislikes) for _, one in collect_liked(session)}


@pytest.fixture
def corpus(services: Services) -> Corpus:
    return Corpus(services)


def test_people_and_labels_vote_and_judges_do_not(corpus: Corpus) -> None:
    prompt = prompts_of(Split.TRAIN, 1)[0]
    ids = {name: corpus.greeting(prompt, name) for name in "甲乙丙丁戊己庚"}
    human, other, judge = corpus.rater(), corpus.rater(RaterKind.DATASET), corpus.rater(RaterKind.JUDGE)
    corpus.verdict(ids["甲"], 1.0, human)
    corpus.verdict(ids["甲"], 1.0, other)
    corpus.verdict(ids["乙"], 0.0, human)
    corpus.verdict(ids["丙"], 1.0, judge)
    corpus.verdict(ids["丁"], 2.4, human, scale=Scale.RUBRIC)
    corpus.verdict(ids["戊"], 1.2, human, scale=Scale.RUBRIC)
    corpus.verdict(ids["己"], None, human)
    corpus.verdict(ids["庚"], 1.0, human, withdrawn=True)
    assert corpus.votes() == {"甲": (2, 0), "乙": (0, 1), "丁": (1, 0), "戊": (0, 1)}


def test_only_the_last_word_of_a_person_counts(corpus: Corpus) -> None:
    prompt = prompts_of(Split.TRAIN, 1)[0]
    first, second = corpus.greeting(prompt, "甲"), corpus.greeting(prompt, "乙")
    human = corpus.rater()
    old = corpus.verdict(first, 1.0, human)
    corpus.verdict(first, 0.0, human, revision=1, supersedes_id=old)
    was = corpus.compare(first, second, Outcome.A, human)
    corpus.compare(first, second, Outcome.BOTH_GOOD, human, revision=1, supersedes_id=was)
    assert corpus.votes() == {"甲": (1, 1), "乙": (1, 0)}


def test_comparisons_and_pairs_of_people_vote(corpus: Corpus) -> None:
    prompt = prompts_of(Split.TRAIN, 1)[0]
    a, b, c, d = (corpus.greeting(prompt, name) for name in "甲乙丙丁")
    one, two = corpus.rater(), corpus.rater()
    corpus.compare(a, b, Outcome.A, one)
    corpus.compare(a, b, Outcome.BOTH_BAD, two)
    corpus.compare(c, d, Outcome.SKIP, one)
    with corpus.services.database.write() as session:
        known = corpus.services.corpus.datasets()
        assert not known
        from backend.db.tables import Dataset

        data = Dataset(name="d", kind="pairs")
        session.add(data)
        session.flush()
        chosen = {"dataset_id": data.id, "prompt_id": session.get_one(Greeting, c).prompt_id}
        session.add(PreferencePair(**chosen, chosen_id=c, rejected_id=d, origin="import"))
        session.add(PreferencePair(**chosen, chosen_id=d, rejected_id=c, origin="panel"))
    assert corpus.votes() == {"甲": (1, 1), "乙": (0, 2), "丙": (1, 0), "丁": (0, 1)}


def test_imported_clicks_are_likes_and_only_grow(services: Services, home: Path) -> None:
    prompt = prompts_of(Split.TRAIN, 1)[0]

    def bring(*rows: tuple[str, object]) -> int:
        path = home / "clicks.csv"
        lines = ["请求,祝福语,点击数", *(f"{prompt},{text},{clicks}" for text, clicks in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
        return services.corpus.import_file(path, skip_bad=True).rejected

    assert bring(("甲", 12), ("乙", 0), ("丙", ""), ("丁", "many"), ("戊", -1)) == 2
    corpus = Corpus(services)
    assert corpus.votes() == {"甲": (12, 0)}
    before = services.examples.index().name
    bring(("甲", 30), ("甲", 20), ("乙", 1))
    assert corpus.votes() == {"甲": (30, 0), "乙": (1, 0)}
    bring(("甲", 5))
    assert corpus.votes()["甲"] == (30, 0)
    assert services.examples.index().name != before
    assert [one.greeting for one in services.examples.index().liked[0]] == ["甲", "乙"]


def test_a_visitors_last_click_counts(corpus: Corpus) -> None:
    from backend.core.enums import CardState
    from backend.db.play_tables import PlayCard, PlayRound, PlaySignal

    train, test = prompts_of(Split.TRAIN, 1)[0], prompts_of(Split.TEST, 1)[0]
    clicks = {
        train: [("甲", "v1", 1), ("甲", "v2", 1), ("甲", "v2", 0), ("乙", "v1", -1)],
        test: [("丙", "v1", 1)],
    }
    with corpus.services.database.write() as session:
        for number, (prompt, signals) in enumerate(clicks.items()):
            asked = PlayRound(token=f"t{number}", visitor="v1", prompt=prompt, wish={}, seed=1)
            session.add(asked)
            session.flush()
            cards: dict[str, int] = {}
            for place, (text, visitor, value) in enumerate(signals):
                if text not in cards:
                    card = PlayCard(
                        round_id=asked.id, generator="g", model="m", place=place, state=CardState.DONE,
                        text=text, seed=1, sampling={},
                    )  # fmt: skip
                    session.add(card)
                    session.flush()
                    cards[text] = card.id
                session.add(
                    PlaySignal(card_id=cards[text], visitor=visitor, value=value, request_id=f"{number}-{place}")
                )
                session.flush()
    assert corpus.votes() == {"甲": (1, 0), "乙": (0, 1)}


def test_nothing_of_the_evaluation_splits_is_an_example(corpus: Corpus) -> None:
    human = corpus.rater()
    train, other = prompts_of(Split.TRAIN, 2)
    for split in (Split.VALIDATION, Split.TEST):
        for prompt in prompts_of(split, 3):
            corpus.verdict(corpus.greeting(prompt, f"考题：{prompt}"), 1.0, human)
    shared = f"考题：{prompts_of(Split.TEST, 1)[0]}"
    corpus.verdict(corpus.greeting(train, shared), 1.0, human)
    corpus.verdict(corpus.greeting(train, f" {shared}！"), 1.0, human)
    corpus.verdict(corpus.greeting(other, "只在训练里"), 1.0, human)
    reworded = f"请帮我写一条{prompts_of(Split.TEST, 1)[0]}语"
    if assign_split(reworded) is Split.TRAIN:
        corpus.verdict(corpus.greeting(reworded, "换了说法的考题"), 1.0, human)
    assert corpus.votes() == {"只在训练里": (1, 0)}
    found = run_blocking(corpus.services.examples.retriever(ExampleRequest(10)).examples(train))
    assert [one.greeting for one in found] == ["只在训练里"]


def test_the_seed_corpus_gives_examples_for_its_own_requests_without_itself(services: Services) -> None:
    services.corpus.load_seed()
    with services.database.read() as session:
        rows = session.execute(
            select(Prompt.text, Greeting.text).join(Greeting, Greeting.prompt_id == Prompt.id).limit(120)
        ).all()
        evaluated = set(session.scalars(select(Prompt.text).where(Prompt.split != Split.TRAIN)))
    retriever = services.examples.retriever(ExampleRequest(3))
    for prompt, text in rows:
        found = run_blocking(retriever.examples(prompt, text))
        assert all(one.prompt != prompt and one.greeting != text for one in found)
        assert not {one.prompt for one in found} & evaluated


def test_the_index_is_built_once_and_again_when_the_corpus_changed(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.judges.examples import ExampleService
    from backend.judges.retrieval import ExampleIndex

    built: list[int] = []
    build = ExampleIndex.build.__func__

    def counted(cls: type[ExampleIndex], entries: object) -> ExampleIndex:
        built.append(1)
        made: ExampleIndex = build(cls, entries)
        return made

    monkeypatch.setattr(ExampleIndex, "build", classmethod(counted))
    services, human = corpus.services, corpus.rater()
    first = corpus.greeting(prompts_of(Split.TRAIN, 1)[0], "甲")
    corpus.verdict(first, 1.0, human)
    one = services.examples.index()
    assert services.examples.index() is one and len(built) == 1
    fresh = ExampleService(services.database, services.settings.home)
    assert fresh.index().name == one.name and len(built) == 1
    corpus.verdict(corpus.greeting(prompts_of(Split.TRAIN, 2)[1], "乙"), 1.0, human)
    two = services.examples.index()
    assert two.greeting_count == 2 and len(built) == 2
    assert services.examples.index(one.name).greeting_count == 1
    with pytest.raises(UserError, match="no longer there"):
        services.examples.index("0123456789ab")
    with pytest.raises(UserError, match="no longer there"):
        services.examples.index("../../etc")


def test_a_damaged_index_is_built_again(corpus: Corpus) -> None:
    from backend.judges.examples import ExampleService

    services = corpus.services
    corpus.verdict(corpus.greeting(prompts_of(Split.TRAIN, 1)[0], "甲"), 1.0, corpus.rater())
    made = services.examples.index()
    folder: Path = services.settings.home / EXAMPLES_FOLDER / made.name
    for path in (folder / "entries.json", folder / "words" / "vocab.index.json"):
        path.write_text("{", "utf-8")
        again = ExampleService(services.database, services.settings.home).index()
        assert again.name == made.name and again.greeting_count == 1


def test_a_panel_is_shown_examples_and_keeps_them_and_its_version_names_the_index(
    fake_llm: FakeLLM, home: Path
) -> None:
    fake_llm.script(reply="tests.judge_replies:panel")
    with house(fake_llm, 10) as services:
        services.corpus.load_seed()
        spec = JudgeSpec(JudgeKind.PANEL, "panel-3", "fake", {"examples": 2})
        saved = services.scoring.catalog.save(spec)
        wanted = services.scoring.catalog.resolve("panel-3")
        final = services.scoring.run(request(services, "panel-3"))
        assert final.scored == 10 and final.version == saved.version
        stored = verdicts(services, "panel-3")
        shown = [row.dimensions["examples"] for rows in stored.values() for row in rows]
        assert all(1 <= len(one) <= 2 for one in shown)
        for text, rows in stored.items():
            assert text not in json.dumps(rows[0].dimensions["examples"], ensure_ascii=False)
        bodies = fake_llm.state()["bodies"]
        assert all("范例" in body["messages"][-1]["content"] for body in bodies)
        pinned = services.scoring.pin_examples(wanted)
        assert pinned.config["index"] == services.examples.index().name
        corpus = Corpus(services)
        corpus.verdict(corpus.greeting(prompts_of(Split.TRAIN, 1)[0], "新受欢迎的一条"), 1.0, corpus.rater())
        house_ = services.scoring._build_context()
        assert describe_judge(pinned, house_).version == saved.version
        assert describe_judge(wanted, house_).version != saved.version


def test_a_panel_without_examples_does_not_touch_the_index(fake_llm: FakeLLM, home: Path) -> None:
    fake_llm.script(reply="tests.judge_replies:panel")
    with house(fake_llm, 5) as services:
        assert services.scoring.run(request(services, "panel")).scored == 5
        services.scoring.preview(JudgeSpec(JudgeKind.PANEL, "p", "fake", {"examples": 3}), _sample())
        assert not (services.settings.home / EXAMPLES_FOLDER).exists()


@pytest.mark.parametrize("config", [{"examples": 11}, {"examples": "x"}, {"examples": 1, "embeddings": "none"}])
def test_wishes_that_cannot_be_are_refused(fake_llm: FakeLLM, home: Path, config: dict[str, object]) -> None:
    with house(fake_llm) as services, pytest.raises(UserError):
        services.scoring.catalog.save(JudgeSpec(JudgeKind.PANEL, "p", "fake", config))


def _sample():  # type: ignore[no-untyped-def]
    from backend.judges.base import Sample

    return Sample("给妈妈的生日祝福", "妈，生日快乐。")
