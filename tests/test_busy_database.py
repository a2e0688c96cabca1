"""While another program holds the write lock: 503 with Retry-After, a page that waits, jobs that go on."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, expect
from sqlalchemy import select, text

from backend.annotation.service import AnnotationService
from backend.core.enums import CardState, JobStatus, Outcome
from backend.core.errors import Busy, Unavailable
from backend.core.settings import PROJECT_ROOT, Settings
from backend.db import engine
from backend.db.engine import Database
from backend.db.play_tables import PlayCard
from backend.db.tables import Comparison, Rater
from backend.jobs.messages import JobMessage
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.services import Services
from tests.annotation_helpers import add_corpus, campaign
from tests.job_helpers import ended, sweep, until, worker
from tests.llm_fixtures import FakeLLM
from tests.playing import GREETING, WISH, endpoint
from tests.postgres import EITHER, Postgres
from tests.real_app import App, running, until_ready
from ui.annotation import routes as annotation_routes
from ui.playground import routes as playground_routes

pytestmark = pytest.mark.database

SHORT = 0.3


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """The write lock in other hands: SQLite's, or the one that PostgreSQL gives annotators."""
    if database.engine.dialect.name == "sqlite":
        assert database.engine.url.database
        with held(Path(database.engine.url.database)):
            yield
        return
    with database.engine.connect() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": 0x5A46_0001})
        yield
        other.rollback()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """BEGIN IMMEDIATE by another connection."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def held_for(path: Path, seconds: float) -> Iterator[None]:
    """The same for some seconds, beside what the block does."""
    begun = threading.Event()

    def hold() -> None:
        with held(path):
            begun.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    yield
    thread.join()


@EITHER
def test_a_write_waits_and_then_says_that_it_is_busy(database: Database) -> None:
    annotation = AnnotationService(database, 600)
    with locked(database):
        began = time.monotonic()
        with pytest.raises(Busy) as caught:
            annotation.enter("小明")
        waited = time.monotonic() - began
    assert engine.VOTE_WAIT_S * 0.9 <= waited <= engine.VOTE_WAIT_S + 2
    assert "busy" in caught.value.text("en") and "正忙" in caught.value.text("zh")
    assert annotation.enter("小明").id == 1, "nothing was stored half"


def test_waiting_for_the_turn_counts_too(database: Database) -> None:
    """Eight people who answer while the lock is held are all told within the same time."""
    annotation = AnnotationService(database, 600)
    waits: list[float] = []

    def enter(number: int) -> None:
        began = time.monotonic()
        with pytest.raises(Busy):
            annotation.enter(f"人{number}")
        waits.append(time.monotonic() - began)

    with locked(database):
        people = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
        for person in people:
            person.start()
        for person in people:
            person.join()
    assert len(waits) == 8 and max(waits) < engine.VOTE_WAIT_S + 2


def test_the_block_of_a_write_runs_once_and_only_with_the_lock(database: Database) -> None:
    assert database.engine.url.database
    ran = 0
    with held_for(Path(database.engine.url.database), 1.0), database.write(wait_s=10) as session:
        ran += 1
        session.add(Rater(kind="human", name="later"))
    with database.read() as session:
        assert ran == 1 and session.scalar(select(Rater.name)) == "later"
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 15_000


def test_postgresql_says_busy_for_a_row_that_another_transaction_holds(postgres: Postgres) -> None:
    with closing(Database(postgres.fresh())) as database:
        with database.write() as session:
            session.add(Rater(kind="human", name="row"))
        lock = text("SELECT id FROM raters FOR UPDATE")
        with database.write() as first:
            first.execute(lock)
            with pytest.raises(Busy), database.write(wait_s=SHORT) as second:
                second.execute(lock)


def test_a_server_that_is_not_there_is_one_sentence_without_the_password() -> None:
    address = "postgresql+psycopg://someone:hidden@127.0.0.1:9/zhufu"
    with (
        closing(Database(address)) as database,
        pytest.raises(Unavailable, match="does not answer") as caught,
        database.read() as session,
    ):
        session.execute(text("SELECT 1"))
    assert "hidden" not in str(caught.value) and "ZHUFU_DATABASE_URL" in caught.value.text("zh")


@pytest.fixture
def client(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    add_corpus(services.database, 3)
    app = FastAPI()
    app.include_router(annotation_routes.build_router(services))
    app.include_router(playground_routes.build_router(services))
    with TestClient(app) as made:
        yield made


def test_the_routes_answer_503_with_retry_after_and_save_nothing(client: TestClient, services: Services) -> None:
    made = campaign(services.annotation)
    client.post("/api/annotation/enter", json={"name": "小明"})
    item = client.post("/api/annotation/next", json={"campaign_id": made.id}).json()["next"]["item_id"]
    answer = {"campaign_id": made.id, "item_id": item, "outcome": "a", "request_id": "once"}
    calls = [
        ("annotation/compare", answer),
        ("annotation/next", {"campaign_id": made.id}),
        ("annotation/undo", {"campaign_id": made.id, "request_id": "back"}),
        ("annotation/enter", {"name": "小红"}),
    ]
    with locked(services.database):
        for path, body in calls:
            reply = client.post(f"/api/{path}", json=body)
            assert (reply.status_code, reply.headers.get("retry-after")) == (503, "2"), path
            assert set(reply.json()["error"]) == {"zh", "en"} and "Traceback" not in reply.text
        assert client.get("/api/annotation/me").json()["rater"]["name"] == "小明", "reading goes on"
    assert services.annotation.progress(made.id, 1).mine == 0
    assert client.post("/api/annotation/compare", json=answer).json()["saved"]["created"]
    assert not client.post("/api/annotation/compare", json=answer).json()["saved"]["created"]


def test_the_playground_answers_the_same(
    client: TestClient, services: Services, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(services, fake_llm, timeout_s=3.0)
    fake_llm.script(reply=GREETING)
    wish = {"models": ["fake"], "text": WISH, "count": 1, "seed": 3}
    client.get("/api/play/models")
    begun = client.post("/api/play/rounds", json=wish).json()["round"]
    until(lambda: not client.get(f"/api/play/rounds/{begun['token']}").json()["round"]["running"])
    card = f"cards/{begun['cards'][0]['id']}"
    like = {"value": 1, "request_id": "like"}
    with locked(services.database):
        for path, body in (
            ("rounds", wish),
            (f"{card}/signal", like),
            (f"{card}/change", {"change": "again"}),
        ):
            reply = client.post(f"/api/play/{path}", json=body)
            assert (reply.status_code, reply.headers.get("retry-after")) == (503, "2"), path
    assert len(client.get("/api/play/rounds").json()["rounds"]) == 1
    assert client.post(f"/api/play/{card}/signal", json=like).json()["card"]["liked"] == 1


def test_a_card_that_is_written_meanwhile_is_stored_when_the_lock_is_free(
    client: TestClient, services: Services, fake_llm: FakeLLM
) -> None:
    endpoint(services, fake_llm, timeout_s=30.0)
    fake_llm.script(reply=GREETING, latency_s=2.0)
    client.get("/api/play/models")
    wish = {"models": ["fake"], "text": WISH, "count": 1, "seed": 3}
    begun = client.post("/api/play/rounds", json=wish).json()["round"]
    assert services.database.engine.url.database
    with held_for(Path(services.database.engine.url.database), 5):
        until(lambda: not client.get(f"/api/play/rounds/{begun['token']}").json()["round"]["running"])
    with services.database.read() as session:
        assert session.scalar(select(PlayCard.state)) is CardState.DONE


def test_a_command_ends_with_one_sentence(services: Services, home: Path, tmp_path: Path) -> None:
    add_corpus(services.database, 3)
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps({"query": "祝生日", "response": "生日快乐", "label": 1}, ensure_ascii=False))
    quick = "import backend.db.engine as e; e.WAIT_S = 1.0; from backend.cli import main; main()"
    with locked(services.database):
        ran = subprocess.run(
            [sys.executable, "-c", quick, "import", str(file)],
            cwd=PROJECT_ROOT,
            env=os.environ | {"ZHUFU_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("error: ") and "busy" in ran.stderr


def test_a_program_keeps_what_it_has_to_say_until_the_lock_is_free(database: Database, home: Path) -> None:
    service = JobService(database, home)
    job = service.submit("selftest", {})
    assert database.engine.url.database
    with held_for(Path(database.engine.url.database), 2.5), JobReport(database, job.id) as report:
        report.metric(1, loss=0.5)
        report.progress(0.5, JobMessage.from_text("half"))
    told = service.job(job.id)
    assert (told.progress, told.progress_text) == (0.5, "half")
    assert database.wait_s == engine.RUN_WAIT_S
    assert [event.data for event in service.events(job.id) if event.step == 1] == [{"loss": 0.5}]


def test_worker_and_program_outlast_a_held_lock(database: Database, home: Path) -> None:
    service = JobService(database, home)
    assert database.engine.url.database
    job = service.submit("selftest", {"steps": 30, "seconds": 0.1})
    try:
        with held(Path(database.engine.url.database)):
            with worker(home) as held_worker:
                time.sleep(6)  # the worker cannot even register
                assert held_worker.poll() is None
            assert service.job(job.id).status is JobStatus.QUEUED
        with worker(home) as second:
            until(lambda: service.job(job.id).status is JobStatus.RUNNING)
            with held(Path(database.engine.url.database)):
                time.sleep(6)  # the program ends meanwhile, and its end cannot be written
                assert second.poll() is None
            assert ended(service, job.id).status is JobStatus.SUCCEEDED
    finally:
        sweep(database)


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("busy") / "home"))) as made:
        yield made


@pytest.mark.browser
def test_the_page_keeps_the_answer_until_the_lock_is_free(browser: Browser, app: App) -> None:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{app.url}/zh/annotate", wait_until="domcontentloaded")
    page.fill("#zf-name", "有耐心")
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text="哪条更好").locator("[data-campaign]").click()
    until_ready(page)
    prompt = page.inner_text("#zf-prompt")
    with held(app.home / "zhufu.db"):
        page.keyboard.press("ArrowLeft")
        banner = page.locator(".zf-banner")
        expect(banner).to_contain_text("服务器正忙", timeout=10_000)
        expect(banner).to_contain_text("你的选择还在")
        for key in ("ArrowRight", "ArrowUp", "s", "z", "1"):
            page.keyboard.press(key)
        page.wait_for_timeout(3_000)
        assert page.inner_text("#zf-prompt") == prompt
    expect(page.locator("#zf-progress-text")).to_contain_text("我标了 1 ", timeout=15_000)
    expect(banner).to_have_count(0)
    page.wait_for_timeout(3_000)
    with closing(Database(Settings(home=app.home).url)) as database, database.read() as session:
        mine = select(Comparison).join(Rater, Rater.id == Comparison.rater_id).where(Rater.name == "有耐心")
        rows = session.scalars(mine).all()
    assert [row.outcome for row in rows] == [Outcome.A] and rows[0].reasons == []
    page.close()
