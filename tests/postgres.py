"""A PostgreSQL server for tests that must hold on it too, one for each test process."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from backend.db.engine import Database
from backend.db.migrate import migrate

EITHER = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""A test with the fixture `database` runs on both."""

_TEMPLATE = "migrated"
_numbers = count(1)


class Postgres:
    """A running server."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._new("template1", _TEMPLATE)
        made = Database(self._url(_TEMPLATE))
        migrate(made)
        made.close()

    def fresh(self) -> str:
        """The URL of a new database that went through every migration."""
        name = f"fresh{next(_numbers)}"
        self._new(_TEMPLATE, name)
        return self._url(name)

    def _new(self, template: str, name: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        engine.dispose()

    def _url(self, name: str) -> str:
        where = {"host": self._folder}
        return URL.create("postgresql+psycopg", "postgres", database=name, query=where).render_as_string()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test process, ended with it."""
    server = pytest.importorskip("pgserver", reason="no PostgreSQL for this machine on the package index")
    # Not below the folder of pytest, which only root may enter where root runs the tests.
    folder = tempfile.mkdtemp(prefix="zhufu-postgres-")
    try:
        running = server.get_server(folder)
    except (OSError, RuntimeError, LookupError, subprocess.SubprocessError) as error:  # no user to run as
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield Postgres(folder)
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
