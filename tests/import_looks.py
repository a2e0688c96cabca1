"""What every part of the application finds, to be compared before, during and after an import."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, select, text

from backend.agreement.reference import list_references
from backend.annotation.campaigns import draw_greetings, draw_pairs
from backend.annotation.records import CampaignSpec
from backend.core.enums import CampaignKind
from backend.core.errors import UserError
from backend.corpus.export import new_export_path
from backend.db.engine import Database
from backend.db.publication import IMPORTED_TABLES
from backend.db.tables import Dataset, Greeting, Prompt
from backend.judges.context import _build_training_pool, _corpus_signature
from backend.judges.examples import collect_liked, likes_stamp
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.preferences.intake import read_source, source_named
from backend.services import Services
from backend.training.snapshot import SnapshotOptions, export_snapshot

TABLES = tuple(table.__tablename__ for table in IMPORTED_TABLES)


def look(services: Services, dataset: str) -> dict[str, Any]:
    """Everything that is found of texts, labels, pairs and clicks; a UserError is found as its sentence."""
    return {name: _found(part) for name, part in _parts(services, dataset).items()}


def _found(part: Any) -> Any:
    try:
        return part()
    except UserError as error:
        return str(error)


def _parts(services: Services, dataset: str) -> dict[str, Any]:
    corpus, database = services.corpus, services.database
    sets = (dataset,)
    target = ScoringTarget(TargetKind.DATASET, dataset)
    return {
        "datasets": lambda: [(each.name, each.prompts, each.greetings, each.pairs) for each in corpus.datasets()],
        "counts": corpus.counts,
        "facets": corpus.facets,
        "facets of it": lambda: corpus.facets(dataset),
        "browse": lambda: corpus.browse(search="信", size=5),
        "browse it": lambda: corpus.browse(dataset=dataset, size=5),
        "export": lambda: _export(services, "labels"),
        "export pairs": lambda: _export(services, "pairs"),
        "references": lambda: _read(database, list_references),
        "board": lambda: services.board.board(dataset).items,
        "stamp of likes": lambda: _read(database, likes_stamp),
        "likes": lambda: len(list(_read(database, lambda session: list(collect_liked(session))))),
        "pool": lambda: _read(
            database, lambda session: (_corpus_signature(session), len(_build_training_pool(session).labels))
        ),
        "snapshot": lambda: export_snapshot(database, services.settings.home, SnapshotOptions()).hash,
        "snapshot of it": lambda: export_snapshot(database, services.settings.home, SnapshotOptions(sets)).hash,
        "draw pairs": lambda: _read(database, lambda s: len(draw_pairs(s, _spec(sets)))),
        "draw all": lambda: _read(database, lambda s: len(draw_greetings(s, _spec(()), None))),
        "requests of it": lambda: len(list(read_source(database, source_named(dataset)))),
        "scoring": lambda: services.scoring.catalog and _read(database, lambda s: _counts(s, target)),
        "by id": lambda: _read(database, lambda s: [s.get(table, 1) and 1 for table in (Prompt, Greeting)]),
        "names": lambda: _read(database, lambda s: list(s.scalars(select(Dataset.name).order_by(Dataset.name)))),
    }


def _counts(session: Any, target: ScoringTarget) -> Any:
    from backend.judges.scoring.targets import GreetingSource

    return GreetingSource(session, target).count_work(session, 0)


def _read(database: Database, ask: Any) -> Any:
    with database.read() as session:
        return ask(session)


def _export(services: Services, what: str) -> tuple[int, dict[str, int]]:
    path: Path = new_export_path(services.settings.home, "x.jsonl")
    done = services.corpus.export(what, "trl", path)
    return done.rows, done.dropped


def _spec(datasets: tuple[str, ...]) -> CampaignSpec:
    return CampaignSpec("x", CampaignKind.COMPARE, 1, "", False, datasets, None, None, None, 50, 1, None)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Every SELECT that is sent meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            found.append(re.sub(r"\s+", " ", statement))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def unhidden(statement: str) -> list[str]:
    """The imported tables that the statement reads without the condition, by name or alias."""
    used = re.findall(rf"(?:FROM|JOIN|,) ({'|'.join(TABLES)})(?![.\w])(?: AS (\w+))?", statement)
    return [alias or table for table, alias in used if f"{alias or table}.import_id IS NULL" not in statement]


def left_over(database: Database) -> dict[str, int]:
    """How many rows of unfinished imports there are, by table; and of rows that refer to nothing."""
    with database.read() as session:
        count = {
            table: session.execute(
                text(
                    f"SELECT count(*) FROM {table} WHERE import_id IN "
                    "(SELECT id FROM imports WHERE finished_at IS NULL)"
                )
            ).scalar()
            for table in TABLES
        }
        count["imports"] = session.execute(text("SELECT count(*) FROM imports WHERE finished_at IS NULL")).scalar()
        count["changes"] = session.execute(text("SELECT count(*) FROM import_changes")).scalar()
        if session.get_bind().dialect.name == "sqlite":
            count["broken references"] = len(session.execute(text("PRAGMA foreign_key_check")).all())
    return {name: number for name, number in count.items() if number}
