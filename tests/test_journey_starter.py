"""From nothing to a model that people have judged: train, serve, write, like, campaign, annotate, agreement.

A fresh database, the real application, worker, training and model server; only the training is a short one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.core.settings import Settings
from backend.db.engine import Database
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.service import JobService
from backend.training.service import TrainingService
from tests.job_helpers import sweep
from tests.real_app import App, running, until_ready

pytestmark = [pytest.mark.browser, pytest.mark.database]

WAIT = 120_000
SHORT = {
    "name": "starter",
    "composed": False,
    "max_steps": 60,
    "batch_size": 8,
    "max_length": 48,
    "threads": 1,
    "samples": 0,
    "eval_every": 1000,
    "save_every": 1000,
}


@pytest.fixture
def app(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    for name, value in (("OMP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1")):
        monkeypatch.setenv(name, value)
    with running(Path(shutil.copytree(prepared, tmp_path / "home"))) as made:
        yield made
        database = Database(Settings(home=made.home).url)
        sweep(database)
        database.close()


@pytest.fixture
def shipped_app(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    for name, value in (("OMP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1")):
        monkeypatch.setenv(name, value)
    with running(Path(shutil.copytree(prepared, tmp_path / "home")), ZHUFU_STARTER="shipped") as made:
        yield made


def test_the_starter_that_comes_along_wakes_with_the_page(browser: Browser, shipped_app: App) -> None:
    expect.set_options(timeout=WAIT)
    page = browser.new_page()
    go(page, shipped_app, "write")
    page.fill("#zf-play-text", "给奶奶的八十大寿祝福")
    model = page.locator("[data-model^='artifact:']")
    # Nobody has chosen or asked anything yet.
    expect(model).to_have_attribute("data-readiness", "ready")
    page.click("#zf-play-go")
    expect(page.locator("#zf-rounds .zf-slip[data-state=done]").first).to_contain_text("您")
    page.close()


def train_a_little(app: App) -> None:
    """What the page's button does, with fewer steps."""
    database = Database(Settings(home=app.home).url)
    TrainingService(JobService(database, app.home, job_programs=JOB_PROGRAMS)).submit("sft", "starter_cpu", SHORT)
    database.close()


def go(page: Page, app: App, path: str) -> None:
    page.goto(f"{app.url}/zh/{path}", wait_until="domcontentloaded")


def test_from_nothing_to_a_model_that_people_have_judged(browser: Browser, app: App) -> None:
    expect.set_options(timeout=WAIT)
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(WAIT)
    go(page, app, "write")
    expect(page.locator("#zf-play-starter")).to_be_visible()
    expect(page.locator("#zf-play-go")).to_be_hidden()
    train_a_little(app)
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#zf-play-training")).to_contain_text("%")

    model = page.locator("[data-model^='artifact:']")
    expect(model).to_contain_text("starter")
    expect(model).to_have_attribute("data-readiness", "asleep")
    page.fill("#zf-play-text", "给奶奶的生日祝福")
    page.click("#zf-play-go")
    expect(page.locator(".zf-slip-note", has_text="模型正在启动").first).to_be_visible()
    expect(page.locator("#zf-rounds .zf-running")).to_have_count(0)
    expect(model).to_have_attribute("data-readiness", "ready")
    done = page.locator("#zf-rounds .zf-slip[data-state=done]")
    written = done.count()
    assert written > 0, page.locator("#zf-rounds").inner_text()
    done.first.locator("[data-act=like]").click()
    expect(done.first.locator("[data-act=like]")).to_have_attribute("aria-pressed", "true")

    page.locator("#zf-flow summary").click()
    expect(page.locator("#zf-tallies")).to_contain_text(f"{written} 条，1 个请求，喜欢 1")
    page.click("#zf-flow-people")
    expect(page.locator("#zf-flow-told")).to_contain_text(f"共 {written} 题")
    page.locator("#zf-flow-told a").first.click()
    page.fill("#zf-name", "小林")
    page.keyboard.press("Enter")
    for number in range(written):
        until_ready(page)
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#zf-progress-text")).to_contain_text(f"我标了 {number + 1} ")

    go(page, app, "agreement")
    row = page.locator("#zf-models tr", has_text="starter").first
    expect(row).to_contain_text("人")
    expect(row).to_contain_text(f"只有 {written} 条，至少需要 10 条。" if written < 10 else "0.00")
    expect(row.locator("td").nth(3)).to_have_text(str(written))

    go(page, app, "write")
    page.wait_for_selector("#zf-play[data-ready]")
    page.locator("#zf-play-tune summary").click()
    page.locator("[data-rest]").click()
    expect(page.locator("[data-model^='artifact:']")).to_have_attribute("data-readiness", "asleep")
    page.close()
