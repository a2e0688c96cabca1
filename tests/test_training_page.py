"""The page of trainings: its views by themselves, and one whole journey in a real browser."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.core.enums import ACTIVE_STATUSES, ArtifactKind, EventKind, JobStatus
from backend.core.errors import UserError
from backend.core.settings import Settings
from backend.core.text import parse_row_number
from backend.db.engine import Database
from backend.jobs.messages import JobMessage
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.services import Services
from backend.training.checks import SettingProblem, read_entries
from backend.training.grpo_settings import GrpoSettings
from backend.training.history import HistoryCache, JobHistory, SampleText, thin_curve
from backend.training.messages import COLLAPSE_STOP, DONE, RESUMED, SERVED_AT, UNSCORED, training_step
from backend.training.service import TRAINING_PROGRAMS, TrainingService
from backend.training.settings import find_presets, parse_settings, settings_for
from tests.job_helpers import until
from tests.real_app import App, running
from ui.components.jobs import STATUS_NAMES, status_pill
from ui.components.language import Translator
from ui.training.fields import SETTING_LABELS, entered_settings, setting_names, shown_values
from ui.training.form import problem_html, start_training
from ui.training.names import PLOT_CURVES, progress_line
from ui.training.views import (
    all_points,
    artifacts_table,
    job_status_html,
    jobs_table,
    plot_points,
    remarks_html,
    samples_html,
    size_text,
)
from ui.training.watch import TrainingReader

ZH, EN = Translator("zh"), Translator("en")
WAIT = 40_000


def job(**changes: Any) -> JobInfo:
    moment = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    values: dict[str, Any] = dict.fromkeys(JobInfo.__dataclass_fields__) | {
        "id": 7,
        "kind": "sft",
        "config": {"name": "<b>奶奶</b>"},
        "status": JobStatus.RUNNING,
        "devices": ("cpu:0",),
        "attempt": 1,
        "progress": 0.25,
        "progress_text": "",
        "progress_message": training_step(12, 48, 3780),
        "created_at": moment,
        "started_at": moment,
    }
    return JobInfo(**(values | changes))


@pytest.mark.parametrize("program", TRAINING_PROGRAMS)
def test_boxes_give_back_every_preset(program: str) -> None:
    assert set(setting_names(program)) <= set(SETTING_LABELS)
    for name, preset in find_presets(program).items():
        values = entered_settings(program, shown_values(program, preset))
        assert parse_settings(program, values) == settings_for(program, name, {})


def test_boxes_give_back_a_job(services: Services) -> None:
    settings = settings_for("grpo", None, {"monitor": {"action": "warn"}, "judge": {"principles": ["真诚"]}})
    assert (
        parse_settings("grpo", entered_settings("grpo", shown_values("grpo", settings.model_dump(mode="json"))))
        == settings
    )


def test_json_that_is_none_is_a_sentence() -> None:
    boxes = shown_values("grpo", {}) | {"judge": "{oops"}
    with pytest.raises(UserError, match="no JSON object"):
        entered_settings("grpo", boxes)


def test_every_status_has_sign_and_word() -> None:
    for status in JobStatus:
        assert STATUS_NAMES[status][0] in status_pill(ZH, status) and "aria-hidden" in status_pill(EN, status)


def test_words() -> None:
    assert progress_line(ZH, job()) == "12 / 48 · 约剩 1 小时 03 分"
    soon = training_step(12, 48, 302)
    assert soon.en == "12 / 48, 5 min 02 s left" and soon.values["seconds_left"] == 302
    assert progress_line(EN, job(progress_message=soon)) == "12 / 48 · about 5 min 02 s left"
    assert progress_line(EN, job(progress_message=JobMessage.from_text("12 / 48, 9 s left"))) == "12 / 48, 9 s left"
    assert progress_line(ZH, job(progress_message=DONE.fill())) == "已完成"
    assert progress_line(ZH, job(status=JobStatus.CANCELLED)) == "12 / 48"
    assert [size_text(size) for size in (200, 7_700_000, 3e9)] == ["0.2 kB", "7.7 MB", "3.0 GB"]
    assert [parse_row_number(wish) for wish in ("7", 7, "-1", "７", "7;", None, "9" * 12)] == [7, 7] + [None] * 5


def test_remarks_go_by_level_and_old_lines_are_shown_as_they_are() -> None:
    stop = COLLAPSE_STOP.fill(step=8, reason_en="too long (limit 1.5)", reason_zh="太长了（上限 1.5）")
    old = "监测停止训练 | stopped, step 8: 太长了 | too long"
    reported = [RESUMED.fill(checkpoint="checkpoint-4"), UNSCORED.fill(reward="odd", reason="why"), stop, stop]
    rows = [one.to_data() for one in reported] + [{"text": old}]
    history = JobHistory(messages=[JobMessage.from_data(json.loads(json.dumps(row))) for row in rows])
    zh, en = remarks_html(ZH, history), remarks_html(EN, history)
    assert zh.count("<div") == 3 and "checkpoint-4" not in zh, "information stays in the log, and nothing comes twice"
    assert '<div class="zf-warn" role="status">“odd”没给出评判：why<' in zh and ">unscored by odd: why<" in en
    assert '<div class="zf-bad" role="status">监测停止训练，第 8 步：太长了（上限 1.5）<' in zh
    assert ">collapse monitor stops the run, step 8: too long (limit 1.5)<" in en
    assert all(f'<div class="zf-note" role="status">{old}<' in page for page in (zh, en))


def test_views_escape_what_models_and_people_wrote() -> None:
    history = JobHistory(
        samples=[SampleText(4, "<i>求</i>", "<script>祝</script>")],
        messages=[UNSCORED.fill(reward="<b>奶奶", reason="<script>")],
    )
    whole = (
        jobs_table(ZH, [job()], 7)
        + job_status_html(ZH, job(), history)
        + samples_html(ZH, history.samples)
        + remarks_html(ZH, history)
    )
    assert "<script>" not in whole and "<b>奶奶" not in whole and "<i>求" not in whole
    assert "25%" in whole and "约剩 1 小时 03 分" in whole


@pytest.mark.parametrize("status", JobStatus)
def test_a_service_shows_its_address_only_while_it_may_answer(status: JobStatus) -> None:
    address = SERVED_AT.fill(model="xiao", base_url="http://127.0.0.1:1/v1")
    serving = job(kind="serve", config={}, status=status, progress_message=address)
    for view in (jobs_table(EN, [serving], None), job_status_html(EN, serving, JobHistory())):
        assert ("http://" in view) == (status in ACTIVE_STATUSES)
        assert ("service stopped" in view) == serving.ended
    never = job(kind="serve", status=JobStatus.CANCELLED, progress_message=JobMessage.from_text(""))
    assert "服务已停止" not in job_status_html(ZH, never, JobHistory())


def test_curves_show_only_what_the_job_reports() -> None:
    history = JobHistory(metrics={"reward": {1: 0.5, 2: 0.7}, "reward_std": {1: 0.1, 2: 0.2}, "kl": {1: 0.0}})
    drawn = {curve.plot_key for curve, found in zip(PLOT_CURVES, all_points(ZH, history), strict=True) if found}
    assert drawn == {"reward"}
    reward = next(curve for curve in PLOT_CURVES if curve.plot_key == "reward")
    assert plot_points(ZH, reward, history) == (
        (1, 0.5, "均值"),
        (2, 0.7, "均值"),
        (1, 0.1, "标准差"),
        (2, 0.2, "标准差"),
    )


def test_long_curves_are_thinned_with_both_ends() -> None:
    found = thin_curve({step: float(step) for step in range(5000)})
    assert len(found) == 300 and found[0] == (0, 0.0) and found[-1] == (4999, 4999.0)


@pytest.mark.database
def test_history_reads_only_what_is_new(services: Services, database: Database) -> None:
    from backend.jobs.report import JobReport

    made = services.jobs.submit("selftest", {})
    with JobReport(database, made.id) as report:
        report.metric(1, loss=2.0, gone=float("nan"))
        report.sample(1, "求", "祝")
    histories = HistoryCache(services.jobs)
    assert histories.load_history(made.id).metrics == {"loss": {1: 2.0}}
    with JobReport(database, made.id) as report:
        report.metric(1, loss=1.5)
        report.sample(1, "求", "福")
    again = histories.load_history(made.id)
    assert again.metrics == {"loss": {1: 1.5}} and again.samples == [SampleText(1, "求", "福")]
    assert again.newest_value("loss") == 1.5 and again.newest_value("kl") is None


@pytest.mark.database
def test_what_cannot_work_is_said_at_the_form(services: Services) -> None:
    trainings = TrainingService(services.jobs)

    def wrong(program: str, **values: Any) -> list[SettingProblem]:
        boxes = shown_values(program, find_presets(program)["starter"]) | values
        entered = read_entries(program, entered_settings(program, boxes))
        return entered if isinstance(entered, list) else trainings.find_problems(entered, [], [])

    assert not wrong("sft")
    found = wrong("sft", epochs=None, learning_rate=3, batch_size=2.5)
    assert [problem_html(ZH, one) for one in found][1].count("学习率：不能大于 1。") == 1
    assert [one.field for one in found] == ["epochs", "learning_rate", "batch_size"]
    assert [one.field for one in wrong("sft", datasets=["nowhere"])] == ["datasets"]
    assert [one.field for one in wrong("reward_model")] == ["base"], "no policy yet"
    assert {one.field for one in wrong("grpo", base="gpt2", reward="rubric")} == {"endpoint"}
    assert {one.field for one in wrong("grpo", base="gpt2", reward="ngram")} == set()
    assert {one.field for one in wrong("grpo", base="gpt2")} == {"reward_artifact"}
    odd = wrong("grpo", base="gpt2", reward="ngram", prompts=3, generations=5)
    assert "prompts × generations = 15" in problem_html(EN, odd[0])
    assert services.jobs.jobs() == []
    message = start_training(services, trainings, ZH, "sft", shown_values("sft", {"learning_rate": 3}))
    assert isinstance(message, str) and "学习率" in message


@pytest.mark.database
def test_settings_are_parsed_once_on_their_way_from_the_form_to_the_queue(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, usual = [], GrpoSettings.__init__

    def counted(settings: GrpoSettings, **values: Any) -> None:
        parsed.append(values)
        usual(settings, **values)

    monkeypatch.setattr(GrpoSettings, "__init__", counted)
    boxes = shown_values("grpo", {"base": "gpt2", "reward": "ngram"})
    started = start_training(services, TrainingService(services.jobs), ZH, "grpo", boxes)
    assert isinstance(started, JobInfo) and len(parsed) == 1
    assert parse_settings("grpo", started.config).model_dump(mode="json") == started.config, "as the program reads it"


@pytest.mark.database
def test_starter_is_queued_once_and_cancelled_as_one(services: Services) -> None:
    trainings = TrainingService(services.jobs)
    policy, judge = trainings.start_starter()
    assert (policy.kind, judge.kind, judge.parent_id) == ("sft", "reward_model", policy.id)
    assert trainings.why_starter_blocked() is not None
    with pytest.raises(UserError, match="already"):
        trainings.start_starter()
    trainings.pause(policy.id)
    assert {one.status for one in trainings.jobs()} == {JobStatus.PAUSED}
    trainings.resume(policy.id)
    assert {one.status for one in trainings.jobs()} == {JobStatus.QUEUED}
    trainings.cancel(policy.id)
    assert {one.status for one in trainings.jobs()} == {JobStatus.CANCELLED}
    assert trainings.why_starter_blocked() is None


@pytest.mark.database
def test_only_trainings_are_reached_and_only_policies_served(services: Services, tmp_path: Path) -> None:
    trainings = TrainingService(services.jobs)
    other = services.jobs.submit("selftest", {})
    for act in (trainings.cancel, trainings.run_again, trainings.find_artifact):
        with pytest.raises(UserError, match="no training"):
            act(other.id)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text("# 卡", "utf-8")
    made = services.jobs.add_artifact(ArtifactKind.POLICY, "<i>小</i>", folder, metrics={"eval_loss": 1.5})
    judge = services.jobs.add_artifact(ArtifactKind.REWARD_MODEL, "rm", folder, parent_id=made.id)
    assert trainings.read_card(made) == "# 卡"
    listed = artifacts_table(ZH, services.jobs.artifacts())
    assert "&lt;i&gt;小" in listed and "验证损失 1.5" in listed
    with pytest.raises(UserError, match="no policy"):
        trainings.serve(judge.id)
    serving = trainings.serve(made.id)
    assert serving.slots == 0, "without a GPU it must not keep the slot of trainings"
    assert trainings.find_serving_job(made.id) == serving and trainings.find_address(serving.id) is None
    with pytest.raises(UserError, match="already"):
        trainings.serve(made.id)
    (folder / "README.md").unlink()
    folder.rmdir()
    trainings.cancel(serving.id)
    with pytest.raises(UserError, match="gone"):
        trainings.serve(made.id)
    assert "文件已不在" in artifacts_table(ZH, services.jobs.artifacts())


@pytest.mark.database
def test_the_newest_living_job_is_watched(services: Services) -> None:
    trainings = TrainingService(services.jobs)
    watcher = TrainingReader(services, trainings, ZH)
    assert watcher.newest_job() is None and "还没有" in jobs_table(ZH, [], None)
    first = trainings.submit("sft", None, {})
    trainings.cancel(trainings.submit("sft", None, {}).id)
    assert watcher.newest_job() == first.id
    assert watcher.newest_job("2") == 2 and watcher.newest_job("99") == first.id and watcher.newest_job("x") == first.id
    with pytest.raises(UserError):
        trainings.submit("sft", None, {"epochs": -1})


@pytest.fixture
def app(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The application; its trainings take one thread and fetch nothing."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with running(fresh_home) as made:
        yield made


def fill_in(page: Page, **values: object) -> None:
    for name, value in values.items():
        box = page.locator(f"#zf-train-sft-{name} input, #zf-train-sft-{name} textarea").first
        box.fill(str(value))
        box.press("Tab")


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def started(page: Page, name: str, **values: object) -> None:
    tab(page, "新训练")
    expect(page.locator("#zf-train-sft-start")).to_be_visible()
    fill_in(page, name=name, **values)
    page.click("#zf-train-sft-start")
    expect(page.locator("#zf-train-head")).to_contain_text(name)


@pytest.mark.browser
@pytest.mark.database
def test_start_watch_reload_cancel(browser: Browser, app: App) -> None:
    expect.set_options(timeout=WAIT)
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(WAIT)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{app.url}/zh/training", wait_until="domcontentloaded")
    expect(page.locator("#zf-trainings")).to_contain_text("还没有训练任务")
    other = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    other.goto(f"{app.url}/en/training", wait_until="domcontentloaded")
    expect(other.locator("#zf-trainings")).to_contain_text("No trainings yet")
    tab(page, "新训练")
    fill_in(page, learning_rate=3)
    page.click("#zf-train-sft-start")
    expect(page.locator("#zf-train-sft-told")).to_contain_text("学习率：不能大于 1")
    fill_in(page, learning_rate=0.003, batch_size=4096, max_length=2048)
    page.locator("#zf-train-sft-memory-change").click()
    expect(page.locator("#zf-train-sft-batch_size input")).not_to_have_value("4096")
    expect(page.locator("#zf-train-sft-memory")).to_contain_text("GB。")
    page.reload(wait_until="domcontentloaded")

    tab(page, "新训练")
    page.locator("#zf-train-sft-composed input").uncheck()
    page.get_by_text("更多设置").first.click()
    started(page, "小试", learning_rate=0.003, max_steps=30, batch_size=4, max_length=48, log_every=10)
    page.locator("#zf-train-head").get_by_text("进行中").wait_for()
    expect(page.locator("#zf-starter")).to_be_disabled()
    expect(page.locator("#zf-starter-why")).to_contain_text("已在训练")
    expect(other.locator("#zf-trainings")).to_contain_text("小试")
    expect(other.locator("#zf-train-head")).to_contain_text("小试")
    started(page, "第二个", max_steps=2000)
    expect(page.locator("#zf-train-head")).to_contain_text("排队中")
    page.click("#zf-train-cancel")
    expect(page.locator("#zf-train-head")).to_contain_text("已取消")
    expect(page.locator("#zf-train-resume")).to_be_visible()

    page.locator("#zf-trainings").get_by_text("小试").click()
    expect(page.locator("#zf-train-head")).to_contain_text("小试")
    page.wait_for_url("**job=1")
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#zf-train-head")).to_contain_text("小试")
    other.goto(page.url.replace("/zh/", "/en/"), wait_until="domcontentloaded")
    expect(other.locator("#zf-train-head")).to_contain_text("小试")
    expect(page.locator("#zf-train-head")).to_contain_text("完成")
    expect(page.locator("#zf-plot-loss svg")).to_be_visible()
    expect(page.locator("#zf-train-samples")).to_contain_text("第 30 步")
    expect(page.locator("#zf-train-artifact")).to_contain_text("写作模型")
    expect(page.locator("#zf-train-serve")).to_be_visible()
    expect(other.locator("#zf-train-head")).to_contain_text("done")
    assert other.evaluate("document.documentElement.scrollWidth") <= 390
    check_rows(app)

    page.click("#zf-train-changed")
    expect(page.locator("#zf-train-sft-max_steps input")).to_have_value("30")
    tab(page, "成果")
    expect(page.locator("#zf-artifacts")).to_contain_text("小试")
    for one in (page, other):
        one.close()


def check_rows(app: App) -> None:
    """What the page said is what the rows say."""
    database = Database(Settings(home=app.home).url)
    jobs = JobService(database, app.home)
    until(lambda: all(one.ended for one in jobs.jobs()))
    first, second = sorted(jobs.jobs(), key=lambda one: one.id)
    assert (first.status, second.status) == (JobStatus.SUCCEEDED, JobStatus.CANCELLED)
    assert json.loads(json.dumps(first.config))["max_steps"] == 30
    steps = [event.step for event in jobs.events(first.id, event_kinds=[EventKind.METRIC])]
    assert max(step for step in steps if step) == 30
    database.close()
