"""Every page in both languages: opens without errors, remembers language and colour scheme."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from backend.core.settings import Settings
from backend.llm.endpoints import EndpointInput
from backend.services import build_services
from tests.real_app import App, running
from ui.shell.app import LANGUAGES, SITE_PAGES

pytestmark = [pytest.mark.browser, pytest.mark.database]


WIDTHS = {1440: 900, 1024: 768, 390: 844}
QUIET_MS = 200


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with a model that nobody asks anything, so that no page hides its forms."""
    home = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("shell") / "home"))
    services = build_services(Settings(home=home))
    services.endpoints.save(EndpointInput("示例模型", "http://127.0.0.1:9/v1", "example"))
    services.close()
    with running(home) as made:
        yield made


class Traffic:
    """What a page still asks its server for; its heartbeat never ends."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: set[Request] = set()
        page.on("request", lambda one: None if "/heartbeat/" in one.url else self._open.add(one))
        for over in ("requestfinished", "requestfailed"):
            page.on(over, lambda one: self._open.discard(one))
        # What a page asked as it was left is not always told to have failed.
        page.on("framenavigated", lambda frame: None if frame.parent_frame else self._open.clear())

    def settled(self, seconds: float = 90) -> None:
        """Wait until every answer is there, and nothing has followed from the last one."""
        end, quiet = time.monotonic() + seconds, 0
        while quiet < QUIET_MS:
            waiting = [one.url for one in self._open]
            assert time.monotonic() < end, f"{self._page.url}: no answer from {waiting}"
            self._page.wait_for_timeout(50)
            quiet = 0 if self._open else quiet + 50


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_page_opens_and_fits(browser: Browser, app: App, lang: str) -> None:
    page = browser.new_context().new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("response", lambda reply: failures.append(reply.url) if reply.status >= 500 else None)
    traffic = Traffic(page)
    for entry in SITE_PAGES:
        page.goto(f"{app.url}/{lang}/{entry.url_path}", wait_until="domcontentloaded")
        here = page.locator('.zf-nav a[aria-current="page"]')
        expect(here).to_have_text(entry.en if lang == "en" else entry.zh, timeout=30_000)
        traffic.settled()
        assert page.evaluate("document.documentElement.lang")[:2] == lang
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(60)
            wide = page.evaluate("document.scrollingElement.scrollWidth")
            if wide > width:
                failures.append(f"{entry.url_path} is {wide} px wide at {width}")
            if not here_is_seen(page, width):
                failures.append(f"{entry.url_path} is out of sight in the navigation at {width}")
    page.close()
    assert failures == []


def here_is_seen(page: Page, width: int) -> bool:
    """Whether the name of the page one is on stands in the header, whole, on one line with the tools."""
    mark = '.zf-nav a[aria-current="page"]' if width > 960 else ".zf-menu"
    name, tools = page.locator(mark).bounding_box(), page.locator(".zf-tools").bounding_box()
    if name is None or tools is None:
        return False
    inside = name["x"] >= 0 and name["x"] + name["width"] <= tools["x"]
    return inside and abs(name["y"] - tools["y"]) < 20


def test_a_page_speaks_one_language_whatever_the_browser_speaks(browser: Browser, app: App) -> None:
    for lang, other, word in (("zh", "en-US", "点击上传"), ("en", "zh-CN", "Click to Upload")):
        page = browser.new_context(locale=other).new_page()
        reply = page.goto(f"{app.url}/{lang}/corpus", wait_until="domcontentloaded")
        assert reply is not None and f'<html lang="{lang}' in reply.text() and "og:" not in reply.text()
        page.get_by_role("tab", name="导入" if lang == "zh" else "Import").click(timeout=30_000)
        expect(page.locator("#zf-upload")).to_contain_text(word)
        page.close()


def test_the_menu_of_a_phone_leads_to_every_page(browser: Browser, app: App) -> None:
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.goto(f"{app.url}/zh/agreement", wait_until="domcontentloaded")
    links = page.locator(".zf-nav a")
    menu = page.get_by_role("button", name="打开导航")
    expect(menu).to_contain_text("一致性", timeout=30_000)
    expect(links.first).to_be_hidden()
    menu.click()
    for number in range(len(SITE_PAGES)):
        expect(links.nth(number)).to_be_in_viewport(ratio=1)
    page.keyboard.press("Escape")
    expect(links.first).to_be_hidden()
    menu.click()
    links.get_by_text("语料").click()
    page.wait_for_url("**/zh/corpus")
    page.close()


def test_a_guide_is_read_once_and_comes_back_when_asked(browser: Browser, app: App) -> None:
    page = browser.new_context().new_page()
    guide, again = page.locator("#zf-guide"), page.locator("[data-zf-guide]")
    page.goto(f"{app.url}/zh/annotate", wait_until="domcontentloaded")
    expect(guide.locator("li")).to_have_count(3, timeout=30_000)
    expect(guide).to_be_visible()
    page.get_by_role("button", name="知道了").click()
    expect(guide).to_be_hidden()
    page.reload(wait_until="domcontentloaded")
    expect(again).to_be_visible(timeout=30_000)
    expect(guide).to_be_hidden()
    again.click()
    expect(guide).to_be_visible()
    page.goto(f"{app.url}/zh/corpus", wait_until="domcontentloaded")
    expect(again).to_be_visible(timeout=30_000)
    expect(guide).to_be_hidden()
    page.close()


def test_language_and_scheme_are_remembered(browser: Browser, app: App) -> None:
    page = browser.new_context(color_scheme="light").new_page()
    traffic = Traffic(page)
    page.goto(app.url, wait_until="domcontentloaded")
    page.click("[data-zf-theme]", timeout=30_000)
    expect(page.locator("body.dark")).to_be_attached()
    page.click('[data-zf-lang="en"]')
    page.wait_for_url("**/en/")
    expect(page.locator("body.dark")).to_be_attached(timeout=30_000)
    page.goto(app.url, wait_until="domcontentloaded")
    page.wait_for_url("**/en/")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".zf-nav", timeout=30_000)
    traffic.settled()
    expect(page.locator("body.dark")).to_be_attached()
    page.click("[data-zf-theme]")
    expect(page.locator("body:not(.dark)")).to_be_attached()
    page.close()


def test_a_campaign_without_a_name_is_one_sentence(browser: Browser, app: App) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{app.url}/zh/campaigns", wait_until="domcontentloaded")
    page.click("#zf-campaign-create", timeout=30_000)
    expect(page.locator("#zf-campaign-told")).to_contain_text("不能为空", timeout=30_000)
    page.get_by_role("tab", name="查一道题").click()
    expect(page.locator("#zf-item-open")).to_be_visible()
    page.wait_for_timeout(500)  # a box that is filled while it is being put up is reset to its first value
    page.fill("#zf-item-number input", "99999")
    page.press("#zf-item-number input", "Tab")
    page.click("#zf-item-open")
    expect(page.locator("#zf-item")).to_contain_text("99999", timeout=30_000)
    page.close()


def test_what_cannot_be_taken_back_is_asked_first(browser: Browser, app: App) -> None:
    page = browser.new_context().new_page()
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(f"{app.url}/zh/judges", wait_until="domcontentloaded")
    page.get_by_role("tab", name="模型端点").click(timeout=30_000)
    page.click("#zf-endpoint-remove")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("请先选中", timeout=30_000)
    page.locator("#zf-endpoint-which input").click()
    page.get_by_role("option", name="示例模型").click()
    page.click("#zf-endpoint-remove")
    page.wait_for_timeout(800)
    assert len(asked) == 1 and "删除" in asked[0]
    expect(page.locator("#zf-endpoints")).to_contain_text("示例模型")
    page.close()
