"""The runs: which there are, how far they are, the funnel of one, and what can be done with it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gradio as gr

from backend.corpus.export_folders import export_path
from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.pairs.records import PairRunInfo
from backend.pairs.vocabulary import Stage
from backend.services import Services
from ui.pairs_funnel import funnel_html
from ui.pairs_look import at_work, capped, head_html, runs_html, stopped
from ui.pairs_words import loss
from ui.say import Say
from ui.widgets import esc, html_block, note, opener, pace, polite, table

POLL_S = 2.5
LINES = 200
BUTTONS = ("pause", "resume", "cancel")
HIDDEN = ("caps", "using", "lost", *BUTTONS)
SUFFIXES = {"trl": "jsonl", "sharegpt": "json"}
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


class Runs:
    """The blocks of this tab. `which` is the chosen run, shared with the other tabs."""

    def __init__(self, services: Services, say: Say, which: gr.Dropdown) -> None:
        self._services, self._say, self.which = services, say, which
        self.seen = gr.State({})
        self.timer = gr.Timer(POLL_S, active=False)
        self.listed = html_block(elem_id="zf-pair-runs", js_on_load=opener("run"))
        self.told = html_block(elem_id="zf-pair-told")
        self.head = html_block(elem_id="zf-pair-head")
        with gr.Row(elem_classes="zf-acts"):
            self.buttons = self._steering()
        self.limits = self._limits()
        self.funnel = html_block(elem_id="zf-pair-funnel")
        self._using()
        self._losses()
        self.outputs = [
            self.seen,
            self.timer,
            self.listed,
            self.head,
            self.funnel,
            *self.buttons,
            self.caps,
            self.using,
            self.lost,
        ]
        self.timer.tick(polite(say)(self.look), [which, self.seen], self.outputs, **QUIET)

    def choices(self) -> list[tuple[str, int]]:
        """Every run by name, the newest first."""
        return [(f"{run.id} · {run.name}", run.id) for run in self._services.pairs.runs()]

    def look(self, run_id: Any, seen: dict[str, str] | None) -> list[Any]:
        """New values where something changed since the last look, in the order of `outputs`."""
        facts, known, values = self._facts(run_id), dict(seen or {}), []
        for name, fact in facts.items():
            values.append(gr.skip() if known.get(name) == repr(fact) else _update(name, fact))
            known[name] = repr(fact)
        return [known, *values]

    def _facts(self, run_id: Any) -> dict[str, Any]:
        services, say = self._services, self._say
        runs = services.pairs.runs()
        jobs = {run.id: _job(services, run) for run in runs}
        shares = {run.id: self._share(run, jobs[run.id]) for run in runs}
        run = next((one for one in runs if one.id == run_id), None)
        busy = any(run.playing or at_work(jobs[run.id]) for run in runs)
        facts: dict[str, Any] = {
            "timer": busy,
            "listed": runs_html(say, runs, jobs, shares, run_id),
            "head": "",
            "funnel": "",
            **dict.fromkeys(BUTTONS, False),
            "caps": False,
            "using": run is not None and run.stage is Stage.DONE,
            "lost": run is not None,
        }
        if run is not None:
            job = jobs[run.id]
            facts["head"] = head_html(say, run, job, shares[run.id])
            facts["funnel"] = funnel_html(say, run, services.pairs.funnel(run.id))
            facts |= _possible(run, job)
            facts["caps"] = facts["resume"] and capped(run)
        return facts

    def _share(self, run: PairRunInfo, job: JobInfo | None) -> float | None:
        """How far the run is; None where nobody knows."""
        if job is not None:
            return job.progress
        if run.playing is None:
            return None
        return self._services.pairs.funnel(run.id).share(run.request.plan.candidates)

    def _steering(self) -> list[gr.Button]:
        say = self._say
        words = {
            "pause": say("暂停", "Pause"),
            "resume": say("继续", "Resume"),
            "cancel": say("取消", "Cancel"),
        }
        made = []
        for name in BUTTONS:
            button = gr.Button(
                words[name],
                visible=False,
                min_width=96,
                variant="stop" if name == "cancel" else "secondary",
                elem_id=f"zf-pair-{name}",
            )
            made.append(button)
        return made

    def _limits(self) -> list[gr.Number]:
        say = self._say
        labels = {
            "cost": say("继续前改花费上限（0 为不改）", "New cap on cost before going on (0: as it is)"),
            "calls": say("继续前改调用上限（0 为不改）", "New cap on calls before going on (0: as it is)"),
        }
        with gr.Row(visible=False) as self.caps:
            return [
                gr.Number(label=label, value=0, minimum=0, elem_id=f"zf-pair-cap-{name}")
                for name, label in labels.items()
            ]

    def steer(self) -> None:
        """What the buttons do; to be called when every block of the page is there."""
        pairs = self._services.pairs
        acts: dict[str, Callable[..., object]] = {
            "pause": lambda run: pairs.pause(run.id),
            "resume": self._resume,
            "cancel": lambda run: pairs.cancel(run.id),
        }
        for button, (name, act) in zip(self.buttons, acts.items(), strict=True):
            given = [self.which, self.seen, *(self.limits if name == "resume" else ())]
            button.click(self._acting(act), given, [self.told, *self.outputs], queue=False)

    def _resume(self, run: PairRunInfo, cost: Any = 0, calls: Any = 0) -> JobInfo:
        caps = {"max_cost": float(cost or 0) or None, "max_calls": int(calls or 0) or None}
        return self._services.pairs.resume(run.id, **caps)

    def _acting(self, act: Callable[..., object]) -> Callable[..., list[Any]]:
        @polite(self._say)
        def handle(run_id: Any, seen: dict[str, str], *caps: Any) -> list[Any]:
            told = ""
            try:
                act(self._services.pairs.one(int(run_id or 0)), *caps)
            except UserError as error:
                told = note(self._say.of(error), "bad")
            return [told, *self.look(run_id, seen)]

        return handle

    def _using(self) -> None:
        say = self._say
        with gr.Column(visible=False) as self.using, gr.Row(elem_classes="zf-acts"):
            settle = gr.Button(say("收取大家的复核", "Take in people's answers"), elem_id="zf-pair-settle")
            fmt = gr.Radio(
                label=say("格式", "Format"),
                choices=["trl", "sharegpt"],
                value="trl",
                elem_id="zf-pair-format",
            )
            export = gr.Button(say("导出", "Export"), elem_id="zf-pair-export")
            train = gr.Button(
                say("用这些对训练奖励模型", "Train a reward model on these"),
                variant="primary",
                elem_id="zf-pair-train",
            )
        report = html_block(elem_id="zf-pair-used")
        file = gr.File(label=say("文件", "File"), interactive=False, visible=False, elem_id="zf-pair-file")
        settle.click(polite(say)(self._settle), self.which, report, queue=False)
        export.click(polite(say)(self._export), [self.which, fmt], [report, file])
        train.click(polite(say)(self._train), self.which, report, queue=False)

    def _settle(self, run_id: Any) -> str:
        say = self._say
        try:
            run = self._services.pairs.one(int(run_id or 0))
            moved = self._services.pairs.settle(run.id)
        except UserError as error:
            return note(say.of(error), "bad")
        if moved:
            told = say(f"有 {moved:,} 对有了复核结果。", f"People decided {moved:,} pairs.")
            return note(told, "ok")
        return note(say("没有新的复核结果。", "No new answers are complete."))

    def _export(self, run_id: Any, fmt: str) -> list[Any]:
        say, hidden = self._say, gr.update(visible=False)
        if fmt not in SUFFIXES:
            return [note(say("请选择格式。", "Choose a format.")), hidden]
        try:
            run = self._services.pairs.one(int(run_id or 0))
            path = export_path(self._services.settings.home, f"pairs-{run.id}-{fmt}.{SUFFIXES[fmt]}")
            done = self._services.pairs.export(run.id, fmt, path)
        except UserError as error:
            return [note(say.of(error), "bad"), hidden]
        splits = " · ".join(f"{split} {rows:,}" for split, rows in done.splits.items())
        told = say(f"已导出 {done.rows:,} 对（{splits}）。", f"{done.rows:,} pairs exported ({splits}).")
        if lost := sum(done.dropped.values()):
            told += say(f" 为防泄漏没有导出 {lost:,} 对。", f" {lost:,} left out against leakage.")
        return [note(told, "ok"), gr.update(value=str(done.path), visible=True)]

    def _train(self, run_id: Any) -> str:
        say = self._say
        try:
            job = self._services.pairs.train(self._services.pairs.one(int(run_id or 0)).id)
        except UserError as error:
            return note(say.of(error), "bad")
        queued = say(f"已加入队列，任务 {job.id}。", f"Queued as job {job.id}.")
        link = (
            f'<a class="zf-a" href="/{say.lang}/training?job={job.id}">{esc(say("去看训练", "watch it"))}</a>'
        )
        return f'<div class="zf-ok" role="status">{esc(queued)} {link}</div>'

    def _losses(self) -> None:
        say = self._say
        with gr.Accordion(
            say("看看丢掉了什么", "See what was lost"), open=False, visible=False, elem_id="zf-pair-losses"
        ) as self.lost:
            why = gr.Dropdown(label=say("原因", "Reason"), choices=[], elem_id="zf-pair-why")
            shown = html_block(elem_id="zf-pair-lost")

        @polite(say)
        def load(run_id: Any) -> Any:
            dropped = self._services.pairs.funnel(int(run_id)).dropped if run_id else {}
            names = [name for name in dropped if name.startswith(("prompt_", "candidate_"))]
            names = [name for name in names if name != "prompt_one_sided"]
            return gr.update(
                choices=[(f"{loss(say, name)}（{dropped[name]:,}）", name) for name in names], value=None
            )

        @polite(say)
        def show(run_id: Any, name: Any) -> str:
            return self._lost(int(run_id), str(name)) if run_id and name else ""

        self.lost.expand(load, self.which, why, **QUIET)
        self.which.change(load, self.which, why, **QUIET)
        why.change(show, [self.which, why], shown, **QUIET)

    def _lost(self, run_id: int, name: str) -> str:
        say, (what, _, why) = self._say, name.partition("_")
        if what == "prompt":
            lines = self._services.pairs.lines(run_id, why, LINES)
            rows = [[str(line.position + 1), esc(line.text)] for line in lines]
            return table([say("行", "Line"), say("请求", "Request")], rows, ("", "zf-text"))
        found = self._services.pairs.lost_candidates(run_id, why, LINES)
        rows = [[esc(one.prompt), esc(one.text or "–"), esc(one.generator)] for one in found]
        head = [say("请求", "Request"), say("写出来的", "What was written"), say("模型", "Model")]
        return table(head, rows, ("zf-text", "zf-text zf-wide", "zf-text"))


def _update(name: str, fact: Any) -> Any:
    if name == "timer":
        return pace(fact, POLL_S)
    return gr.update(visible=fact) if name in HIDDEN else fact


def _job(services: Services, run: PairRunInfo) -> JobInfo | None:
    """The job of a run; None also where it has ended and a command goes on with the run."""
    job = None
    with suppress(UserError):
        job = services.jobs.job(run.job) if run.job is not None else None
    return job if at_work(job) or run.playing is None else None


def _possible(run: PairRunInfo, job: JobInfo | None) -> dict[str, bool]:
    running = job is not None and job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    by_command = job is None and run.playing is not None and not run.playing.stopping
    return {"pause": running or by_command, "resume": stopped(run, job), "cancel": running}
