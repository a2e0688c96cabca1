"""The page of principles in a real browser: start, watch two rounds, read a diff, publish, score with it."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import request, world_file, world_house
from tests.real_app import App, running
from tests.real_app import browser as browser
from tests.test_judges_page import pick, tab

pytestmark = pytest.mark.browser
WAIT = 60_000
CASES = 40
"""More than the run of the fixture asks about."""
SMALL = {"rounds": 2, "labelled": 8, "attacks": 4, "duels": 8, "gate": 80, "locked": 40}


@pytest.fixture
def app(home: Path, fake_llm: FakeLLM) -> Iterator[App]:
    """The application with labels of the world, and a run that waits for people."""
    with world_house(fake_llm) as services:
        services.corpus.import_file(world_file(services.settings.home), dataset="another")
        waits = request(rounds=1, confirm="person", evolve_generator=False, seed=5)
        services.evolution.play(services.evolution.create(waits).id)
    with running(home) as made:
        yield made


def test_from_a_start_to_a_published_judge_that_scores(app: App, browser: Browser) -> None:
    page = browser.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.goto(f"{app.url}/zh/principles")
    pick(page, "zf-game-dataset", "world")
    confirm(page)
    start(page)
    watch_two_rounds(page)
    read_a_diff(page)
    publish(page)
    score(page, app)
    page.goto(f"{app.url}/zh/principles")
    keeps_the_labels_chosen(page)
    page.goto(f"{app.url}/en/principles?run=2")
    expect(page.locator("#zf-game-head")).to_contain_text("done")
    expect(page.locator("#zf-game-locked")).to_contain_text("length-matched AUC")
    page.close()
    assert failures == []


def keeps_the_labels_chosen(page: Page) -> None:
    box = page.locator("#zf-game-dataset input")
    expect(box).to_have_value(re.compile("another"))
    pick(page, "zf-game-dataset", "world")
    tab(page, "版本")
    expect(page.locator("#zf-tree")).to_be_visible()
    tab(page, "对局")
    page.wait_for_timeout(1_000)  # what the tab fills in again when it is shown
    expect(box).to_have_value(re.compile("world"))


def confirm(page: Page) -> None:
    expect(page.locator("#zf-game-head")).to_contain_text("等人确认")
    expect(page.locator("#zf-case mark")).to_be_visible()
    page.click("#zf-case-yes")
    expect(page.locator("#zf-game-steered")).to_contain_text("署名")
    page.fill("#zf-case-person input, #zf-case-person textarea", "小林")
    head = page.locator("#zf-game-head")
    for _ in range(CASES):
        if "完成" in head.inner_text():
            break
        with suppress(TimeoutError):  # the last case goes while it is looked for
            page.click("#zf-case-no", timeout=2_000)
        page.wait_for_timeout(300)
    expect(head).to_contain_text("完成")


def start(page: Page) -> None:
    page.get_by_role("button", name="更多设置与上限").click()
    for name, value in SMALL.items():
        entered(page.locator(f"#zf-set-{name} input"), value)
    entered(page.get_by_label("误采纳的概率上限"), 0.9)
    page.click("#zf-game-start")
    expect(page.locator("#zf-game-told")).to_contain_text("alpha")
    entered(page.get_by_label("误采纳的概率上限"), 0.2)
    page.click("#zf-game-estimate")
    expect(page.locator("#zf-game-told")).to_contain_text("次调用")
    expect(page.locator("#zf-game-told")).to_contain_text("把关集 40 + 40")
    page.click("#zf-game-start")
    expect(page.locator("#zf-game-head")).to_contain_text("2 · world")


def entered(box: Locator, value: float) -> None:
    """Fill a box and leave it, as a person does before pressing a button."""
    box.fill(str(value))
    box.press("Tab")


def watch_two_rounds(page: Page) -> None:
    log = page.locator("#zf-game-log")
    expect(log).to_contain_text("第 1 轮")
    expect(log.locator("mark").first).to_be_attached()
    expect(log).to_contain_text("第 2 轮")
    expect(page.locator("#zf-game-head")).to_contain_text("完成")
    expect(log).to_contain_text("S_D 的提案")
    expect(page.locator("#zf-game-curve svg circle").first).to_be_visible()
    expect(page.locator("#zf-game-fooling")).to_contain_text("核对属实")
    expect(page.locator("#zf-game-locked")).to_contain_text("起点 S_D")
    expect(page.locator("#zf-game-locked")).to_contain_text("n-gram")
    expect(page).to_have_url(re.compile(r"run=2"))


def read_a_diff(page: Page) -> None:
    tab(page, "版本")
    expect(page.locator("#zf-tree")).to_contain_text("采纳")
    first = page.locator("#zf-tree .zf-node").first
    first.click()
    expect(page.locator("#zf-version-card h3")).to_have_text(re.compile("S_D v1"))
    best = page.locator("#zf-tree li:has(> .zf-pill-good) > .zf-node").last
    best.hover()
    page.mouse.down()
    # What the press before brought draws the tree anew while this one is held.
    page.locator(".zf-tree").evaluate("tree => { tree.innerHTML = tree.innerHTML; }")
    page.mouse.up()
    expect(page.locator("#zf-version-diff .zf-diff-new").first).to_be_visible()
    expect(page.locator("#zf-version-card")).to_contain_text("把关")


def publish(page: Page) -> None:
    page.click("#zf-publish")
    expect(page.locator("#zf-version-told")).to_contain_text("裁判名称")
    page.fill("#zf-publish-name input, #zf-publish-name textarea", "进化裁判")
    page.click("#zf-publish")
    expect(page.locator("#zf-version-told")).to_contain_text("已发布为裁判“进化裁判”")


def score(page: Page, app: App) -> None:
    page.goto(f"{app.url}/zh/judges")
    expect(page.locator("#zf-judges")).to_contain_text("进化裁判")
    tab(page, "评判任务")
    pick(page, "zf-run-judge", "进化裁判")
    pick(page, "zf-run-target", "数据集 · world")
    page.click("#zf-run-start")
    expect(page.locator("#zf-runs")).to_contain_text("300 / 300")
    expect(page.locator("#zf-runs")).to_contain_text("完成")
