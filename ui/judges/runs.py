"""Scoring runs: choose target and judge, see what it takes, start it, watch, pause, resume, cancel."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.errors import UserError
from backend.jobs.records import JobInfo
from backend.judges.scoring.records import ScoreRequest, format_duration, read_progress
from backend.judges.scoring.service import JOB_KIND
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.services import Services
from ui.components.jobs import job_progress_bar, status_pill
from ui.components.judges import JUDGE_KIND_NAMES, endpoint_choices
from ui.components.language import Translator
from ui.components.widgets import (
    confirm_script,
    default_choice,
    empty_notice,
    fill_tab,
    friendly_errors,
    html_block,
    html_table,
    note,
)

SHOWN_RUNS = 10
POLL_INTERVAL_S = 2.5


def build_tab(services: Services, translate: Translator, runs_tab: gr.Tab) -> None:
    """What to run above, what runs below."""
    form_boxes, estimate_button, start_button = _build_form(translate)
    message_block = html_block(elem_id="zf-run-told")
    run_list, steering_row, run_choice, steering_buttons = _build_run_list(translate)

    def build_request(
        judge_name: str,
        endpoint_name: str,
        target_key: str,
        cost_cap: Any,
        call_cap: Any,
        retry_unscored: bool,
    ) -> ScoreRequest:
        if not judge_name or not target_key:
            raise UserError("Choose a judge and a target.", "请选择裁判和评判对象。")
        target_kind, _, target_name = target_key.partition(":")
        return ScoreRequest(
            services.scoring.catalog.resolve(judge_name, endpoint_name or None),
            ScoringTarget(TargetKind(target_kind), target_name),
            max_calls=int(call_cap) if call_cap else None,
            max_cost=float(cost_cap) if cost_cap else None,
            retry_unscored=bool(retry_unscored),
        )

    @friendly_errors(translate)
    def load_choices() -> list[Any]:
        return [
            gr.update(choices=_judge_choices(services, translate)),
            gr.update(choices=endpoint_choices(services, translate)),
            gr.update(choices=_target_choices(services, translate)),
        ]

    @friendly_errors(translate)
    def estimate_run(*form_values: Any) -> Markup:
        try:
            return _estimate_note(services, translate, build_request(*form_values))
        except UserError as error:
            return note(translate.localize(error), "bad")

    @friendly_errors(translate)
    def start_run(*form_values: Any) -> list[Any]:
        try:
            scoring_job = services.scoring.submit(build_request(*form_values))
        except UserError as error:
            return [note(translate.localize(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        started_message = translate(f"已加入队列，任务 {scoring_job.id}。", f"Queued as job {scoring_job.id}.")
        runs_html, choice_update, row_update = _watch_updates(services, translate, scoring_job.id)
        return [note(started_message, "ok"), runs_html, choice_update | {"value": scoring_job.id}, row_update]

    fill_tab(runs_tab, load_choices, form_boxes[:3])
    estimate_button.click(estimate_run, form_boxes, message_block)
    start_button.click(start_run, form_boxes, [message_block, run_list, run_choice, steering_row])
    _wire_steering(services, translate, message_block, [run_list, run_choice, steering_row], steering_buttons)
    fill_tab(
        runs_tab,
        friendly_errors(translate)(lambda chosen: _watch_updates(services, translate, chosen)),
        [run_list, run_choice, steering_row],
        run_choice,
    )


def _build_form(translate: Translator) -> tuple[list[Any], gr.Button, gr.Button]:
    with gr.Row():
        judge_choice = gr.Dropdown(label=translate("裁判", "Judge"), choices=[], elem_id="zf-run-judge")
        endpoint_choice = gr.Dropdown(label=translate("模型端点", "Endpoint"), choices=[("", "")], value="")
        target_choice = gr.Dropdown(label=translate("评判对象", "What to judge"), choices=[], elem_id="zf-run-target")
    with gr.Row():
        cost_box = gr.Number(label=translate("花费上限（0 为不限）", "Cap on cost (0: none)"), minimum=0, value=0)
        calls_box = gr.Number(
            label=translate("调用上限（0 为不限）", "Cap on calls (0: none)"), minimum=0, precision=0, value=0
        )
        retry_checkbox = gr.Checkbox(label=translate("重试未评的", "Ask again what is unscored"))
    with gr.Row():
        estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-run-estimate")
        start_button = gr.Button(translate("开始评判", "Start"), variant="primary", elem_id="zf-run-start")
    return (
        [judge_choice, endpoint_choice, target_choice, cost_box, calls_box, retry_checkbox],
        estimate_button,
        start_button,
    )


def _build_run_list(translate: Translator) -> tuple[gr.HTML, gr.Row, gr.Dropdown, list[gr.Button]]:
    run_list = html_block(elem_id="zf-runs")
    with gr.Row(visible=False) as steering_row:
        run_choice = gr.Dropdown(label=translate("任务", "Run"), choices=[], elem_id="zf-run-which")
        pause_button = gr.Button(translate("暂停", "Pause"), min_width=90, elem_id="zf-run-pause")
        resume_button = gr.Button(translate("继续", "Resume"), min_width=90, elem_id="zf-run-resume")
        cancel_button = gr.Button(translate("取消", "Cancel"), variant="stop", min_width=90, elem_id="zf-run-cancel")
    return run_list, steering_row, run_choice, [pause_button, resume_button, cancel_button]


def _wire_steering(
    services: Services,
    translate: Translator,
    message_block: gr.HTML,
    run_outputs: list[Any],
    steering_buttons: list[gr.Button],
) -> None:
    run_list, run_choice, _ = run_outputs

    def steering_handler(
        change_job: Callable[[int], JobInfo], done_texts: tuple[str, str]
    ) -> Callable[[int | None], list[Any]]:
        @friendly_errors(translate)
        def steer_job(job_id: int | None) -> list[Any]:
            if not job_id:
                return [gr.skip(), gr.skip()]
            try:
                change_job(int(job_id))
            except UserError as error:
                return [note(translate.localize(error), "bad"), _runs_table(services, translate)]
            return [note(translate(*done_texts).format(job_id), "ok"), _runs_table(services, translate)]

        return steer_job

    @friendly_errors(translate)
    def poll_runs() -> Markup:
        return _runs_table(services, translate)

    question = confirm_script(
        translate("确定取消这个任务吗？评过的会留下。", "Cancel this run? What it has judged stays.")
    )
    steering_actions: tuple[tuple[Callable[[int], JobInfo], tuple[str, str], str | None], ...] = (
        (services.jobs.pause, ("任务 {} 会在当前一批之后暂停。", "Run {} will pause."), None),
        (services.jobs.resume, ("任务 {} 接着评。", "Run {} goes on."), None),
        (services.jobs.cancel, ("正在取消任务 {}。", "Cancelling run {}."), question),
    )
    for steering_button, (change_job, done_texts, question_script) in zip(
        steering_buttons, steering_actions, strict=True
    ):
        steering_button.click(
            steering_handler(change_job, done_texts),
            run_choice,
            [message_block, run_list],
            js=question_script,
            queue=False,
        )
    gr.Timer(POLL_INTERVAL_S).tick(poll_runs, None, run_list, queue=False, show_progress="hidden")


def _judge_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    stored_names = [
        judge_info.name for judge_info in services.scoring.catalog.judges() if judge_info.newest and judge_info.spec
    ]
    kind_choices = [
        (translate(*shown_name), judge_kind.value)
        for judge_kind, shown_name in JUDGE_KIND_NAMES.items()
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


def _watch_updates(services: Services, translate: Translator, chosen_id: int | None) -> list[Any]:
    recent_jobs = services.jobs.jobs(SHOWN_RUNS, JOB_KIND)
    job_choices = [(f"{job.id} · {_run_title(job)}", job.id) for job in recent_jobs]
    value_update = default_choice(chosen_id, [job.id for job in recent_jobs])
    return [
        _runs_table(services, translate),
        gr.update(choices=job_choices, **value_update),
        gr.update(visible=bool(recent_jobs)),
    ]


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
