"""Alembic from code: bring a database to the newest revision when that is safe."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from backend.db.engine import Database
from backend.errors import UserError
from backend.settings import ROOT


def config() -> Config:
    """Alembic's configuration, independent of the working directory."""
    settings = Config(str(ROOT / "migrations" / "alembic.ini"))
    settings.set_main_option("script_location", str(ROOT / "migrations"))
    return settings


def current(database: Database) -> str | None:
    """The revision the database is at, None where it is empty."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(database: Database, target: str = "head") -> None:
    """Upgrade to `target`. Raises UserError for a database that a newer Zhufu wrote."""
    settings = config()
    scripts = ScriptDirectory.from_config(settings)
    at = current(database)
    if at is not None and at not in {script.revision for script in scripts.walk_revisions()}:
        raise UserError(
            f"The database was written by a newer version of Zhufu (revision {at}); update the program.",
            f"数据库由更新版本的祝福写入（版本 {at}），请先更新程序。",
        )
    if target == "head" and at == scripts.get_current_head():
        return
    move(database, target, up=True)


def move(database: Database, target: str, *, up: bool) -> None:
    """Run Alembic up or down to `target` on the database's own connection."""
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
