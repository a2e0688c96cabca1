"""The one place that wires settings, database and services together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.settings import Settings


@dataclass(frozen=True)
class Services:
    """What pages and commands talk to."""

    settings: Settings
    database: Database
    corpus: CorpusService


def build_services(settings: Settings) -> Services:
    """Open and migrate the database and build every service around it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.url)
    migrate(database)
    return Services(settings=settings, database=database, corpus=CorpusService(database))


@contextmanager
def open_services() -> Iterator[Services]:
    """Services from the environment for the length of one command."""
    services = build_services(Settings.load())
    try:
        yield services
    finally:
        services.database.close()
