"""A second press that comes too soon labels nothing: real keys and a real mouse in a real browser.

What the page showed when, and what was pressed when, is noted in the page itself. The labels in the database
must be as many as the presses that came 400 ms or more after their item had appeared.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from backend.core.enums import Outcome
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.tables import Comparison, Rater, Review, Verdict
from tests.real_app import App, running, until_ready

pytestmark = [pytest.mark.browser, pytest.mark.database]

COMPARE, VALIDATE = "哪条更好", "裁判可信吗"
ITEMS = 3
GAPS = (30, 100, 200, 300)
READY_MS = 400
SLACK_MS = 60
"""A frame and a timer lie between the appearance and the moment from which a press counts."""

NOTES = """
window.notes = [];
const note = (what) => window.notes.push([what, performance.now()]);
new MutationObserver((changes) => {
  const shown = (node) => node.classList?.contains("zf-item") || node.querySelector?.(".zf-item");
  if (changes.some((change) => [...change.addedNodes].some(shown))) note("shown");
}).observe(document, { childList: true, subtree: true });
const on = (kind, counts) => document.addEventListener(kind, (event) => counts(event) && note("press"), true);
on("keydown", (event) => !event.target.closest("input"));
on("click", (event) => event.target.closest("[data-act]"));
"""


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(Path(shutil.copytree(prepared, tmp_path_factory.mktemp("double") / "home"))) as made:
        yield made


@dataclass
class Person:
    """Somebody at the annotation page."""

    page: Page
    name: str
    app: App

    def rows(self) -> list[Comparison | Verdict | Review]:
        """Everything of theirs that is stored, withdrawals too, oldest first."""
        database = Database(Settings(home=self.app.home).url)
        found: list[Comparison | Verdict | Review] = []
        with database.read() as session:
            rater = session.scalars(select(Rater.id).where(Rater.name == self.name)).one()
            for table in (Comparison, Verdict, Review):
                found += session.scalars(select(table).where(table.rater_id == rater).order_by(table.id))
        database.close()
        return found

    def due(self) -> tuple[int, int]:
        """How many labels the presses must have made, at least and at most."""
        notes = self.page.evaluate("window.notes")
        return _count(notes, READY_MS + SLACK_MS), _count(notes, READY_MS)

    def check(self) -> int:
        """Compare what is stored with what is due; how many rows there are."""
        self.page.wait_for_timeout(700)
        least, most = self.due()
        stored = len(self.rows())
        assert least <= stored <= most, (least, stored, most)
        return stored


def _count(notes: list[tuple[str, float]], after_ms: float) -> int:
    shown, count = None, 0
    for what, moment in notes:
        if what == "shown":
            shown = moment
        elif shown is not None and moment - shown >= after_ms:
            count, shown = count + 1, None
    return count


def enter(browser: Browser, app: App, name: str, campaign: str) -> Person:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(30_000)
    page.add_init_script(NOTES)
    page.goto(f"{app.url}/zh/annotate", wait_until="domcontentloaded")
    page.fill("#zf-name", name)
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text=campaign).locator("[data-campaign]").click()
    page.wait_for_selector("#zf-a")
    return Person(page, name, app)


def two_keys(page: Page, gap: int) -> None:
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(gap)
    page.keyboard.press("ArrowRight")


def two_clicks(page: Page, gap: int) -> None:
    """Two presses of the mouse at one place, which the browser takes for single ones."""
    _clicks(page, gap, 1)


def double_click(page: Page, gap: int) -> None:
    """Two presses which the browser itself takes for a double click."""
    _clicks(page, gap, 2)


def _clicks(page: Page, gap: int, second: int) -> None:
    box = page.locator("[data-act]").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for count in (1, second):
        page.mouse.down(click_count=count)
        page.mouse.up(click_count=count)
        if count == 1 and gap:
            page.wait_for_timeout(gap)
            gap = 0


@pytest.mark.parametrize("campaign", [COMPARE, VALIDATE])
@pytest.mark.parametrize("press", [two_keys, two_clicks, double_click])
def test_two_quick_presses_make_one_label(
    browser: Browser, app: App, campaign: str, press: Callable[[Page, int], None]
) -> None:
    person = enter(browser, app, f"急 {campaign} {press.__name__}", campaign)
    before = 0
    one_each = []
    for gap in GAPS:
        for _ in range(ITEMS):
            until_ready(person.page)
            press(person.page, gap)
        stored = person.check()
        labels, before = stored - before, stored
        if labels == ITEMS:
            one_each.append(gap)
    # A busy machine may stretch a gap until the second press counts, which `check` knows by the page's clock.
    assert [gap for gap in one_each if gap < 300], "no short gap was short"
    if campaign == COMPARE and press is two_keys and before == ITEMS * len(GAPS):
        assert {row.outcome for row in person.rows()} == {Outcome.A}, "the first press is the answer"
    person.page.close()


def test_undo_and_skip_obey_the_same_rule(browser: Browser, app: App) -> None:
    person = enter(browser, app, "急着撤销", COMPARE)
    page = person.page
    for key in ("ArrowUp", "ArrowDown", "s", "z"):
        until_ready(page)
        page.keyboard.press(key)
        page.wait_for_timeout(30)
        page.keyboard.press(key)
    assert person.check() == 4
    outcomes = [row.outcome for row in person.rows() if isinstance(row, Comparison)]
    assert outcomes == [Outcome.BOTH_GOOD, Outcome.BOTH_BAD, Outcome.SKIP, Outcome.WITHDRAWN]


def test_a_key_held_down_and_an_input_method_label_nothing_more(browser: Browser, app: App) -> None:
    person = enter(browser, app, "按住不放", COMPARE)
    page = person.page
    until_ready(page)
    for _ in range(24):  # without an up in between they repeat, as a held key does
        page.keyboard.down("ArrowLeft")
        page.wait_for_timeout(50)
    page.keyboard.up("ArrowLeft")
    assert len(person.rows()) == 1
    until_ready(page)
    for event in ("{ key: 'ArrowLeft', isComposing: true }", "{ key: 's', keyCode: 229 }"):
        page.evaluate(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{ bubbles: true, ...{event} }}))")
    page.wait_for_timeout(300)
    assert len(person.rows()) == 1
    page.keyboard.press("ArrowRight")
    expect(page.locator("#zf-progress-text")).to_contain_text("我标了 2 ")


def test_enter_held_on_a_focused_button_presses_once(browser: Browser, app: App) -> None:
    person = enter(browser, app, "按住回车", COMPARE)
    person.page.locator("[data-act=a]").focus()
    for _ in range(20):
        person.page.keyboard.down("Enter")
        person.page.wait_for_timeout(50)
    person.page.keyboard.up("Enter")
    person.page.wait_for_timeout(500)
    assert person.rows() == [], "the first press came before the item was ready, the others only repeat it"


@pytest.mark.parametrize("campaign", [COMPARE, VALIDATE])
def test_selecting_text_never_votes(browser: Browser, app: App, campaign: str) -> None:
    person = enter(browser, app, f"选字 {campaign}", campaign)
    page, text = person.page, person.page.locator("#zf-a")
    until_ready(page)
    text.dblclick(position={"x": 40, "y": 15})
    assert page.evaluate("String(getSelection())") != ""
    text.click(click_count=3, position={"x": 40, "y": 15})
    for key in ("Shift+ArrowRight", "Shift+ArrowLeft", "Shift+ArrowDown", "Shift+ArrowUp"):
        page.keyboard.press(key)
    box = text.bounding_box()
    button = page.locator("[data-act]").first.bounding_box()
    assert box is not None and button is not None
    page.mouse.move(box["x"] + 5, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(button["x"] + 20, button["y"] + 10, steps=8)  # let go above a button
    page.mouse.up()
    text.click()
    page.wait_for_timeout(500)
    assert person.rows() == []


def test_reasons_wait_for_the_item_and_are_stored_once(browser: Browser, app: App) -> None:
    person = enter(browser, app, "给理由", COMPARE)
    page = person.page
    until_ready(page)
    chip = page.locator("[data-flaw]").first
    chip.dblclick()
    expect(chip).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(40)
    page.keyboard.press("2")  # meant for the item before
    until_ready(page)
    expect(page.locator('[data-flaw][aria-pressed="true"]')).to_have_count(0)
    (row,) = person.rows()
    assert isinstance(row, Comparison) and len(row.reasons) == 1
    page.keyboard.press("2")
    expect(page.locator('[data-flaw][aria-pressed="true"]')).to_have_count(1)


def test_a_button_that_takes_no_press_yet_does_not_look_pressed(browser: Browser, app: App) -> None:
    person = enter(browser, app, "看按钮", COMPARE)
    page = person.page
    until_ready(page)
    colour = "getComputedStyle(document.querySelector('[data-act=a]')).backgroundColor"
    box = page.locator("[data-act=a]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 30, box["y"] + 20)
    plain = page.evaluate(colour)
    page.mouse.down()
    assert page.evaluate(colour) != plain
    page.mouse.move(5, 5)
    page.mouse.up()
    page.evaluate("document.querySelector('.zf-item').dataset.ready = 'false'")
    page.mouse.move(box["x"] + 30, box["y"] + 20)
    page.mouse.down()
    assert page.evaluate(colour) == plain
    page.mouse.up()
