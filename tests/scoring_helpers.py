"""A house with an endpoint at the fake server and greetings to judge."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from backend.core.settings import Settings
from backend.db.tables import Comparison, Greeting, Rater, Verdict
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.llm.endpoints import EndpointInput
from backend.services import Services, build_services
from tests.llm_fixtures import FakeLLM

DATA = ScoringTarget(TargetKind.DATASET, "data")


@contextmanager
def house(fake: FakeLLM, items: int = 0, **endpoint: object) -> Iterator[Services]:
    """Services with the endpoint "fake" and, where asked for, a data set "data"."""
    services = build_services(Settings.load())
    given = {"base_url": fake.base_url, "model": "fake", "price_in": 1.0, "price_out": 2.0, **endpoint}
    services.endpoints.save(EndpointInput("fake", **given))  # type: ignore[arg-type]
    if items:
        services.corpus.import_file(data_file(services.settings.home, items))
    try:
        yield services
    finally:
        services.close()


def data_file(folder: Path, items: int) -> Path:
    """Labelled greetings, five a request."""
    path = folder / "data.jsonl"
    rows = [{"query": f"给第{n // 5}位朋友的生日祝福", "response": greeting(n), "label": n % 2} for n in range(items)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def greeting(n: int) -> str:
    """The text of item n."""
    return f"第{n}号祝福：生日快乐，愿你的每一天都有新的欢喜。"


def request(
    services: Services, judge: str = "principle", target: ScoringTarget = DATA, **options: object
) -> ScoreRequest:
    """A run of a judge over the data set."""
    spec = services.scoring.catalog.resolve(judge)
    return ScoreRequest(spec, target, **options)  # type: ignore[arg-type]


def verdicts(services: Services, judge: str = "principle") -> dict[str, list[Verdict]]:
    """Every verdict of a judge, by text, in order of revision."""
    with services.database.read() as session:
        rows = session.execute(
            select(Greeting.text, Verdict)
            .join(Verdict, Verdict.greeting_id == Greeting.id)
            .join(Rater, Rater.id == Verdict.rater_id)
            .where(Rater.name == judge)
            .order_by(Verdict.revision)
        ).all()
    found: dict[str, list[Verdict]] = {}
    for text, verdict in rows:
        found.setdefault(text, []).append(verdict)
    return found


def comparisons(services: Services, judge: str = "pairwise") -> list[Comparison]:
    """Every comparison of a judge."""
    with services.database.read() as session:
        query = select(Comparison).join(Rater, Rater.id == Comparison.rater_id).where(Rater.name == judge)
        return list(session.scalars(query.order_by(Comparison.item_id, Comparison.revision)))
