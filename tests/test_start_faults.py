"""A start that cannot work ends as one sentence that names the place and the remedy, with exit code 2.

The faults are real: files, modes, a server on the port, a process that modes bind.
"""

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT, Settings
from backend.core.signing import load_secret
from backend.db.engine import Database
from backend.db.migrate import list_revisions, migrate, stored_revision
from backend.llm.keys import KeyStore, load_or_create_fence_key
from backend.services import build_services
from tests.job_helpers import until
from tests.real_app import free_port, running

pytestmark = pytest.mark.database

BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
"""What makes a program of root obey the modes of files, as those of everybody else do."""
COMMANDS = (["app.py"], ["-m", "backend", "agreement"], ["-m", "backend.worker", "--once"])


def start(home: Path, *arguments: str, bound: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
    """A program of ours that is expected to end by itself."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("ZHUFU_")}
    return subprocess.run(
        [*(BOUND if bound else []), sys.executable, *arguments],
        cwd=settings.pop("cwd", str(PROJECT_ROOT)),
        env=given
        | {"ZHUFU_HOME": str(home), "ZHUFU_PORT": str(free_port()), "PYTHONPATH": str(PROJECT_ROOT)}
        | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )


def sentence(ran: subprocess.CompletedProcess[str]) -> str:
    """What it said, once that is one sentence in each language it speaks."""
    assert ran.returncode == 2, (ran.returncode, ran.stdout, ran.stderr)
    assert "Traceback" not in ran.stderr + ran.stdout
    lines = ran.stderr.splitlines()
    assert lines and lines[0].startswith("error: ") and len(lines) <= 2, ran.stderr
    assert len(lines) == 1 or lines[1].startswith("错误：")
    return ran.stderr


def _file_for_home(home: Path) -> None:
    home.write_text("")


def _folder_for_database(home: Path) -> None:
    (home / "zhufu.db").mkdir(parents=True)


def _no_database(home: Path) -> None:
    home.mkdir()
    (home / "zhufu.db").write_bytes(b"no database at all, yet long enough to be read as one" * 40)


def _damaged_database(home: Path) -> None:
    made = Database(f"sqlite:///{home / 'zhufu.db'}")
    migrate(made)
    made.close()
    with (home / "zhufu.db").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 60_000)


def _database_of_another_program(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "zhufu.db")) as other:
        other.execute("CREATE TABLE raters (other TEXT)")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_file_for_home, "ZHUFU_HOME"),
        (_folder_for_database, "cannot be opened"),
        (_no_database, "damaged or no SQLite database"),
        (_damaged_database, "damaged or no SQLite database"),
        (_database_of_another_program, "could not be brought from revision none"),
    ],
)
def test_a_home_or_database_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    home = tmp_path / "home"
    spoil(home)
    for command in COMMANDS:
        said = sentence(start(home, *command))
        assert says in said and str(home) in said


def _migrated(home: Path) -> None:
    made = Database(f"sqlite:///{home / 'zhufu.db'}")
    migrate(made)
    made.close()


def _unreadable_database(home: Path) -> None:
    _migrated(home)
    (home / "zhufu.db").chmod(0)


def _database_read_only(home: Path) -> None:
    _migrated(home)
    (home / "zhufu.db").chmod(0o444)


def _folder_read_only(home: Path) -> None:
    _migrated(home)
    home.chmod(0o555)


def _parent_read_only(home: Path) -> None:
    home.parent.chmod(0o555)


def _secret_unreadable(home: Path) -> None:
    _migrated(home)
    (home / "secret").write_text("a" * 64)
    (home / "secret").chmod(0)


@pytest.mark.parametrize(
    ("spoil", "says", "commands"),
    [
        (_unreadable_database, "cannot be opened", COMMANDS),
        (_database_read_only, "cannot be written", COMMANDS),
        (_folder_read_only, "home folder", COMMANDS),
        (_parent_read_only, "home folder", COMMANDS),
        (_secret_unreadable, "The secret at", COMMANDS[:1]),
    ],
)
def test_rights_that_are_missing(
    tmp_path: Path, spoil: Callable[[Path], None], says: str, commands: tuple[list[str], ...]
) -> None:
    home = tmp_path / "folder" / "home"
    home.parent.mkdir()
    spoil(home)
    try:
        for command in commands:
            said = sentence(start(home, *command, bound=True))
            assert says in said and str(home) in said
    finally:
        home.parent.chmod(0o755)
        if home.exists():
            home.chmod(0o755)


def test_a_read_only_database_file_at_a_migration(tmp_path: Path) -> None:
    """What a read-only file system says, without one: SQLite opens the file for reading only."""
    path = tmp_path / "zhufu.db"
    made = Database(f"sqlite:///{path}")
    migrate(made, list_revisions()[-2])
    made.close()
    there = Database(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(UserError, match="cannot be written"):
        migrate(there)
    there.close()


def _env_not_utf8(folder: Path) -> None:
    (folder / ".env").write_bytes("ZHUFU_HOST=祝福".encode("gb18030"))


def _env_a_port(folder: Path) -> None:
    (folder / ".env").write_text("ZHUFU_LEASE_SECONDS=soon\n")


@pytest.mark.parametrize(
    ("spoil", "says"), [(_env_not_utf8, ".env cannot be read"), (_env_a_port, "ZHUFU_LEASE_SECONDS")]
)
def test_a_settings_file_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(tmp_path)
    for command in ([str(PROJECT_ROOT / "app.py")], *COMMANDS[1:]):
        assert says in sentence(start(tmp_path / "home", *command, cwd=str(tmp_path)))


def test_a_settings_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ZHUFU_PORT=1\n")
    (tmp_path / ".env").chmod(0)
    ran = start(tmp_path / "home", str(PROJECT_ROOT / "app.py"), cwd=str(tmp_path), bound=True)
    assert ".env cannot be read" in sentence(ran)


def test_a_port_in_use_and_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "ZHUFU_PORT" in sentence(start(tmp_path / "home", "app.py", ZHUFU_PORT=port))
    assert "203.0.113.7" in sentence(start(tmp_path / "home", "app.py", ZHUFU_HOST="203.0.113.7"))
    assert "no.such.host" in sentence(start(tmp_path / "home", "app.py", ZHUFU_HOST="no.such.host.invalid"))
    assert not (tmp_path / "home").exists(), "nothing is made before the port is known to be free"


def test_a_postgresql_that_is_not_there(tmp_path: Path) -> None:
    address = "postgresql+psycopg://someone:hidden@127.0.0.1:9/zhufu"
    for command in COMMANDS:
        said = sentence(start(tmp_path / "home", *command, ZHUFU_DATABASE_URL=address))
        assert "ZHUFU_DATABASE_URL" in said and "hidden" not in said


def test_a_locked_database_at_a_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zhufu.db"
    made = Database(f"sqlite:///{path}")
    migrate(made, list_revisions()[-2])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("backend.db.engine._READ_WAIT_MS", 300)
        made.engine.dispose()
        with pytest.raises(UserError, match="busy"):
            migrate(made)
        other.execute("ROLLBACK")
    migrate(made)
    assert stored_revision(made) == list_revisions()[-1]
    made.close()


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    """The last step but one finds something in its way, after others of the same upgrade have been done."""
    made = Database(f"sqlite:///{tmp_path / 'zhufu.db'}")
    migrate(made, "0005" if "0005" in list_revisions() else list_revisions()[3])
    before = stored_revision(made)
    with made.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE _alembic_tmp_jobs (in_the_way TEXT)")
        session.connection().exec_driver_sql("CREATE TABLE greeting_click_counts (in_the_way TEXT)")
        session.connection().exec_driver_sql("CREATE TABLE click_counts (in_the_way TEXT)")
    tables = _tables(made)
    with pytest.raises(UserError, match=f"from revision {before} to {list_revisions()[-1]}"):
        migrate(made)
    assert stored_revision(made) == before and _tables(made) == tables
    with made.read() as session:
        assert session.connection().exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    made.close()


def _tables(database: Database) -> set[str]:
    with database.read() as session:
        rows = session.connection().exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {str(name) for (name,) in rows}


@pytest.mark.parametrize("content", [b"", b"short", b"\x00\xff" * 40, b"a" * 31, b" " * 64])
def test_a_secret_that_can_be_guessed_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UserError, match="at least 32") as caught:
        load_secret(tmp_path)
    assert str(tmp_path / "secret") in caught.value.text("zh")
    (tmp_path / "fence_key").write_bytes(content[:31])
    with pytest.raises(UserError, match="shorter than 32"):
        load_or_create_fence_key(tmp_path)


def test_secret_and_keys_are_narrowed_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 64)
    (tmp_path / "fence_key").write_text("f" * 64)
    (tmp_path / "endpoint_keys.json").write_text('{"one": "key"}')
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    assert load_secret(tmp_path) == "s" * 64 and load_or_create_fence_key(tmp_path) == b"f" * 64
    assert KeyStore(tmp_path).load_key("one").get_secret_value() == "key"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_application_refuses_an_empty_secret(tmp_path: Path, prepared: Path) -> None:
    home = Path(shutil.copytree(prepared, tmp_path / "home"))
    (home / "secret").write_bytes(b"")
    assert "at least 32" in sentence(start(home, "app.py"))


def test_everything_under_a_new_home_is_private(tmp_path: Path) -> None:
    home = tmp_path / "new"
    outer = os.umask(0)  # as wide as a shell may leave it
    try:
        assert start(home, "-m", "backend", "doctor").returncode == 0
        with running(home):
            _use(home)
    finally:
        os.umask(outer)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    made = {path for path in home.rglob("*") if path.name != "server.log"}  # the test's own
    wide = {str(path): oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077}
    assert wide == {}
    kinds = {"secret", "zhufu.db", "worker.log", "fence_key", "endpoint_keys.json", "pairs.jsonl", "log.txt"}
    assert kinds <= {path.name for path in made}


def _use(home: Path) -> None:
    """What leaves files: a job, an export, the key of an endpoint, the key of fences."""
    file = home / "pairs.jsonl"
    assert start(home, "-m", "backend", "export", "pairs", "--format", "trl", "-o", str(file)).returncode == 0
    services = build_services(Settings(home=home))
    services.endpoints.fence_key()
    KeyStore(home).store_key("somewhere", SecretStr("key"))
    job = services.jobs.submit("selftest", {"steps": 1})
    until(lambda: services.jobs.job(job.id).ended, 60)
    services.close()


def test_a_first_start_that_ended_early_is_made_up_for(tmp_path: Path) -> None:
    services = build_services(Settings(home=tmp_path / "home"))
    services.corpus.load_seed()
    assert services.is_first_start()
    services.prepare()
    assert not services.is_first_start() and len(services.annotation.campaigns()) == 2
    services.close()
