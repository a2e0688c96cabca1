"""Alembic from code: bring a database to the newest revision when that is safe."""

import os
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from backend.db.engine import Database
from backend.db.faults import read_only
from backend.errors import UserError
from backend.settings import ROOT

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = ROOT / "migrations"


def config() -> "Config":
    """Alembic's configuration, independent of the working directory."""
    from alembic.config import Config

    settings = Config(str(MIGRATIONS / "alembic.ini"))
    settings.set_main_option("script_location", str(MIGRATIONS))
    return settings


def revisions() -> list[str]:
    """All revisions, the oldest first: file names begin with the revision's number."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def current(database: Database) -> str | None:
    """The revision the database is at, None where it is empty."""
    with database.read() as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return None
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


def migrate(database: Database, target: str = "head") -> None:
    """Upgrade to `target`. Raises UserError for a database that a newer Zhufu wrote, or that is read-only."""
    _refuse_read_only(database)
    known, at = revisions(), current(database)
    if at is not None and at not in known:
        raise UserError(
            f"The database was written by a newer version of Zhufu (revision {at}); update the program.",
            f"数据库由更新版本的祝福写入（版本 {at}），请先更新程序。",
        )
    if target == "head" and at == known[-1]:
        return
    try:
        with database.faults_as_sentences():
            move(database, target, up=True)
    except UserError:
        raise
    except Exception as error:
        raise _not_migrated(database, at, target if target != "head" else known[-1], error) from error


def _refuse_read_only(database: Database) -> None:
    # SQLite opens such a file without a word, and the first vote would be the first to fail.
    file = database.engine.url.database
    if database.engine.dialect.name != "sqlite" or not file or not os.path.isfile(file):
        return
    if os.access(file, os.R_OK) and not os.access(file, os.W_OK):
        raise read_only(file)


def _not_migrated(database: Database, at: str | None, target: str, error: Exception) -> UserError:
    """The sentence for a step that failed; SQLite and PostgreSQL undo all steps of one upgrade together."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    place = database.engine.url.database or database.engine.url.render_as_string()
    return UserError(
        f"The database {place} could not be brought from revision {at or 'none'} to {target} ({cause[0]}); "
        "it is as it was before. Use the version of Zhufu that wrote it, or a copy of the database.",
        f"数据库 {place} 无法从版本 {at or '空'} 升级到 {target}（{cause[0]}），原数据没有改动；"
        "请使用写入它的程序版本，或换回数据库备份。",
    )


def move(database: Database, target: str, *, up: bool) -> None:
    """Run Alembic up or down to `target` on the database's own connection."""
    from alembic import command  # a slow import, not needed where nothing is to do

    settings = config()
    try:
        with database.engine.connect() as connection:
            # Batch migrations copy and drop tables, which foreign keys would forbid half-way.
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            settings.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(settings, target)
            connection.commit()
    finally:
        # A connection without foreign keys must not go back into use, least of all after a failure.
        database.engine.dispose()
