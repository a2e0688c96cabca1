"""Alembic environment: uses the connection it is given, else the one the settings name."""

from alembic import context

from backend.core.settings import Settings
from backend.db import job_tables, llm_tables, pair_tables, principle_tables, tables  # noqa: F401
from backend.db.base import Base
from backend.db.engine import Database


def run(connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with Database(Settings.load().url).engine.connect() as own:
        run(own)
        own.commit()
