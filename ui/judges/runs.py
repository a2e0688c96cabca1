"""Scoring runs: choose target and judge, see what it takes, start it, watch, pause, resume, cancel."""

from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import JobStatus
from backend.core.errors import UserError
from backend.jobs.records import JobInfo
from backend.judges.scoring.records import ScoreRequest, format_duration, read_progress
from backend.judges.scoring.service import JOB_KIND
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.jobs import job_progress_bar, status_pill
from ui.components.judges import JUDGE_KIND_NAMES, endpoint_choices
from ui.components.language import Translator
from ui.components.run_watcher import (
    CANCEL,
    PAUSE,
    RESUME,
    RunSnapshot,
    RunWatcher,
    build_steering_buttons,
)
from ui.components.widgets import (
    empty_notice,
    fill_tab,
    friendly_errors,
    html_block,
    html_table,
    note,
)

SHOWN_RUNS = 10


def build_tab(services: Services, translate: Translator, runs_tab: gr.Tab) -> None:
    """What to run above, what runs below."""
    score_form, estimate_button, start_button = _build_form(translate)
    message_block = html_block(elem_id="zf-run-told")
    run_watcher = _build_watcher(services, translate, runs_tab, message_block)

    @friendly_errors(translate)
    def load_choices() -> dict[Any, Any]:
        return score_form.fill(
            {
                "judge": gr.update(choices=_judge_choices(services, translate)),
                "endpoint": gr.update(choices=endpoint_choices(services, translate)),
                "target": gr.update(choices=_target_choices(services, translate)),
            }
        )

    @friendly_errors(translate)
    @score_form.named
    def estimate_run(entered: EnteredValues) -> Markup:
        try:
            return _estimate_note(services, translate, _read_request(services, entered))
        except UserError as error:
            return note(translate.localize(error), "bad")

    @friendly_errors(translate)
    @score_form.named
    def start_run(entered: EnteredValues) -> list[Any]:
        try:
            scoring_job = services.scoring.submit(_read_request(services, entered))
        except UserError as error:
            return [note(translate.localize(error), "bad"), *([gr.skip()] * len(run_watcher.outputs))]
        started_message = translate(f"已加入队列，任务 {scoring_job.id}。", f"Queued as job {scoring_job.id}.")
        return [note(started_message, "ok"), *run_watcher.poll_updates(scoring_job.id, None, choose=True)]

    fill_tab(runs_tab, load_choices, score_form.pick_outputs(("judge", "endpoint", "target")))
    estimate_button.click(estimate_run, score_form.inputs, message_block)
    start_button.click(start_run, score_form.inputs, [message_block, *run_watcher.outputs])


def _build_form(translate: Translator) -> tuple[BoxForm, gr.Button, gr.Button]:
    score_form = BoxForm()
    with gr.Row():
        score_form.add("judge", gr.Dropdown(label=translate("裁判", "Judge"), choices=[], elem_id="zf-run-judge"))
        score_form.add("endpoint", gr.Dropdown(label=translate("模型端点", "Endpoint"), choices=[("", "")], value=""))
        score_form.add(
            "target",
            gr.Dropdown(label=translate("评判对象", "What to judge"), choices=[], elem_id="zf-run-target"),
        )
    with gr.Row():
        score_form.add(
            "cost_cap",
            gr.Number(label=translate("花费上限（0 为不限）", "Cap on cost (0: none)"), minimum=0, value=0),
        )
        score_form.add(
            "call_cap",
            gr.Number(
                label=translate("调用上限（0 为不限）", "Cap on calls (0: none)"), minimum=0, precision=0, value=0
            ),
        )
        score_form.add("retry_unscored", gr.Checkbox(label=translate("重试未评的", "Ask again what is unscored")))
    with gr.Row():
        estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-run-estimate")
        start_button = gr.Button(translate("开始评判", "Start"), variant="primary", elem_id="zf-run-start")
    return score_form, estimate_button, start_button


def _read_request(services: Services, entered: EnteredValues) -> ScoreRequest:
    """The run that the boxes describe. Raises UserError naming what is missing or wrong."""
    if not entered["judge"] or not entered["target"]:
        raise UserError("Choose a judge and a target.", "请选择裁判和评判对象。")
    target_kind, _, target_name = entered["target"].partition(":")
    return ScoreRequest(
        services.scoring.catalog.resolve(entered["judge"], entered["endpoint"] or None),
        ScoringTarget(TargetKind(target_kind), target_name),
        # 0 in the box is no cap; the service takes a 0 for one that is reached at once.
        max_calls=int(entered["call_cap"]) if entered["call_cap"] else None,
        max_cost=float(entered["cost_cap"]) if entered["cost_cap"] else None,
        retry_unscored=bool(entered["retry_unscored"]),
    )


def _build_watcher(services: Services, translate: Translator, runs_tab: gr.Tab, message_block: gr.HTML) -> RunWatcher:
    """The list, and what can be done with the chosen run."""
    run_list = html_block(elem_id="zf-runs")
    with gr.Row():
        run_dropdown = gr.Dropdown(label=translate("任务", "Run"), choices=[], visible=False, elem_id="zf-run-which")
        steering_buttons = build_steering_buttons(translate, "zf-run-")
    parts_by_name: dict[str, Any] = {"listed": run_list, **steering_buttons}
    run_watcher = RunWatcher(
        translate, run_dropdown, message_block, parts_by_name, partial(_take_snapshot, services, translate)
    )
    run_watcher.wire_tab(runs_tab)
    cancel_question = translate("确定取消这个任务吗？评过的会留下。", "Cancel this run? What it has judged stays.")
    pausing, going_on, cancelling = (
        ("任务 {} 会在当前一批之后暂停。", "Run {} will pause."),
        ("任务 {} 接着评。", "Run {} goes on."),
        ("正在取消任务 {}。", "Cancelling run {}."),
    )
    run_watcher.wire_button(steering_buttons[PAUSE], services.jobs.pause, pausing)
    run_watcher.wire_button(steering_buttons[RESUME], services.jobs.resume, going_on)
    run_watcher.wire_button(steering_buttons[CANCEL], services.jobs.cancel, cancelling, cancel_question)
    return run_watcher


def _take_snapshot(services: Services, translate: Translator, run_id: int | None) -> RunSnapshot:
    recent_jobs = services.jobs.jobs(SHOWN_RUNS, JOB_KIND)
    shown_job = next((job for job in recent_jobs if job.id == run_id), recent_jobs[0] if recent_jobs else None)
    return RunSnapshot(
        [(f"{job.id} · {_run_title(job)}", job.id) for job in recent_jobs],
        shown_job.id if shown_job else None,
        # Any of the list and not the shown one alone: each line has its own progress.
        any(not job.ended for job in recent_jobs),
        {"listed": _runs_table(services, translate), **_possible_actions(shown_job)},
    )


def _possible_actions(job: JobInfo | None) -> dict[str, bool]:
    """Which buttons make sense now."""
    if job is None:
        return dict.fromkeys((PAUSE, RESUME, CANCEL), False)
    is_stoppable = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    is_paused = job.status in (JobStatus.PAUSED, JobStatus.PAUSING)
    return {PAUSE: is_stoppable, RESUME: job.resumable, CANCEL: is_stoppable or is_paused}


def _judge_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    stored_names = [
        judge_info.name for judge_info in services.scoring.catalog.judges() if judge_info.newest and judge_info.spec
    ]
    kind_choices = [
        (translate(*shown_name), judge_kind.value)
        for judge_kind, shown_name in JUDGE_KIND_NAMES.items()
        # A kind that was saved under its own name would stand in the list twice.
        if judge_kind.value not in stored_names
    ]
    return [*((shown_name, shown_name) for shown_name in stored_names), *kind_choices]


def _target_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    dataset_choices = [
        (
            f"{translate('数据集', 'data set')} · {source_info.name} · {source_info.greetings:,}",
            f"dataset:{source_info.name}",
        )
        for source_info in services.corpus.datasets()
    ]
    campaign_choices = [
        (
            f"{translate('任务', 'campaign')} · {source_info.name} · {source_info.items:,}",
            f"campaign:{source_info.name}",
        )
        for source_info in services.annotation.campaigns()
    ]
    return [*dataset_choices, *campaign_choices]


def _estimate_note(services: Services, translate: Translator, request: ScoreRequest) -> Markup:
    run_estimate = services.scoring.estimate(request)
    if not run_estimate.missing:
        return note(translate("没有要评的了，全部已评过。", "Nothing is left to judge."), "ok")
    return note(
        translate(
            f"{run_estimate.items:,} 条中还有 {run_estimate.missing:,} 条要评：大约 {run_estimate.calls:,} 次调用、"
            f"{run_estimate.tokens:,} 个 token、花费 {run_estimate.cost:.4f}、"
            f"用时 {format_duration(run_estimate.seconds)}（粗略估计）。",
            f"{run_estimate.missing:,} of {run_estimate.items:,} are left: about {run_estimate.calls:,} calls, "
            f"{run_estimate.tokens:,} tokens, cost {run_estimate.cost:.4f}, "
            f"{format_duration(run_estimate.seconds)} (a rough estimate).",
        ),
        "ok",
    )


def _runs_table(services: Services, translate: Translator) -> Markup:
    recent_jobs = services.jobs.jobs(SHOWN_RUNS, JOB_KIND)
    if not recent_jobs:
        return empty_notice(translate("还没有评判任务。", "No runs yet."))
    header_cells = [
        translate("编号", "No."),
        translate("裁判 → 对象", "Judge → target"),
        translate("状态", "Status"),
        translate("进度", "Progress"),
        translate("详情", "Details"),
    ]
    return html_table(
        header_cells,
        [_run_cells(translate, job) for job in recent_jobs],
        ("", "zf-text", "zf-left", "zf-left", "zf-text"),
    )


def _run_cells(translate: Translator, job: JobInfo) -> list[str]:
    message = job.error or job.waiting
    figures, judge_notice = read_progress(job.progress_message)
    details = Markup.escape(translate.localize(message or figures))
    return [
        str(job.id),
        _run_title(job),
        status_pill(translate, job.status),
        job_progress_bar(job),
        details + note(translate.localize(judge_notice)) if judge_notice else details,
    ]


def _run_title(job: JobInfo) -> str:
    judge_config, target_config = job.config.get("judge") or {}, job.config.get("target") or {}
    return f"{judge_config.get('name', '?')} → {target_config.get('name', '?')}"
