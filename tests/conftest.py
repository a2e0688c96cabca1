"""Fixtures: a migrated database in a temporary home, and no network beyond loopback."""

import gc
import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

# As many processes as cores are busy here: more threads in each, on matrices this small, only wait for one
# another. Before numpy is loaded, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from backend.core.settings import PROJECT_ROOT, Settings
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.services import Services, build_services

pytest_plugins = ["tests.llm_fixtures", "tests.real_app", "tests.postgres"]

SHARED = PROJECT_ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--strict-skips`: a skipped browser or database test fails the run."""
    parser.addoption("--strict-skips", action="store_true", help="fail when such a test was skipped")


LONG = (
    "training_programs",
    "grpo_program",
    "training_jobs",
    "journey_",
    "principles_service",
    "training_page",
    "serve",
    "generators",
    "pairs_page",
    "cli_corpus",
)
"""Files that take longest begin first, so that no process waits at the end for another one's."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files keep together; with `--no-loadscope-reorder` they start in this order."""

    def place(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(LONG) if name in item.path.name), len(LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What collecting has loaded stays, so the garbage collector need not walk through it ever again."""
    gc.freeze()


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skipped tests that must never be skipped where everything is installed."""
    # PostgreSQL does not start on every machine; SQLite and Chromium do.
    if report.skipped and {"browser", "database"} & set(report.keywords) and "[postgresql" not in report.nodeid:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn forbidden skips into a failure of the run."""
    if _skipped and exitstatus == 0 and session.config.getoption("--strict-skips"):
        print(f"\nskipped although they must run: {', '.join(_skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that went through every migration, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "zhufu.db"
    made = Database(f"sqlite:///{path}")
    migrate(made)
    made.close()
    return path


@pytest.fixture
def database(
    home: Path, _migrated: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """An empty database at the newest migration; on PostgreSQL in tests marked EITHER."""
    home.mkdir(parents=True, exist_ok=True)
    if getattr(request, "param", "sqlite") == "postgresql":
        monkeypatch.setenv("ZHUFU_DATABASE_URL", request.getfixturevalue("postgres").fresh())
    else:
        shutil.copy(_migrated, home / "zhufu.db")
    made = Database(Settings.load().url)
    yield made
    made.close()


@pytest.fixture
def services(home: Path, _migrated: Path) -> Iterator[Services]:
    """Every service around a fresh home."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(_migrated, home / "zhufu.db")
    made = build_services(Settings.load())
    yield made
    made.close()


@pytest.fixture(scope="session")
def research_data() -> Path:
    """The research data; tests that use it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"research data not found at {SHARED}")
    return SHARED
