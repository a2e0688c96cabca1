"""The judges' page in a real browser: connect a model, write a judge, try it, let it run."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.llm_fixtures import FakeLLM
from tests.real_app import App, running
from tests.real_app import browser as browser
from tests.scoring_helpers import house, request

pytestmark = pytest.mark.browser
SECRET = "sk-very-secret-0123456789"
WAIT = 30_000


@pytest.fixture(scope="module")
def app(_fake_llm_process: FakeLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with one data set, already judged by two judges."""
    home = tmp_path_factory.mktemp("judges") / "home"
    _fake_llm_process.script()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZHUFU_HOME", str(home))
        with house(_fake_llm_process, 40) as services:
            services.scoring.run(request(services))
            spec = services.scoring.catalog.resolve("principle", principles=["真诚"]).with_name("只看真诚")
            services.scoring.catalog.save(spec)
            services.endpoints.delete("fake")
    with running(home) as made:
        yield made


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def pick(page: Page, box: str, option: str) -> None:
    page.locator(f"#{box} input").click()
    page.wait_for_timeout(300)
    page.get_by_role("option", name=option).first.click()


def test_two_judges_side_by_side_in_english(app: App, browser: Browser):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{app.url}/en/judges")
    expect(page.locator("#zf-judges")).to_contain_text("Principles")
    expect(page.locator("#zf-judges")).to_contain_text("Agreement with: data")
    tab(page, "Side by side")
    pick(page, "zf-beside-first", "principle ·")
    pick(page, "zf-beside-second", "principle ·")
    expect(page.locator("#zf-beside")).to_contain_text("Nothing that both judged")
    page.get_by_label("Only where they part").uncheck()
    expect(page.locator("#zf-beside")).to_contain_text("page 1 of 8")
    expect(page.locator("#zf-beside")).to_contain_text("excellent")
    page.close()


def test_from_an_endpoint_to_a_finished_run(app: App, browser: Browser, fake_llm: FakeLLM):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.goto(f"{app.url}/zh/judges")
    expect(page.locator("#zf-judges")).to_contain_text("只看真诚")
    endpoint(page, fake_llm)
    assert SECRET not in page.content()
    editor(page)
    runs(page, fake_llm)
    page.reload()
    expect(page.locator("#zf-judges")).to_contain_text("我的裁判")
    tab(page, "模型端点")
    expect(page.locator("#zf-endpoints")).to_contain_text("mine")
    assert SECRET not in page.content()
    assert SECRET not in (app.home / "server.log").read_text()
    page.close()


def endpoint(page: Page, fake: FakeLLM) -> None:
    tab(page, "模型端点")
    for box, value in {"name": "mine", "url": "不是地址", "model": "fake", "key": SECRET}.items():
        page.locator(f"#zf-endpoint-{box} input, #zf-endpoint-{box} textarea").first.fill(value)
    page.click("#zf-endpoint-save")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("基础地址应形如")
    page.locator("#zf-endpoint-url input, #zf-endpoint-url textarea").first.fill(fake.base_url)
    page.click("#zf-endpoint-save")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("已保存“mine”")
    expect(page.locator("#zf-endpoint-key input")).to_have_value("")
    fake.script(api_key="another key")
    page.click("#zf-endpoint-test")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("401")
    fake.script(latency_s=0.02)
    page.click("#zf-endpoint-test")
    expect(page.locator("#zf-endpoint-told")).to_contain_text("可用")


def editor(page: Page) -> None:
    tab(page, "新建与试用")
    rules = page.locator("#zf-judge-principles textarea")
    preview = page.locator("#zf-judge-preview")
    rules.fill("\n".join(f"规则{number}" for number in range(11)))
    expect(page.locator("#zf-judge-told")).to_contain_text("最多 10 条")
    rules.fill("要提到太极\n要真诚")
    expect(preview).to_contain_text("1. 要提到太极\n2. 要真诚")
    page.locator("#zf-try-greeting textarea").fill("<b>奶奶</b>{{prompt}}")
    expect(preview).to_contain_text("奶奶")
    page.locator("#zf-judge-name input, #zf-judge-name textarea").first.fill("我的裁判")
    page.click("#zf-judge-try")
    expect(page.locator("#zf-try-result")).to_contain_text("优秀")
    page.click("#zf-judge-save")
    expect(page.locator("#zf-judge-saved")).to_contain_text("已保存“我的裁判”")


def runs(page: Page, fake: FakeLLM) -> None:
    tab(page, "评判任务")
    page.click("#zf-run-start")
    expect(page.locator("#zf-run-told")).to_contain_text("请选择裁判")
    pick(page, "zf-run-judge", "我的裁判")
    pick(page, "zf-run-target", "数据集 · data")
    page.click("#zf-run-estimate")
    expect(page.locator("#zf-run-told")).to_contain_text("还有 40 条要评")
    page.click("#zf-run-start")
    expect(page.locator("#zf-run-told")).to_contain_text("已加入队列")
    expect(page.locator("#zf-runs")).to_contain_text("40 / 40")
    expect(page.locator("#zf-runs")).to_contain_text("完成")
    assert json.dumps(fake.state()["asked"])
