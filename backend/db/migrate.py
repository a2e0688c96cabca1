"""Alembic from code: bring a database to the newest revision when that is safe."""

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from backend.db.engine import Database
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
    """Upgrade to `target`. Raises UserError for a database that a newer Zhufu wrote."""
    known, at = revisions(), current(database)
    if at is not None and at not in known:
        raise UserError(
            f"The database was written by a newer version of Zhufu (revision {at}); update the program.",
            f"数据库由更新版本的祝福写入（版本 {at}），请先更新程序。",
        )
    if target == "head" and at == known[-1]:
        return
    move(database, target, up=True)


def move(database: Database, target: str, *, up: bool) -> None:
    """Run Alembic up or down to `target` on the database's own connection."""
    from alembic import command  # a slow import, not needed where nothing is to do

    settings = config()
    writer = database.engine.execution_options(zhufu_writes=True)
    with writer.connect() as connection:
        # Batch migrations copy and drop tables, which foreign keys would forbid half-way.
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        settings.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(settings, target)
        connection.commit()
    database.engine.dispose()
