"""Migrations and models say the same, both ways, and the database itself refuses what must not be."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale, Source, Split
from backend.core.errors import UserError
from backend.db import job_tables, llm_tables, pair_tables, play_tables, principle_tables, tables  # noqa: F401
from backend.db.base import Base
from backend.db.engine import Database
from backend.db.migrate import alembic_config, list_revisions, migrate, run_migrations, stored_revision
from backend.db.tables import Campaign, Comparison, Greeting, Item, Prompt, Rater, Verdict
from tests.postgres import EITHER

pytestmark = pytest.mark.database


def difference(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


@EITHER
def test_models_and_migrations_agree(database: Database) -> None:
    assert difference(database) == []


@EITHER
def test_up_down_up(database: Database) -> None:
    run_migrations(database, "base", is_upgrade=False)
    assert [name for name in inspect(database.engine).get_table_names() if name != "alembic_version"] == []
    migrate(database)
    assert difference(database) == []


@EITHER
def test_every_single_step_goes_down_and_up_again(database: Database) -> None:
    for _ in range(3):
        run_migrations(database, "-1", is_upgrade=False)
    assert stored_revision(database) is None or stored_revision(database) != "head"
    migrate(database)
    assert difference(database) == []


@EITHER
def test_what_runs_of_the_game_stood_at_comes_through_0014_both_ways(database: Database) -> None:
    stored = ["", "2.adversary", "10.gate_d", "0.locked", "3 planted flaws wait for a person.", "1. 等人", "2.x y"]
    columns = "id, dataset, settings, endpoints, caps, labels, labels_hash, detector_id, generator_id, state, calls"
    values = "'world', '{}', '{}', '{}', '{}', 'h', 1, 1, 'paused', 7, 0, 0.5, '2026-01-01 00:00:00'"
    run_migrations(database, "0013", is_upgrade=False)
    with database.write() as session:
        for number, told in enumerate(stored, 1):
            session.execute(
                text(
                    f"INSERT INTO principle_runs ({columns}, tokens, cost, created_at, told, player_pid) "
                    f"VALUES (:id, {values}, :told, 5)"
                ),
                {"id": number, "told": told},
            )
    migrate(database)
    with database.read() as session:
        found = session.execute(text("SELECT phase, message, calls, cost FROM principle_runs ORDER BY id")).all()
    phases = [None, "2.adversary", "10.gate_d", "0.locked", None, None, None]
    messages = ["", "", "", "", *stored[4:]]
    assert [tuple(row) for row in found] == [(*pair, 7, 0.5) for pair in zip(phases, messages, strict=True)]
    run_migrations(database, "0013", is_upgrade=False)
    with database.read() as session:
        query = "SELECT told, player_pid, stop_wished FROM principle_runs ORDER BY id"
        back = session.execute(text(query)).all()
    assert [tuple(row) for row in back] == [(told, None, False) for told in stored]
    migrate(database)
    assert difference(database) == []


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="psycopg2 is not installed"):
        Database("postgresql+psycopg2://somebody@127.0.0.1/zhufu")


def test_file_names_tell_the_revisions_that_alembic_sees() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list_revisions()
    assert scripts.get_current_head() == list_revisions()[-1]


def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer version"):
        migrate(database)


def test_sqlite_is_safe_and_checked(database: Database) -> None:
    with database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO prompts (text, text_hash, split, created_at) VALUES ('a', 'b', 'holdout', '2026-01-01')",
        "INSERT INTO greetings (prompt_id, text, text_hash, source, created_at)"
        " VALUES (999, 'a', 'b', 'human', '2026-01-01')",
        "INSERT INTO campaigns (name, kind, k, instructions, rubric, closed, seed, created_at)"
        " VALUES ('a', 'compare', 0, '', 0, 0, 0, '2026-01-01')",
        "INSERT INTO raters (kind, name, version, config, created_at) VALUES ('robot', 'a', '', '{}', '2026-01-01')",
    ],
)
def test_the_database_refuses_bad_rows(database: Database, statement: str) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(text(statement))


def test_a_revision_cannot_be_stored_twice(database: Database) -> None:
    with database.write() as session:
        prompt = Prompt(text="p", text_hash="p", split=Split.TRAIN)
        rater = Rater(kind=RaterKind.HUMAN, name="r")
        session.add_all([prompt, rater])
        session.flush()
        pair = [Greeting(prompt_id=prompt.id, text=name, text_hash=name, source=Source.HUMAN) for name in ("a", "b")]
        campaign = Campaign(name="c", kind=CampaignKind.COMPARE)
        session.add_all([*pair, campaign])
        session.flush()
        item = Item(
            campaign_id=campaign.id,
            position=0,
            prompt_id=prompt.id,
            greeting_a_id=pair[0].id,
            greeting_b_id=pair[1].id,
        )
        session.add(item)
        session.flush()
        known = {"rater_id": rater.id, "item_id": item.id}
        sides = {"left_id": pair[0].id, "right_id": pair[1].id}
        greeting = pair[0].id
    for request in ("one", "two"):
        row = Comparison(**known, **sides, outcome=Outcome.A, revision=0, request_id=request)
        if request == "one":
            with database.write() as session:
                session.add(row)
        else:
            with pytest.raises(IntegrityError), database.write() as session:
                session.add(row)
    verdict = {"rater_id": known["rater_id"], "greeting_id": greeting, "scale": Scale.BINARY, "value": None}
    with database.write() as session:
        session.add(Verdict(**verdict))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Verdict(**verdict))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="ZHUFU_HOME"):
        Database(f"sqlite:///{tmp_path}/file/below/zhufu.db")
