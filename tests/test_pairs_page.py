"""The page of pairs in a real browser: start a run, watch it, open a debate, flip a pair, export, train."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.core.settings import PROJECT_ROOT
from tests.job_helpers import until
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, house, prompts, prompts_file
from tests.real_app import App, running
from tests.real_app import browser as browser

pytestmark = pytest.mark.browser
WAIT = 60_000


@pytest.fixture
def app(home: Path, fake_llm: FakeLLM) -> Iterator[App]:
    """The application with an endpoint and no run."""
    fake_llm.script(**SCRIPT)
    with house(fake_llm, timeout_s=300, concurrency=4) as services:
        prompts_file(services, [*prompts(12), prompts(1)[0], "红烧肉怎么做"])
        # Not an empty house, which would first learn the seed corpus.
        services.corpus.import_file(prompts_file(services, prompts(2), "few.txt"), kind="prompts")
    with running(home) as made:
        yield made


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def pick(page: Page, box: str, option: str) -> None:
    page.locator(f"#{box} input").first.click()
    page.wait_for_timeout(300)
    page.get_by_role("option", name=option).first.click()


def test_from_requests_to_a_flipped_and_exported_pair(
    app: App, browser: Browser, fake_llm: FakeLLM, tmp_path: Path
) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{app.url}/zh/pairs")
    expect(page.locator("#zf-pair-runs")).to_contain_text("还没有偏好对")
    start(page, app, fake_llm)
    watch(page, app.home, fake_llm)
    second_reviewer(browser, app, page)
    told = overrule(page)
    exported(page, tmp_path, told)
    page.click("#zf-pair-train")
    expect(page.locator("#zf-pair-used")).to_contain_text("已加入队列")
    page.reload()
    expect(page.locator("#zf-pair-funnel")).to_contain_text("可用的偏好对")
    page.get_by_text("看看丢掉了什么").click()
    pick(page, "zf-pair-why", "不是要祝福")
    expect(page.locator("#zf-pair-lost")).to_contain_text("红烧肉怎么做")
    page.close()
    assert failures == []
    assert "Traceback" not in (app.home / "server.log").read_text()


def start(page: Page, app: App, fake: FakeLLM) -> None:
    tab(page, "新的一批")
    page.click("#zf-pairs-start")
    expect(page.locator("#zf-pairs-form-told")).to_contain_text("请选择至少一个写作模型")
    page.set_input_files("#zf-pairs-file input[type=file]", str(app.home / "prompts.txt"))
    expect(page.locator("#zf-pairs-file")).to_contain_text("prompts")
    pick(page, "zf-pairs-generators", "fake")
    page.keyboard.press("Escape")
    page.locator("#zf-pairs-check input[type=number]").fill("0")
    page.get_by_text("更多设置").click()
    page.get_by_label("配平").uncheck()
    page.get_by_label("调用上限").fill("100")
    page.fill("#zf-pairs-name input, #zf-pairs-name textarea", "试一试")
    page.click("#zf-pairs-estimate")
    expect(page.locator("#zf-pairs-form-told")).to_contain_text("14 行里有 12 个可用的请求，写 48 条候选")
    expect(page.locator("#zf-pairs-form-told")).to_contain_text("重复的请求")
    assert fake.state()["asked"] == {}
    fake.script(**SCRIPT, hold=True)  # as below: the cap on calls must not end the run first
    page.click("#zf-pairs-start")
    expect(page.locator("#zf-pair-told")).to_contain_text("“试一试”开始了")


def watch(page: Page, home: Path, fake: FakeLLM) -> None:
    expect(page.locator("#zf-pair-runs")).to_contain_text("进行中")
    pause(page, fake)
    expect(page.locator("#zf-pair-runs")).to_contain_text("已暂停")
    expect(page.locator("#zf-pair-head")).to_contain_text("点“继续”")
    expect(page.locator("#zf-pair-head")).to_contain_text("/ 100")
    played_by_a_command(page, home, fake)
    fake.script(**SCRIPT)
    page.click("#zf-pair-resume")
    expect(page.locator("#zf-pair-head")).to_contain_text("已用调用 100 / 100")
    page.locator("#zf-pair-cap-calls input").fill("1000")
    page.click("#zf-pair-resume")
    expect(page.locator("#zf-pair-runs")).to_contain_text("完成")
    expect(page.locator("#zf-pair-cap-calls")).to_be_hidden()
    funnel = page.locator("#zf-pair-funnel")
    expect(funnel).to_contain_text("只看字数能猜中")
    expect(funnel).to_contain_text("重复的请求 −1")
    expect(page.locator("#zf-pair-pause")).to_be_hidden()


def played_by_a_command(page: Page, home: Path, fake: FakeLLM) -> None:
    """A page older than the command notices it by itself, offers what can be done, and stops the command."""
    fake.script(**SCRIPT, hold=True)
    command = [sys.executable, "-m", "backend", "pairs", "resume", "--run", "1", "--json"]
    env = {**os.environ, "ZHUFU_HOME": str(home)}
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=env, stdout=subprocess.PIPE, text=True) as player:
        with closing(sqlite3.connect(home / "zhufu.db")) as table:
            query = "SELECT pid FROM jobs WHERE worker IS NULL AND status = 'running'"
            until(lambda: table.execute(query).fetchone() == (player.pid,))
        expect(page.locator("#zf-pair-head")).to_contain_text("由命令行进行")
        expect(page.locator("#zf-pair-runs")).to_contain_text("进行中")
        expect(page.locator("#zf-pair-resume")).to_be_hidden()
        pause(page, fake)
        assert json.loads(player.communicate(timeout=60)[0])["state"] == "stopped" and player.returncode == 0
    expect(page.locator("#zf-pair-head")).to_contain_text("点“继续”")


def pause(page: Page, fake: FakeLLM) -> None:
    """Press, and let the calls in flight go once the press is noted, slowly: a worker passes it on."""
    page.click("#zf-pair-pause")
    expect(page.locator("#zf-pair-pause")).to_be_hidden()
    fake.script(**SCRIPT, latency_s=1)


def overrule(page: Page) -> tuple[str, str]:
    """Flip the first pair; the greeting that is the better one now, and the weaker one."""
    tab(page, "逐对看")
    page.locator("#zf-pair-table [data-pair='1']").first.click()
    debate = page.locator(".zf-debate")
    for who in ("褒方", "贬方", "评审", "复核"):
        expect(debate).to_contain_text(who)
    expect(debate).to_contain_text("还没有人看过这一对")
    chosen, rejected = (debate.locator("blockquote").nth(n).inner_text() for n in range(2))
    page.fill("#zf-pair-name input, #zf-pair-name textarea", "小林")
    page.fill("#zf-pair-note input, #zf-pair-note textarea", "<b>这条更真诚</b>")
    page.click("#zf-pair-flip")
    expect(page.locator("#zf-pair-decided")).to_contain_text("已对调第")
    expect(debate).to_contain_text("小林：已对调（<b>这条更真诚</b>）")
    expect(debate.locator("blockquote").first).to_have_text(rejected)
    expect(page.locator("#zf-pair-table")).to_contain_text("已对调")
    page.click("#zf-pair-next")
    expect(page.locator(".zf-debate header")).to_contain_text("第 2 对")
    page.click("#zf-pair-discard")
    expect(page.locator("#zf-pair-decided")).to_contain_text("已丢弃第 2 对")
    pick(page, "zf-pair-state", "已丢弃")
    expect(page.locator("#zf-pair-table")).to_contain_text("共 1 对")
    return rejected, chosen


def exported(page: Page, folder: Path, told: tuple[str, str]) -> None:
    tab(page, "批次")
    for form in ("trl", "sharegpt"):
        page.locator("#zf-pair-format").get_by_text(form).click()
        page.click("#zf-pair-export")
        expect(page.locator("#zf-pair-used")).to_contain_text("已导出")
        expect(page.locator("#zf-pair-file")).to_contain_text(f"pairs-1-{form}")
        with page.expect_download() as download:
            page.locator("#zf-pair-file a[download]").first.click()
        download.value.save_as(folder / form)
    rows = [json.loads(line) for line in (folder / "trl").read_text(encoding="utf-8").splitlines()]
    assert told in {(row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in rows} and len(rows) > 10
    assert told[0] in (folder / "sharegpt").read_text(encoding="utf-8")


def second_reviewer(browser: Browser, app: App, first: Page) -> None:
    """What somebody else has changed since is not overruled unseen; a press on nothing says so."""
    other = browser.new_context().new_page()
    other.set_default_timeout(WAIT)
    other.goto(f"{app.url}/en/pairs?run=1")
    expect(other.locator("#zf-pair-funnel")).to_contain_text("Pairs in use")
    tab(other, "Pair by pair")
    other.locator("#zf-pair-table [data-pair='3']").first.click()
    expect(other.locator(".zf-debate header")).to_contain_text("pair 3")
    tab(first, "逐对看")
    first.locator("#zf-pair-table [data-pair='3']").first.click()
    expect(first.locator(".zf-debate header")).to_contain_text("第 3 对")
    first.click("#zf-pair-accept")
    expect(first.locator("#zf-pair-decided")).to_contain_text("已认可第 3 对")
    other.click("#zf-pair-flip")
    expect(other.locator("#zf-pair-decided")).to_contain_text("look at it again")
    expect(other.locator(".zf-debate header")).to_contain_text("accepted")
    # In one go: the table that is painted anew after a decision would put the number right again.
    other.locator("#zf-pair-table [data-pair]").first.evaluate("row => { row.dataset.pair = '999999'; row.click(); }")
    expect(other.locator("#zf-pair-decided")).to_contain_text("no pair 999999")
    other.close()
