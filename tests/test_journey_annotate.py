"""The first whole journey, in real browsers against the real application.

Import labelled greetings, make a campaign, annotate by keyboard as two people, reload in the middle, undo,
see agreement change, export, import again; every stored label is the key that was pressed on what was shown.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from backend.core.enums import Outcome
from backend.core.settings import PROJECT_ROOT, Settings
from backend.db.engine import Database
from backend.db.tables import Comparison, Greeting, Rater
from tests.conftest import SHARED
from tests.real_app import App, running, until_ready

pytestmark = [pytest.mark.browser, pytest.mark.database]

ITEMS = 20
CAMPAIGN = "两人对比"
SLOW = 30_000
KEYS = {
    "ArrowLeft": Outcome.A,
    "ArrowRight": Outcome.B,
    "ArrowUp": Outcome.BOTH_GOOD,
    "ArrowDown": Outcome.BOTH_BAD,
}


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One application for the tests of this file, each with people of its own."""
    with running(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("annotate") / "home"))) as made:
        yield made


@dataclass
class Annotator:
    """One person in a browser context of their own, and what they saw and pressed."""

    page: Page
    name: str
    pressed: dict[str, tuple[str, str, Outcome]] = field(default_factory=dict)

    def shown(self) -> tuple[str, str, str]:
        return (
            self.page.inner_text("#zf-prompt"),
            self.page.inner_text("#zf-a"),
            self.page.inner_text("#zf-b"),
        )

    def press(self, key: str) -> None:
        until_ready(self.page)
        prompt, left, right = self.shown()
        mine = len(self.pressed)
        self.page.keyboard.press(key)
        self.pressed[prompt] = (left, right, KEYS[key])
        expect(self.page.locator("#zf-progress-text")).to_contain_text(f"我标了 {mine + 1} ")
        expect(self.page.locator(".zf-status")).to_have_text("已保存")

    def undo(self, prompt: str) -> None:
        mine = len(self.pressed)
        until_ready(self.page)
        self.page.keyboard.press("z")
        expect(self.page.locator("#zf-prompt")).to_have_text(prompt)
        expect(self.page.locator("#zf-progress-text")).to_contain_text(f"我标了 {mine - 1} ")
        del self.pressed[prompt]


def open_page(page: Page, app: App, path: str) -> None:
    page.goto(f"{app.url}/zh/{path}", wait_until="domcontentloaded")


def labels_file(folder: Path) -> Path:
    """The research evaluation file where it is at hand, else the same format from our own seed corpus."""
    real = SHARED / "evaluate_data.dev.json"
    if real.is_file():
        return real
    rows = [
        {"query": seed["prompt"], "response": seed[side], "label": label}
        for path in sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl"))
        for seed in map(json.loads, path.read_text(encoding="utf-8").splitlines()[:40])
        for side, label in (("strong", 1), ("weak", 0))
    ]
    made = folder / "labels.json"
    made.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return made


def import_in_the_page(page: Page, app: App, file: Path, dataset: str) -> str:
    open_page(page, app, "corpus")
    page.get_by_role("tab", name="导入").click()
    page.set_input_files("#zf-upload input[type=file]", str(file))
    page.fill("#zf-dataset-name input, #zf-dataset-name textarea", dataset)
    page.click("#zf-import")
    report = page.locator("#zf-import-report")
    expect(report).to_contain_text("读取", timeout=SLOW)
    return report.inner_text()


def make_campaign(page: Page, app: App, dataset: str) -> None:
    open_page(page, app, "campaigns")
    page.fill("#zf-campaign-name input, #zf-campaign-name textarea", CAMPAIGN)
    page.click("#zf-campaign-datasets input")
    page.get_by_role("option", name=dataset, exact=True).click()
    page.keyboard.press("Escape")
    page.fill("#zf-campaign-limit input", str(ITEMS))
    page.fill("#zf-campaign-k input", "2")
    page.click("#zf-campaign-create")
    expect(page.locator("#zf-campaign-told")).to_contain_text(f"{ITEMS} 题", timeout=SLOW)


def enter(browser: Browser, app: App, name: str) -> Annotator:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(SLOW)
    open_page(page, app, "annotate")
    page.fill("#zf-name", name)
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text=CAMPAIGN).locator("[data-campaign]").click()
    page.wait_for_selector("#zf-b")
    return Annotator(page, name)


def board_text(page: Page, app: App) -> str:
    open_page(page, app, "agreement")
    page.wait_for_selector("#zf-board table", timeout=SLOW)
    expect(page.locator("#zf-board")).to_contain_text(CAMPAIGN, timeout=SLOW)
    return page.inner_text("#zf-board")


def check_stored(app: App, annotators: list[Annotator]) -> None:
    database = Database(Settings(home=app.home).url)
    with database.read() as session:
        texts = dict(session.execute(select(Greeting.id, Greeting.text)).all())
        superseded = set(session.scalars(select(Comparison.supersedes_id)))
        for annotator in annotators:
            rater = session.scalars(select(Rater.id).where(Rater.name == annotator.name)).one()
            rows = session.scalars(select(Comparison).where(Comparison.rater_id == rater)).all()
            current = {(texts[r.left_id], texts[r.right_id], r.outcome) for r in rows if r.id not in superseded}
            assert current == set(annotator.pressed.values())
            assert len(current) == ITEMS
            assert sum(r.outcome == Outcome.WITHDRAWN for r in rows) == (1 if annotator is annotators[0] else 0)
    database.close()


def export_in_the_page(page: Page, app: App, folder: Path) -> Path:
    open_page(page, app, "corpus")
    page.get_by_role("tab", name="导出").click()
    page.click("#zf-export-source input")
    page.get_by_role("option", name=f"任务 · {CAMPAIGN}").click()
    page.click("#zf-export")
    expect(page.locator("#zf-export-report")).to_contain_text("已导出", timeout=SLOW)
    with page.expect_download() as download:
        page.locator("#zf-export-file a[download]").first.click()
    path = folder / "exported.jsonl"
    download.value.save_as(path)
    return path


def test_import_annotate_agree_export(browser: Browser, app: App, tmp_path: Path) -> None:
    researcher = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    researcher.set_default_timeout(SLOW)
    file = labels_file(tmp_path)
    first = import_in_the_page(researcher, app, file, "评测")
    assert "拒绝 0" in first
    assert "新增 0" in import_in_the_page(researcher, app, file, "评测")
    make_campaign(researcher, app, "评测")

    one, two = enter(browser, app, "小林"), enter(browser, app, "老周")
    for number in range(ITEMS):
        one.press(("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")[number % 4])
        if number == 9:
            one.page.reload(wait_until="domcontentloaded")
            one.page.wait_for_selector("#zf-b")
        if number == 12:
            last = list(one.pressed)[-1]
            one.undo(last)
            one.press("ArrowRight")
    expect(one.page.locator("#zf-done")).to_be_visible()

    alone = board_text(researcher, app)
    for number in range(ITEMS):
        prompt, left, _ = two.shown()
        seen_left, seen_right, outcome = one.pressed[prompt]
        liked = {Outcome.A: seen_left, Outcome.B: seen_right}.get(outcome)
        disagree = number < 5
        key = "ArrowDown" if liked is None else ("ArrowLeft" if (liked == left) != disagree else "ArrowRight")
        two.press(key)
    expect(two.page.locator("#zf-done")).to_be_visible()
    check_stored(app, [one, two])

    together = board_text(researcher, app)
    assert "没有被两位" in alone
    assert "没有被两位" not in together
    assert alone.split("字数")[1] != together.split("字数")[1]

    exported = export_in_the_page(researcher, app, tmp_path)
    rows = [json.loads(line) for line in exported.read_text(encoding="utf-8").splitlines()]
    assert rows and all(row["chosen"] != row["rejected"] for row in rows)
    again = import_in_the_page(researcher, app, exported, "再导入")
    assert f"新增 {len(rows)}" in again
    assert f"重复 {len(rows)}" in import_in_the_page(researcher, app, exported, "再导入")


def test_ten_instant_presses_store_one_label(browser: Browser, app: App) -> None:
    page = browser.new_context().new_page()
    page.set_default_timeout(SLOW)
    open_page(page, app, "annotate")
    page.fill("#zf-name", "急性子")
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text="哪条更好").locator("[data-campaign]").click()
    until_ready(page)
    page.evaluate(
        "() => { for (let i = 0; i < 10; i += 1)"
        " document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true })) }"
    )
    expect(page.locator("#zf-progress-text")).to_contain_text("我标了 1 ")
    page.wait_for_timeout(500)
    database = Database(Settings(home=app.home).url)
    with database.read() as session:
        mine = select(Comparison).join(Rater, Rater.id == Comparison.rater_id).where(Rater.name == "急性子")
        assert len(session.scalars(mine).all()) == 1
    database.close()
