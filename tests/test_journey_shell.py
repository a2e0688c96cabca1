"""Every page in both languages: opens without errors, remembers language and colour scheme."""

import pytest
from playwright.sync_api import Browser, expect

from tests.real_app import App
from ui.shell import LANGS, PAGES

pytestmark = [pytest.mark.browser, pytest.mark.database]


@pytest.mark.parametrize("lang", LANGS)
def test_every_page_opens(browser: Browser, app: App, lang: str) -> None:
    page = browser.new_context().new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("response", lambda reply: failures.append(reply.url) if reply.status >= 500 else None)
    for entry in PAGES:
        page.goto(f"{app.url}/{lang}/{entry.path}", wait_until="domcontentloaded")
        here = page.locator('.zf-nav a[aria-current="page"]')
        expect(here).to_have_text(entry.en if lang == "en" else entry.zh, timeout=30_000)
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.lang")[:2] == lang
    page.close()
    assert failures == []


def test_language_and_scheme_are_remembered(browser: Browser, app: App) -> None:
    page = browser.new_context(color_scheme="light").new_page()
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
    page.wait_for_timeout(800)
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
    page.fill("#zf-item-number input", "99999")
    page.click("#zf-item-open")
    expect(page.locator("#zf-item")).to_contain_text("99999", timeout=30_000)
    page.close()
