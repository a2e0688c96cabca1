"""Fixtures: a migrated database in a temporary home, and no network beyond loopback."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.services import Services, build_services
from backend.settings import ROOT, Settings

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    real = socket.socket.connect

    def connect(self: socket.socket, address):  # type: ignore[no-untyped-def]
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise AssertionError(f"a test reached for the network: {address}")
        return real(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield
    patch.undo()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh ZHUFU_HOME, for this process and the commands it starts."""
    for name in [name for name in os.environ if name.startswith("ZHUFU_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ZHUFU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    """An empty database at the newest migration."""
    made = Database(Settings.load().url)
    migrate(made)
    yield made
    made.close()


@pytest.fixture
def services(home: Path) -> Iterator[Services]:
    """Every service around a fresh home."""
    made = build_services(Settings.load())
    yield made
    made.database.close()


@pytest.fixture(scope="session")
def research_data() -> Path:
    """The research data; tests that use it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"research data not found at {SHARED}")
    return SHARED
