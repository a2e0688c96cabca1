"""What a person has chosen on a page stays, however late the answers come that fill its boxes."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import request, world_file, world_house
from tests.real_app import App, running
from tests.test_judges_page import pick, tab
from ui.shell.app import LANGUAGES

pytestmark = pytest.mark.browser
CHOSEN_BY_PEOPLE = {"dropdown", "radio", "checkbox", "checkboxgroup", "number", "slider", "textbox"}
BOX = "zf-game-dataset"
WAIT = 30_000


@pytest.fixture
def app(home: Path, fake_llm: FakeLLM) -> Iterator[App]:
    """The application with two sets of labels to choose from."""
    with world_house(fake_llm) as services:
        services.corpus.import_file(world_file(services.settings.home), dataset="another")
        services.evolution.create(request())  # both first versions
    with running(home) as made:
        yield made


class HeldAnswers:
    """The requests of a page that fill one box, held back until they are let go one by one."""

    def __init__(self, page: Page, elem_id: str) -> None:
        self._page, self._elem_id, self.held = page, elem_id, list[Route]()
        page.route(re.compile("/gradio_api/run/predict"), self._take)

    def _take(self, route: Route) -> None:
        if route.request.post_data_json["fn_index"] in self._filling():
            self.held.append(route)
        else:
            route.continue_()

    def _filling(self) -> set[int]:
        config: dict[str, Any] = self._page.evaluate("window.gradio_config")
        box = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == self._elem_id)
        return {event["id"] for event in config["dependencies"] if box in event["outputs"]}

    def let_one_go(self) -> None:
        """Let the oldest request go on, once there is one."""
        for _ in range(100):
            if self.held:
                return self.held.pop(0).continue_()
            self._page.wait_for_timeout(100)
        raise AssertionError("the page asks for no choices")

    def let_all_go(self) -> None:
        """Let go what the page has asked besides, and wait until it has been answered."""
        self._page.wait_for_timeout(1_500)
        for route in self.held:
            route.continue_()
        self._page.wait_for_timeout(1_500)


def test_an_answer_that_comes_late_takes_no_choice_back(app: App, browser: Browser) -> None:
    page = browser.new_page()
    answers = HeldAnswers(page, BOX)
    page.goto(f"{app.url}/zh/principles")
    box = page.locator(f"#{BOX} input")
    answers.let_one_go()
    expect(box).to_have_value(re.compile("another"))
    pick(page, BOX, "world")
    answers.let_all_go()
    expect(box).to_have_value(re.compile("world"))
    tab(page, "版本")
    tab(page, "对局")
    answers.let_all_go()
    expect(box).to_have_value(re.compile("world"))
    page.unroute_all(behavior="ignoreErrors")
    page.close()


def test_what_was_made_is_chosen_and_what_was_deleted_is_not(app: App, browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{app.url}/zh/judges")
    tab(page, "模型端点")
    pick(page, "zf-endpoint-which", "fake")
    page.click("#zf-endpoint-remove")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("已删除“fake”")
    expect(page.locator("#zf-endpoint-which input")).to_have_value("新端点")
    page.goto(f"{app.url}/zh/principles")
    tab(page, "版本")
    version = page.locator("#zf-version input")
    expect(version).to_have_value(re.compile(r"v\d+ · S_D"))
    edited(page)
    (made,) = re.findall(r"v\d+", page.inner_text("#zf-version-told"))
    expect(version).to_have_value(re.compile(f"{made} · S_D"))
    page.get_by_role("radio", name="S_G").check()
    expect(version).to_have_value(re.compile(r"v\d+ · S_G"))
    page.close()


def edited(page: Page) -> None:
    page.get_by_role("button", name="手工修改，成为新版本").click()
    rules = page.locator("#zf-version-rules textarea")
    expect(rules).not_to_have_value("")
    rules.fill("贺词要具体。\n不要套话。")
    for box, words in (("author", "小林"), ("reason", "更短")):
        page.locator(f"#zf-version-{box} :is(input, textarea)").fill(words)
    page.click("#zf-version-save")
    expect(page.locator("#zf-version-told")).to_contain_text("已存为")


def test_opening_a_page_answers_each_box_once(app: App) -> None:
    """A box that two events fill at the start may be filled by the second after a person chose."""
    for lang in LANGUAGES:
        config = httpx.get(f"{app.url}/{lang}/config", timeout=60).json()
        kinds = {one["id"]: one["type"] for one in config["components"]}
        names = {one["id"]: one["props"].get("elem_id") or one["props"].get("label") for one in config["components"]}
        filled = Counter(
            box
            for event in config["dependencies"]
            if any(
                name == "load" or (name == "select" and kinds.get(target) == "tabitem")
                for target, name in event["targets"]
            )
            for box in set(event["outputs"])
            if kinds[box] in CHOSEN_BY_PEOPLE
        )
        assert filled
        assert [names[box] for box, times in filled.items() if times > 1] == []
