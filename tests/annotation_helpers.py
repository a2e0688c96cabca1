"""A small corpus, a clock that can be moved, and campaigns for the annotation tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.annotation.records import CampaignInfo, CampaignSpec
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind, RaterKind, Scale, Source, Split
from backend.core.text import digest
from backend.db.engine import Database
from backend.db.tables import Dataset, DatasetEntry, Greeting, PreferencePair, Prompt, Rater, Verdict

LEASE = 600

SPEC = CampaignSpec(
    name="测试",
    kind=CampaignKind.COMPARE,
    k=1,
    instructions="",
    rubric=False,
    datasets=(),
    occasion=None,
    recipient=None,
    style=None,
    limit=1000,
    seed=7,
    judge=None,
)


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def service(database: Database, clock: Clock) -> AnnotationService:
    """Annotation by that clock, with leases of `LEASE` seconds."""
    return AnnotationService(database, LEASE, clock)


def add_corpus(
    database: Database, prompts: int, *, name: str = "demo", pairs: bool = True, occasion: str = "生日"
) -> None:
    """`prompts` prompts with two greetings each in data set `name`, the first one chosen."""
    with database.write() as session:
        dataset = Dataset(name=name, kind="seed")
        session.add(dataset)
        session.flush()
        for number in range(prompts):
            words = f"{name}请求{number}"
            prompt = Prompt(text=words, text_hash=digest(words), split=Split.TRAIN, occasion=occasion)
            session.add(prompt)
            session.flush()
            texts = (f"{name}好祝福{number}", f"{name}弱祝福{number}")
            greetings = [
                Greeting(prompt_id=prompt.id, text=text, text_hash=digest(text), source=Source.HUMAN) for text in texts
            ]
            session.add_all(greetings)
            session.flush()
            for greeting in greetings:
                session.add(DatasetEntry(dataset_id=dataset.id, prompt_id=prompt.id, greeting_id=greeting.id))
            if pairs:
                session.add(
                    PreferencePair(
                        dataset_id=dataset.id,
                        prompt_id=prompt.id,
                        chosen_id=greetings[0].id,
                        rejected_id=greetings[1].id,
                        origin="seed",
                    )
                )


def add_judge(
    database: Database,
    name: str,
    greeting_ids: list[int],
    reason: str = "裁判的秘密理由",
    version: str = "v1",
) -> int:
    """A judge that found every one of the greetings excellent."""
    with database.write() as session:
        judge = Rater(kind=RaterKind.JUDGE, name=name, version=version)
        session.add(judge)
        session.flush()
        for greeting_id in greeting_ids:
            session.add(
                Verdict(rater_id=judge.id, greeting_id=greeting_id, value=1.0, scale=Scale.BINARY, reason=reason)
            )
        return judge.id


def greeting_ids(database: Database) -> list[int]:
    """Every greeting's id."""
    with database.read() as session:
        return [greeting.id for greeting in session.query(Greeting).order_by(Greeting.id)]


def campaign(service: AnnotationService, **changes: object) -> CampaignInfo:
    """A campaign like SPEC with some fields changed."""
    return service.create_campaign(replace(SPEC, **changes))  # type: ignore[arg-type]
