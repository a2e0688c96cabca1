"""Scoring runs: choose target and judge, see what it takes, start it, watch, pause, resume, cancel."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.scoring.records import WARNING, ScoreRequest, clock
from backend.scoring.service import JOB_KIND
from backend.scoring.targets import Target, TargetKind
from backend.services import Services
from ui.job_words import bar, pill
from ui.judge_names import KINDS
from ui.judges_words import endpoint_choices
from ui.say import Say
from ui.training_words import either
from ui.widgets import empty, esc, fill_tab, html_block, note, polite, sure, table, unless_chosen

SHOWN = 10
POLL_S = 2.5


def build(services: Services, say: Say, tab: gr.Tab) -> None:
    """What to run above, what runs below."""
    asked, estimate, start = _form(say)
    told = html_block(elem_id="zf-run-told")
    listed, steer, which, buttons = _watched(say)

    def request(judge: str, endpoint: str, target: str, cost: Any, calls: Any, retry: bool) -> ScoreRequest:
        if not judge or not target:
            raise UserError("Choose a judge and a target.", "请选择裁判和评判对象。")
        kind, _, name = target.partition(":")
        return ScoreRequest(
            services.scoring.catalog.resolve(judge, endpoint or None),
            Target(TargetKind(kind), name),
            max_calls=int(calls) if calls else None,
            max_cost=float(cost) if cost else None,
            retry_unscored=bool(retry),
        )

    @polite(say)
    def load() -> list[Any]:
        return [
            gr.update(choices=_judges(services, say)),
            gr.update(choices=endpoint_choices(services, say)),
            gr.update(choices=_targets(services, say)),
        ]

    @polite(say)
    def rough(*given: Any) -> str:
        try:
            return _estimate(services, say, request(*given))
        except UserError as error:
            return note(say.of(error), "bad")

    @polite(say)
    def begin(*given: Any) -> list[Any]:
        try:
            job = services.scoring.submit(request(*given))
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        started = say(f"已加入队列，任务 {job.id}。", f"Queued as job {job.id}.")
        runs, choices, shown = _watch(services, say, job.id)
        return [note(started, "ok"), runs, choices | {"value": job.id}, shown]

    fill_tab(tab, load, asked[:3])
    estimate.click(rough, asked, told)
    start.click(begin, asked, [told, listed, which, steer])
    _steer(services, say, told, [listed, which, steer], buttons)
    fill_tab(tab, polite(say)(lambda chosen: _watch(services, say, chosen)), [listed, which, steer], which)


def _form(say: Say) -> tuple[list[Any], gr.Button, gr.Button]:
    with gr.Row():
        judge = gr.Dropdown(label=say("裁判", "Judge"), choices=[], elem_id="zf-run-judge")
        endpoint = gr.Dropdown(label=say("模型端点", "Endpoint"), choices=[("", "")], value="")
        target = gr.Dropdown(label=say("评判对象", "What to judge"), choices=[], elem_id="zf-run-target")
    with gr.Row():
        cost = gr.Number(label=say("花费上限（0 为不限）", "Cap on cost (0: none)"), minimum=0, value=0)
        calls = gr.Number(
            label=say("调用上限（0 为不限）", "Cap on calls (0: none)"), minimum=0, precision=0, value=0
        )
        retry = gr.Checkbox(label=say("重试未评的", "Ask again what is unscored"))
    with gr.Row():
        estimate = gr.Button(say("先估算", "Estimate first"), elem_id="zf-run-estimate")
        start = gr.Button(say("开始评判", "Start"), variant="primary", elem_id="zf-run-start")
    return [judge, endpoint, target, cost, calls, retry], estimate, start


def _watched(say: Say) -> tuple[gr.HTML, gr.Row, gr.Dropdown, list[gr.Button]]:
    listed = html_block(elem_id="zf-runs")
    with gr.Row(visible=False) as steer:
        which = gr.Dropdown(label=say("任务", "Run"), choices=[], elem_id="zf-run-which")
        pause = gr.Button(say("暂停", "Pause"), min_width=90, elem_id="zf-run-pause")
        resume = gr.Button(say("继续", "Resume"), min_width=90, elem_id="zf-run-resume")
        cancel = gr.Button(say("取消", "Cancel"), variant="stop", min_width=90, elem_id="zf-run-cancel")
    return listed, steer, which, [pause, resume, cancel]


def _steer(services: Services, say: Say, told: gr.HTML, watched: list[Any], buttons: list[gr.Button]) -> None:
    listed, which, _ = watched

    def steering(act: Callable[[int], JobInfo], done: tuple[str, str]) -> Callable[[int | None], list[Any]]:
        @polite(say)
        def steer(job_id: int | None) -> list[Any]:
            if not job_id:
                return [gr.skip(), gr.skip()]
            try:
                act(int(job_id))
            except UserError as error:
                return [note(say.of(error), "bad"), _runs(services, say)]
            return [note(say(*done).format(job_id), "ok"), _runs(services, say)]

        return steer

    @polite(say)
    def poll() -> str:
        return _runs(services, say)

    question = sure(say("确定取消这个任务吗？评过的会留下。", "Cancel this run? What it has judged stays."))
    acts: tuple[tuple[Callable[[int], JobInfo], tuple[str, str], str | None], ...] = (
        (services.jobs.pause, ("任务 {} 会在当前一批之后暂停。", "Run {} will pause."), None),
        (services.jobs.resume, ("任务 {} 接着评。", "Run {} goes on."), None),
        (services.jobs.cancel, ("正在取消任务 {}。", "Cancelling run {}."), question),
    )
    for button, (act, done, ask) in zip(buttons, acts, strict=True):
        button.click(steering(act, done), which, [told, listed], js=ask, queue=False)
    gr.Timer(POLL_S).tick(poll, None, listed, queue=False, show_progress="hidden")


def _judges(services: Services, say: Say) -> list[tuple[str, str]]:
    stored = [info.name for info in services.scoring.catalog.judges() if info.newest and info.spec]
    kinds = [(say(*name), kind.value) for kind, name in KINDS.items() if kind.value not in stored]
    return [*((name, name) for name in stored), *kinds]


def _targets(services: Services, say: Say) -> list[tuple[str, str]]:
    sets = [
        (f"{say('数据集', 'data set')} · {info.name} · {info.greetings:,}", f"dataset:{info.name}")
        for info in services.corpus.datasets()
    ]
    rounds = [
        (f"{say('任务', 'campaign')} · {info.name} · {info.items:,}", f"campaign:{info.name}")
        for info in services.annotation.campaigns()
    ]
    return [*sets, *rounds]


def _estimate(services: Services, say: Say, request: ScoreRequest) -> str:
    rough = services.scoring.estimate(request)
    if not rough.missing:
        return note(say("没有要评的了，全部已评过。", "Nothing is left to judge."), "ok")
    return note(
        say(
            f"{rough.items:,} 条中还有 {rough.missing:,} 条要评：大约 {rough.calls:,} 次调用、"
            f"{rough.tokens:,} 个 token、花费 {rough.cost:.4f}、用时 {clock(rough.seconds)}（粗略估计）。",
            f"{rough.missing:,} of {rough.items:,} are left: about {rough.calls:,} calls, {rough.tokens:,} "
            f"tokens, cost {rough.cost:.4f}, {clock(rough.seconds)} (a rough estimate).",
        ),
        "ok",
    )


def _watch(services: Services, say: Say, chosen: int | None) -> list[Any]:
    known = services.jobs.jobs(SHOWN, JOB_KIND)
    names = [(f"{job.id} · {_what(job)}", job.id) for job in known]
    value = unless_chosen(chosen, [job.id for job in known])
    return [_runs(services, say), gr.update(choices=names, **value), gr.update(visible=bool(known))]


def _runs(services: Services, say: Say) -> str:
    known = services.jobs.jobs(SHOWN, JOB_KIND)
    if not known:
        return empty(say("还没有评判任务。", "No runs yet."))
    head = [
        say("编号", "No."),
        say("裁判 → 对象", "Judge → target"),
        say("状态", "Status"),
        say("进度", "Progress"),
        say("详情", "Details"),
    ]
    return table(head, [_row(say, job) for job in known], ("", "zf-text", "zf-left", "zf-left", "zf-text"))


def _row(say: Say, job: JobInfo) -> list[str]:
    told = job.error or job.waiting
    figures, _, warning = job.progress_text.partition(WARNING)
    details = esc((say.of(told) if told else "") or figures)
    return [
        str(job.id),
        esc(_what(job)),
        pill(say, job.status),
        bar(job),
        details + (note(either(say, warning)) if warning else ""),
    ]


def _what(job: JobInfo) -> str:
    judge, target = job.config.get("judge") or {}, job.config.get("target") or {}
    return f"{judge.get('name', '?')} → {target.get('name', '?')}"
