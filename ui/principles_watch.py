"""One run watched: polled by one timer, sent only where something changed; steered, and flaws confirmed."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.errors import Message, UserError
from backend.evolution.records import OpenCase, RunInfo
from backend.evolution.told import constant_detector, told_uses
from backend.jobs.records import JobInfo
from backend.principles.vocabulary import RunState
from backend.services import Services
from backend.text import number_of
from ui.principles_figures import curve, fooling, locked_table, plain_rows, side_by_side, status_html
from ui.principles_log import conversation
from ui.principles_words import flaw_name, run_label
from ui.say import Say
from ui.widgets import empty, esc, fill, html_block, note, pace, polite

log = logging.getLogger(__name__)

POLL_S = 2.5
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
REMEMBER = "(id) => { if (id) history.replaceState(null, '', `${location.pathname}?run=${id}`); }"
PAUSE, RESUME, CANCEL, CASES, TIMER, CAPS = "pause", "resume", "cancel", "cases", "timer", "caps"


@dataclass(frozen=True)
class Watch:
    """The blocks of the tab; `parts` are what a poll may send, by name."""

    which: gr.Dropdown
    seen: gr.State
    told: gr.HTML
    parts: dict[str, Any]
    caps: list[gr.Number]
    answering: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        """What `look` returns values for."""
        return [self.seen, *self.parts.values()]


def blocks(say: Say) -> Watch:
    """Everything that is shown, empty."""
    parts: dict[str, Any] = {TIMER: gr.Timer(POLL_S, active=False)}
    which = gr.Dropdown(label=say("看哪次运行", "Watch"), choices=[], visible=False, elem_id="zf-game-which")
    parts["which"] = which
    parts["head"] = html_block(elem_id="zf-game-head")
    with gr.Row(elem_classes="zf-acts", visible=False) as row:
        caps = [
            gr.Number(
                label=say("新的调用上限", "New cap on calls"), value=0, precision=0, elem_id="zf-game-cap"
            ),
            gr.Number(label=say("新的花费上限", "New cap on cost"), value=0),
        ]
    parts[CAPS] = row
    words = {PAUSE: say("暂停", "Pause"), RESUME: say("继续", "Resume"), CANCEL: say("取消", "Cancel")}
    with gr.Row(elem_classes="zf-acts"):
        for name, word in words.items():
            parts[name] = gr.Button(
                word,
                visible=False,
                variant="stop" if name == CANCEL else "secondary",
                min_width=96,
                elem_id=f"zf-game-{name}",
            )
    told = html_block(elem_id="zf-game-steered")
    with gr.Column(visible=False, elem_id="zf-game-cases") as column:
        answering = _answering(say)
    parts[CASES] = column
    parts["case"] = answering["case"]
    for name in ("sides", "curve", "locked", "fooling", "log"):
        parts[name] = html_block(elem_id=f"zf-game-{name}")
    return Watch(which, gr.State({}), told, parts, caps, answering)


def _answering(say: Say) -> dict[str, Any]:
    case = html_block(elem_id="zf-case")
    with gr.Row():
        person = gr.Textbox(label=say("你的署名", "Your name"), max_length=60, elem_id="zf-case-person")
        yes = gr.Button(say("缺陷确实在", "The flaw is there"), variant="primary", elem_id="zf-case-yes")
        no = gr.Button(say("并不是缺陷", "It is no flaw"), elem_id="zf-case-no")
    return {"case": case, "person": person, "yes": yes, "no": no}


class Watcher:
    """Reads the rows and says what changed since the last look."""

    def __init__(self, services: Services, say: Say) -> None:
        self._services, self._say = services, say
        self._evolution = services.evolution
        self._reports: dict[int, str] = {}
        self._fitting: set[int] = set()

    def look(
        self, watch: Watch, run_id: object, seen: dict[str, str] | None, choose: bool = False
    ) -> list[Any]:
        """New values where something changed; with `choose` the dropdown is set to the run too."""
        runs = self._evolution.runs()
        info = self._chosen(runs, run_id)
        mark = repr([(one.id, one.state) for one in runs]) + (self._mark(info) if info else "")
        known = dict(seen or {})
        if known.get("mark") == mark and not choose:
            return [gr.skip()] * len(watch.outputs)
        facts = self._facts(runs, info)
        values = []
        for name in watch.parts:
            fact = repr(facts[name])
            values.append(gr.skip() if known.get(name) == fact else _update(name, facts[name]))
            known[name] = fact
        if choose and info is not None:
            choices = facts["which"]
            values[list(watch.parts).index("which")] = gr.update(choices=choices, value=info.id, visible=True)
        return [{**known, "mark": mark}, *values]

    def open_case(self, run_id: object) -> OpenCase | None:
        """The next planted flaw that waits for a person."""
        cases = self._evolution.open_cases(int(run_id)) if isinstance(run_id, int | float) else []
        return cases[0] if cases else None

    def case_html(self, case: OpenCase | None) -> str:
        """A planted flaw as a person sees it."""
        say = self._say
        if case is None:
            return ""
        place = esc(case.place)
        text = esc(case.greeting).replace(place, f"<mark>{place}</mark>", 1) if place else esc(case.greeting)
        head = say("这处缺陷真的在吗？", "Is this flaw really there?")
        return (
            f'<div class="zf-card"><h3>{head}</h3><small>{say("请求", "request")} {esc(case.prompt)}</small>'
            f'<p>{text}</p><p><span class="zf-chip">{esc(flaw_name(say, case.flaw))}</span> '
            f"{esc(case.explanation)}</p></div>"
        )

    def _chosen(self, runs: list[RunInfo], wish: object) -> RunInfo | None:
        number = number_of(wish)
        return next((one for one in runs if one.id == number), runs[0] if runs else None)

    def _mark(self, info: RunInfo) -> str:
        job = self._evolution.job(info.id)
        cases = len(self._evolution.open_cases(info.id)) if info.state is RunState.WAITING else 0
        return repr((info, job and (job.status, job.progress), cases, info.id in self._reports))

    def _report(self, info: RunInfo) -> str:
        """The locked report. Its fitted baselines take seconds at first, so they join it a little later."""
        if info.locked is None:
            return ""
        if info.id in self._reports:
            return self._reports[info.id]
        if info.id not in self._fitting:
            self._fitting.add(info.id)
            threading.Thread(target=self._fit, args=(info,), name="locked-report", daemon=True).start()
        return locked_table(self._say, plain_rows(info), self._uses(info))

    def _uses(self, info: RunInfo) -> Message:
        return told_uses(self._evolution.uses(info.id), info.settings.alpha)

    def _fit(self, info: RunInfo) -> None:
        run_id = info.id
        try:
            rows = self._evolution.report([run_id])
            self._reports[run_id] = locked_table(self._say, rows, self._uses(info))
        except Exception:  # The table without the fitted baselines stays.
            log.exception("the baselines of run %s cannot be fitted", run_id)
        finally:
            self._fitting.discard(run_id)

    def _facts(self, runs: list[RunInfo], info: RunInfo | None) -> dict[str, Any]:
        say = self._say
        busy = any(one.state is RunState.QUEUED or one.playing for one in runs)
        facts: dict[str, Any] = {
            TIMER: busy,
            "which": [(run_label(say, one), one.id) for one in runs],
            **dict.fromkeys(("head", "sides", "curve", "locked", "fooling", "case"), ""),
            **dict.fromkeys((PAUSE, RESUME, CANCEL, CASES, CAPS), False),
            "log": "",
        }
        if info is None:
            hint = say(
                "还没有运行。填好上面的表，先估算，再开始。",
                "No runs yet. Fill in the form, estimate, then start.",
            )
            return {**facts, "head": empty(hint)}
        job = self._evolution.job(info.id)
        steps, versions = self._evolution.steps(info.id), self._evolution.archive.versions(info.id)
        heading, constant = say("对话", "The conversation"), constant_detector(steps)
        report = self._report(info)
        return facts | {
            TIMER: busy or info.id in self._fitting,
            "locked": report,
            "case": self.case_html(self.open_case(info.id)) if info.state is RunState.WAITING else "",
            "head": status_html(say, info, job) + (note(say.of(constant)) if constant else ""),
            "sides": side_by_side(say, versions),
            "curve": curve(say, versions),
            "fooling": fooling(say, steps),
            "log": f'<h3 class="zf-h">{heading}</h3>{conversation(say, steps, versions)}',
            CASES: bool(info.state is RunState.WAITING and self._evolution.open_cases(info.id)),
            CAPS: info.state is RunState.BUDGET,
            **_possible(info, job),
        }


def watching(services: Services, say: Say, watch: Watch, watcher: Watcher) -> None:
    """Polling, the address, the buttons, and people's answers."""

    @polite(say)
    def load(request: gr.Request) -> list[Any]:
        return watcher.look(watch, request.query_params.get("run"), None, choose=True)

    @polite(say)
    def look(run_id: int | None, known: dict[str, str]) -> list[Any]:
        return watcher.look(watch, run_id, known)

    given = [watch.which, watch.seen]
    fill(load, *watch.outputs)
    watch.which.change(look, given, watch.outputs, **QUIET)
    watch.which.change(None, watch.which, None, js=REMEMBER)
    watch.which.input(lambda: "", None, watch.told, **QUIET)
    watch.parts[TIMER].tick(look, given, watch.outputs, **QUIET)
    _steering(services, say, watch, watcher)
    _confirming(services, say, watch, watcher)


def _steering(services: Services, say: Say, watch: Watch, watcher: Watcher) -> None:
    evolution = services.evolution

    def resume(run_id: int, calls: float | None, cost: float | None) -> RunInfo:
        return evolution.resume(run_id, max_calls=int(calls) if calls else None, max_cost=cost or None)

    acts: dict[str, Callable[..., RunInfo]] = {
        PAUSE: lambda run_id, *_: evolution.pause(run_id),
        RESUME: resume,
        CANCEL: lambda run_id, *_: evolution.cancel(run_id),
    }

    def handler(act: Callable[..., RunInfo]) -> Callable[..., list[Any]]:
        @polite(say)
        def handle(run_id: int | None, known: dict[str, str], *caps: float | None) -> list[Any]:
            if not run_id:
                return [gr.skip()] * (1 + len(watch.outputs))
            try:
                act(int(run_id), *caps)
            except UserError as error:
                return [note(say.of(error), "bad"), *watcher.look(watch, run_id, known)]
            return ["", *watcher.look(watch, run_id, known)]

        return handle

    for name, act in acts.items():
        watch.parts[name].click(
            handler(act), [watch.which, watch.seen, *watch.caps], [watch.told, *watch.outputs], queue=False
        )


def _confirming(services: Services, say: Say, watch: Watch, watcher: Watcher) -> None:
    person = watch.answering["person"]

    def handler(there: bool) -> Callable[..., list[Any]]:
        @polite(say)
        def handle(run_id: int | None, known: dict[str, str], who: str) -> list[Any]:
            one = watcher.open_case(run_id)
            if one is None:
                return ["", *watcher.look(watch, run_id, known)]
            try:
                services.evolution.answer(one.run, one.round, one.phase, one.number, there, who or "")
            except UserError as error:
                return [note(say.of(error), "bad"), *watcher.look(watch, run_id, known)]
            return ["", *watcher.look(watch, run_id, known)]

        return handle

    given, outputs = [watch.which, watch.seen, person], [watch.told, *watch.outputs]
    watch.answering["yes"].click(handler(True), given, outputs, queue=False)
    watch.answering["no"].click(handler(False), given, outputs, queue=False)


def _possible(info: RunInfo, job: JobInfo | None) -> dict[str, bool]:
    active = job is not None and not job.ended
    waiting = info.state is RunState.WAITING
    idle = not active and info.playing is None
    return {
        PAUSE: not idle,
        CANCEL: active,
        RESUME: idle and not waiting and info.state is not RunState.DONE,
    }


def _update(name: str, fact: Any) -> Any:
    if name == TIMER:
        return pace(fact, POLL_S)
    if name == "which":
        return gr.update(choices=fact, visible=bool(fact))
    if name in (PAUSE, RESUME, CANCEL):
        return gr.update(visible=fact)
    if name == CASES:
        return gr.update(visible=fact)
    if name == CAPS:
        return gr.update(visible=fact)
    return fact
