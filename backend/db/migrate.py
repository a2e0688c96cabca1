"""Alembic from code: bring a database to the newest revision when that is safe."""

import os
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.db.engine import Database, read_only_fault

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = PROJECT_ROOT / "migrations"


def alembic_config() -> "Config":
    """Alembic's configuration, independent of the working directory."""
    from alembic.config import Config

    new_config = Config(str(MIGRATIONS / "alembic.ini"))
    new_config.set_main_option("script_location", str(MIGRATIONS))
    return new_config


def list_revisions() -> list[str]:
    """All revisions, the oldest first: file names begin with the revision's number."""
    # By file name and not by asking Alembic, whose import would slow every start down.
    return sorted(revision_file.name.partition("_")[0] for revision_file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def stored_revision(database: Database) -> str | None:
    """The revision the database is at, None where it is empty."""
    with database.read() as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return None
        revision_number = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if revision_number is None else str(revision_number)


def migrate(database: Database, target: str = "head") -> None:
    """Upgrade to `target`. Raises UserError for a database that a newer Zhufu wrote, or that is read-only."""
    _refuse_read_only(database)
    known_revisions, stored = list_revisions(), stored_revision(database)
    if stored is not None and stored not in known_revisions:
        raise UserError(
            f"The database was written by a newer version of Zhufu (revision {stored}); update the program.",
            f"数据库由更新版本的祝福写入（版本 {stored}），请先更新程序。",
        )
    # The usual start ends here, before anything slow is imported.
    if target == "head" and stored == known_revisions[-1]:
        return
    try:
        with database.faults_as_sentences():
            run_migrations(database, target, is_upgrade=True)
    except UserError:
        raise
    except Exception as error:
        raise _migration_error(database, stored, target if target != "head" else known_revisions[-1], error) from error


def _refuse_read_only(database: Database) -> None:
    # SQLite opens such a file without a word, and the first vote would be the first to fail.
    database_file = database.engine.url.database
    if database.engine.dialect.name != "sqlite" or not database_file or not os.path.isfile(database_file):
        return
    if os.access(database_file, os.R_OK) and not os.access(database_file, os.W_OK):
        raise read_only_fault(database_file)


def _migration_error(database: Database, old: str | None, target: str, error: Exception) -> UserError:
    """The sentence for a step that failed; SQLite and PostgreSQL undo all steps of one upgrade together."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    place = database.engine.url.database or database.engine.url.render_as_string()
    return UserError(
        f"The database {place} could not be brought from revision {old or 'none'} to {target} ({cause[0]}); "
        "it is as it was before. Use the version of Zhufu that wrote it, or a copy of the database.",
        f"数据库 {place} 无法从版本 {old or '空'} 升级到 {target}（{cause[0]}），原数据没有改动；"
        "请使用写入它的程序版本，或换回数据库备份。",
    )


def run_migrations(database: Database, target: str, *, is_upgrade: bool) -> None:
    """Run Alembic up or down to `target` on the database's own connection."""
    from alembic import command  # a slow import, not needed where nothing is to do

    migration_config = alembic_config()
    try:
        with database.engine.connect() as connection:
            # Batch migrations copy and drop tables, which foreign keys would forbid half-way.
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            migration_config.attributes["connection"] = connection
            (command.upgrade if is_upgrade else command.downgrade)(migration_config, target)
            connection.commit()
    finally:
        # A connection without foreign keys must not go back into use, least of all after a failure.
        database.engine.dispose()
