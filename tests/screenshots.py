"""Pictures of every page for the documentation: `python -m tests.screenshots [FOLDER]`, then look at them."""

import random
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

from backend.services import build_services
from backend.settings import ROOT, Settings
from tests.browser_setup import find_browser
from tests.real_app import FLAGS, App, running

WAIT = 40_000
PAGES = {
    "home": ("", "#zf-home-board table"),
    "campaigns": ("campaigns", "#zf-campaigns table"),
    "corpus": ("corpus", "#zf-browse table"),
    "judges": ("judges", "table"),
    "training": ("training", "#zf-header"),
    "agreement": ("agreement", "#zf-worst h3"),
}
VIEWS = {"": (1440, "light", "zh"), "-dark": (1440, "dark", "zh"), "-phone-en": (390, "light", "en")}


def main() -> None:
    """Start the application with some labels in it and photograph every page."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp()) / "home"
    services = build_services(Settings(home=home))
    services.prepare()
    services.close()
    with running(home) as app:
        for name, care in (("小林", 0.9), ("老周", 0.75)):
            annotate(app, name, care)
        photograph(app, folder)
    shutil.rmtree(home.parent)


def annotate(app: App, name: str, care: float) -> None:
    """Label 40 comparisons; `care` is the share of answers that follow a rule, the rest are random."""
    choose = random.Random(name)
    with httpx.Client(base_url=f"{app.url}/api/annotation", timeout=20) as client:
        client.post("/enter", json={"name": name})
        found = client.get("/campaigns").json()["campaigns"]
        campaign = next(c["id"] for c in found if c["kind"] == "compare")
        item = client.post("/next", json={"campaign_id": campaign}).json()["next"]
        for _ in range(40):
            rule = "a" if item["left"].count("我") >= item["right"].count("我") else "b"
            outcome = rule if choose.random() < care else choose.choice(["a", "b", "both_good"])
            body = {"campaign_id": campaign, "item_id": item["item_id"], "outcome": outcome}
            item = client.post("/compare", json={**body, "request_id": uuid.uuid4().hex}).json()["next"]


def photograph(app: App, folder: Path) -> None:
    """Every page in every view, and annotation on an item."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        for suffix, (width, scheme, lang) in VIEWS.items():
            size = {"width": width, "height": 900 if width > 400 else 844}
            page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
            for name, (path, ready) in PAGES.items():
                page.goto(f"{app.url}/{lang}/{path}", wait_until="domcontentloaded")
                page.wait_for_selector(ready, timeout=WAIT)
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"{name}{suffix}.png", full_page=name == "home")
            on_an_item(page, f"{app.url}/{lang}/annotate")
            page.screenshot(path=folder / f"annotate{suffix}.png")
        browser.close()


def on_an_item(page: Page, address: str) -> None:
    """Enter as a third person and open the compare campaign."""
    page.goto(address, wait_until="domcontentloaded")
    page.fill("#zf-name", "阿敏", timeout=WAIT)
    page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text="哪条更好").locator("[data-campaign]").click()
    page.wait_for_selector("#zf-b", timeout=WAIT)
    page.wait_for_timeout(400)


if __name__ == "__main__":
    main()
