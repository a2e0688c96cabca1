"""A disk that takes no more: nothing is acknowledged that is not stored, and people are told in a sentence.

Where no full disk can be mounted, the limit that the system sets on the size of files does the same to every
write of a running process; /dev/full is a disk that is always full.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, expect
from pydantic import SecretStr
from sqlalchemy import event, select

from backend.core.enums import Outcome
from backend.core.errors import Unavailable, UserError
from backend.core.files import create_home_folder, translate_disk_fault, write_atomically
from backend.core.settings import PROJECT_ROOT, Settings
from backend.db.engine import Database
from backend.db.tables import Comparison, Rater
from backend.jobs.service import JobService
from backend.llm.keys import KeyStore
from backend.services import Services
from tests.annotation_helpers import add_corpus, campaign
from tests.real_app import App, running, until_ready
from ui.annotation.routes import build_router

pytestmark = pytest.mark.database

FULL = Path("/dev/full")


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """No file of the process may grow beyond one byte."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full(database: Database) -> Iterator[None]:
    """The database may not grow by a page: SQLite then says what it says on a full disk."""

    def limit(connection, _record):  # type: ignore[no-untyped-def]
        connection.execute("PRAGMA max_page_count=1").close()  # never less than there are

    event.listen(database.engine, "connect", limit)
    database.engine.dispose()
    try:
        yield
    finally:
        event.remove(database.engine, "connect", limit)
        database.engine.dispose()


def test_a_full_database_says_so_and_keeps_nothing(database: Database) -> None:
    with full(database), pytest.raises(Unavailable, match="is full") as caught:
        _store_small_and_large(database)
    assert str(database.engine.url.database) in caught.value.text("zh") and "已满" in caught.value.text("zh")
    with database.write() as session:
        assert session.scalars(select(Rater.id)).all() == []
        session.add(Rater(kind="human", name="later"))


def _store_small_and_large(database: Database) -> None:
    with database.write() as session:
        session.add(Rater(kind="human", name="small"))
        session.flush()
        session.add(Rater(kind="human", name="large", config={"text": "x" * 500_000}))


def test_the_routes_say_that_nothing_was_saved(services: Services) -> None:
    add_corpus(services.database, 3)
    made = campaign(services.annotation)
    app = FastAPI()
    app.include_router(build_router(services))
    with TestClient(app) as client:
        client.post("/api/annotation/enter", json={"name": "小明"})
        item = client.post("/api/annotation/next", json={"campaign_id": made.id}).json()["next"]["item_id"]
        body = {"campaign_id": made.id, "item_id": item, "outcome": "a", "request_id": "r"}
        with no_room(os.getpid()):
            reply = client.post("/api/annotation/compare", json=body)
        assert reply.status_code == 503 and "retry-after" not in reply.headers
        assert "nothing was saved" in reply.json()["error"]["en"].replace("\n", " ")
        assert services.annotation.progress(made.id, 1).mine == 0
        assert client.post("/api/annotation/compare", json=body).json()["saved"]["created"]


def test_keys_are_whole_or_as_they_were(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.store_key("one", SecretStr("first"))
    with no_room(os.getpid()), pytest.raises(UserError, match="cannot be read or written"):
        store.store_key("one", SecretStr("second"))
    assert store.load_key("one").get_secret_value() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["endpoint_keys.json"]


def test_an_export_is_whole_or_as_it_was(services: Services, tmp_path: Path) -> None:
    add_corpus(services.database, 30)
    target = tmp_path / "pairs.jsonl"
    done = services.corpus.export("pairs", "trl", target)
    before = target.read_bytes()
    with no_room(os.getpid()), pytest.raises(UserError, match="cannot be written") as caught:
        services.corpus.export("pairs", "trl", target)
    assert str(target) in caught.value.text("zh") and done.rows
    assert target.read_bytes() == before and list(tmp_path.glob(".*.part")) == []


def test_a_text_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "agreement.csv"
    write_atomically(file, "前", "utf-8-sig")
    with no_room(os.getpid()), pytest.raises(OSError):
        write_atomically(file, "后" * 1000, "utf-8-sig")
    assert file.read_text("utf-8-sig") == "前" and list(tmp_path.iterdir()) == [file]


def test_a_program_whose_log_takes_no_line_goes_on(services: Services, tmp_path: Path) -> None:
    job = services.jobs.submit("selftest", {"steps": 3})
    with FULL.open("wb") as log:
        ran = subprocess.run(
            [sys.executable, "-m", "backend.jobs.selftest", "--job", str(job.id)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT_ROOT)},
            stdout=log,
            stderr=log,
            timeout=60,
        )
    assert ran.returncode == 0
    assert [event.step for event in services.jobs.events(job.id) if event.step] == [1, 2, 3]


def test_a_worker_whose_log_takes_no_line_goes_on(database: Database, home: Path) -> None:
    service = JobService(database, home)
    job = service.submit("selftest", {"steps": 2})
    with FULL.open("wb") as log:
        ran = subprocess.run(
            [sys.executable, "-m", "backend.worker", "--once"],
            cwd=PROJECT_ROOT,
            env=os.environ | {"ZHUFU_JOB_MIN_FREE_DISK_MB": "1", "ZHUFU_JOB_MIN_FREE_MEMORY_MB": "1"},
            stderr=log,
            timeout=60,
        )
    assert ran.returncode == 0 and service.job(job.id).ended


def test_a_folder_of_runs_that_cannot_be_made_is_told_in_the_job(database: Database, home: Path) -> None:
    service = JobService(database, home)
    job = service.submit("selftest", {"steps": 2})
    (home / "runs").write_text("no folder")
    settings = {"ZHUFU_JOB_MIN_FREE_DISK_MB": "1", "ZHUFU_JOB_MIN_FREE_MEMORY_MB": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "backend.worker", "--once"],
        cwd=PROJECT_ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    error = service.job(job.id).error
    assert ran.returncode == 0 and "Traceback" not in ran.stderr
    assert error is not None and str(home / "runs") in error.en and "无法启动" in error.zh


def test_faults_of_the_disk_are_told_from_other_errors(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, FULL.open("w") as file:
        file.write("x")
    fault = translate_disk_fault(caught.value)
    assert fault is not None and "full" in fault.text("en") and "已满" in fault.text("zh")
    assert translate_disk_fault(BrokenPipeError(32, "Broken pipe")) is None
    assert translate_disk_fault(FileNotFoundError(2, "No such file", "x")) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="ZHUFU_HOME"):
        create_home_folder(tmp_path / "file" / "below")


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("full") / "home"))) as made:
        yield made


@pytest.mark.browser
def test_the_page_says_not_saved_and_saves_when_there_is_room(browser: Browser, app: App) -> None:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{app.url}/zh/annotate", wait_until="domcontentloaded")
    page.fill("#zf-name", "满盘")
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text="哪条更好").locator("[data-campaign]").click()
    until_ready(page)
    with no_room(app.process.pid):
        page.keyboard.press("ArrowRight")
        expect(page.locator(".zf-banner")).to_contain_text("没有保存任何内容", timeout=10_000)
        expect(page.locator(".zf-banner")).to_contain_text("你的选择还在")
        expect(page.locator("#zf-progress-text")).to_contain_text("我标了 0 ")
        assert _labels(app, "满盘") == []
    expect(page.locator("#zf-progress-text")).to_contain_text("我标了 1 ", timeout=30_000)
    assert _labels(app, "满盘") == [Outcome.B]
    page.close()


@pytest.mark.browser
def test_an_upload_without_room_is_a_sentence_on_the_page(browser: Browser, app: App, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"query": "祝生日", "response": "生日快乐", "label": 1}\n' * 100)
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{app.url}/zh/corpus", wait_until="domcontentloaded")
    page.get_by_role("tab", name="导入").click()
    page.wait_for_selector("#zf-upload input[type=file]", state="attached")
    with no_room(app.process.pid):
        page.set_input_files("#zf-upload input[type=file]", str(file))
        expect(page.locator("body")).to_contain_text("无法读写文件")
    page.close()


def _labels(app: App, name: str) -> list[Outcome]:
    with closing(Database(Settings(home=app.home).url)) as database, database.read() as session:
        mine = select(Comparison.outcome).join(Rater, Rater.id == Comparison.rater_id).where(Rater.name == name)
        return list(session.scalars(mine))
