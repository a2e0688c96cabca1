"""Makes `home.tar.xz`: `python -m tests.golden.make`. Once for a revision of the database; no test calls it.

A new home changes every expected file, so make one only to hold more than the present one does, and read
what then changes. Seeds are fixed and endpoints take one call at a time; times, call ids, process numbers
and rounds' tokens are those of the making.
"""

import contextlib
import os
import socket
import sqlite3
import tempfile
from pathlib import Path

from backend.core.files import restrict_new_files
from backend.core.settings import PROJECT_ROOT, Settings
from backend.services import Services, build_services
from tests.golden import archive, corpus_scene, judge_scene
from tests.llm_fixtures import FakeLLM
from tests.llm_fixtures import running as fake_running

PORT = 47_123
"""Part of the endpoints' addresses, hence of judges' versions and of the keys of calls."""
SECRETS = {"fence_key": "golden-fence-" * 5, "secret": "golden-secret-" * 4}


def main() -> None:
    """Fill a home and pack it."""
    restrict_new_files()
    with tempfile.TemporaryDirectory() as folder, fake_running(PORT) as fake:
        home = Path(folder) / "home"
        for name in [name for name in os.environ if name.startswith("ZHUFU_")]:
            del os.environ[name]
        os.environ["ZHUFU_HOME"] = str(home)
        fill(home, Path(folder) / "files", fake)
        with judge_scene.remembered(home, Path(folder) / "ahead") as copy, opened(copy) as services:
            judge_scene.play_on(services, fake)
        for old, new in ((folder, "/golden"), (socket.gethostname(), "golden-host")):
            archive.moved(home / archive.DATABASE, old, new)
        nameless(home)
        expired(home)
        archive.pack(home)
    print(f"{archive.ARCHIVE}: {archive.ARCHIVE.stat().st_size:,} bytes")


def fill(home: Path, files: Path, fake: FakeLLM) -> None:
    """Every scene, one after the other."""
    home.mkdir(parents=True)
    for name, text in SECRETS.items():
        (home / name).write_text(text, encoding="ascii")
    with opened(home) as services:
        judge_scene.connect(services, fake)
        corpus_scene.import_all(services, files)
        corpus_scene.compare_by_people(services)
        judge_scene.score_all(services, fake)
        corpus_scene.validate_by_people(services, "看真诚")
        judge_scene.make_pairs(services, fake, files)
        judge_scene.play_games(services, fake)
        judge_scene.write_greetings(services, fake)
        judge_scene.run_jobs(services, fake)
        corpus_scene.take_back(services)
        judge_scene.mark_again(services)
        for reference in services.board.references():
            services.board.board(reference.name)


def nameless(home: Path) -> None:
    """Logs say where the code lay that wrote them; nobody needs to know."""
    for log in home.glob("runs/*/log.txt"):
        log.write_text(log.read_text(encoding="utf-8").replace(str(PROJECT_ROOT), "/golden/code"), encoding="utf-8")


def expired(home: Path) -> None:
    """Items that are in somebody's hand are so no longer, whatever a machine's clock says."""
    with contextlib.closing(sqlite3.connect(home / archive.DATABASE)) as opened_file, opened_file:
        opened_file.execute("UPDATE leases SET expires_at = '2020-01-01 00:00:00.000000' WHERE NOT done")


@contextlib.contextmanager
def opened(home: Path):  # type: ignore[no-untyped-def]
    """Services around a home."""
    services: Services = build_services(Settings(home=home))
    try:
        yield services
    finally:
        services.close()


if __name__ == "__main__":
    main()
