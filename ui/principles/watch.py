"""One run watched: polled by one timer, sent only where something changed; steered, and flaws confirmed."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.core.enums import RunState
from backend.core.errors import Message, UserError
from backend.core.text import parse_row_number
from backend.jobs.records import JobInfo
from backend.principles.records import OpenCase, RunInfo
from backend.principles.rulings import constant_detector, explain_uses
from backend.services import Services
from ui.components.language import Translator
from ui.components.widgets import empty_notice, esc, fill_on_load, friendly_errors, html_block, note, timer_update
from ui.principles.figures import (
    current_rules_html,
    fooling_table,
    gate_curve,
    locked_table,
    run_status_html,
    stored_report_rows,
)
from ui.principles.log import conversation_html
from ui.principles.names import flaw_name, run_label

log = logging.getLogger(__name__)

POLL_SECONDS = 2.5
SILENT_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
REMEMBER_SCRIPT = "(id) => { if (id) history.replaceState(null, '', `${location.pathname}?run=${id}`); }"
PAUSE, RESUME, CANCEL, CASES, TIMER, CAPS = "pause", "resume", "cancel", "cases", "timer", "caps"


@dataclass(frozen=True)
class GameWatchBlocks:
    """The blocks of the tab; `parts` are what a poll may send, by name."""

    run_dropdown: gr.Dropdown
    seen_facts: gr.State
    message_block: gr.HTML
    parts_by_name: dict[str, Any]
    cap_boxes: list[gr.Number]
    answer_blocks: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        """What `look` returns values for."""
        return [self.seen_facts, *self.parts_by_name.values()]


def build_watch_blocks(translate: Translator) -> GameWatchBlocks:
    """Everything that is shown, empty."""
    parts_by_name: dict[str, Any] = {TIMER: gr.Timer(POLL_SECONDS, active=False)}
    run_dropdown = gr.Dropdown(
        label=translate("看哪次运行", "Watch"), choices=[], visible=False, elem_id="zf-game-which"
    )
    parts_by_name["which"] = run_dropdown
    parts_by_name["head"] = html_block(elem_id="zf-game-head")
    with gr.Row(elem_classes="zf-acts", visible=False) as cap_row:
        cap_boxes = [
            gr.Number(
                label=translate("新的调用上限", "New cap on calls"),
                value=0,
                precision=0,
                elem_id="zf-game-cap",
            ),
            gr.Number(label=translate("新的花费上限", "New cap on cost"), value=0),
        ]
    parts_by_name[CAPS] = cap_row
    button_labels = {
        PAUSE: translate("暂停", "Pause"),
        RESUME: translate("继续", "Resume"),
        CANCEL: translate("取消", "Cancel"),
    }
    with gr.Row(elem_classes="zf-acts"):
        for part_name, button_label in button_labels.items():
            parts_by_name[part_name] = gr.Button(
                button_label,
                visible=False,
                variant="stop" if part_name == CANCEL else "secondary",
                min_width=96,
                elem_id=f"zf-game-{part_name}",
            )
    message_block = html_block(elem_id="zf-game-steered")
    with gr.Column(visible=False, elem_id="zf-game-cases") as cases_column:
        answer_blocks = _build_answer_blocks(translate)
    parts_by_name[CASES] = cases_column
    parts_by_name["case"] = answer_blocks["case"]
    for part_name in ("sides", "curve", "locked", "fooling", "log"):
        parts_by_name[part_name] = html_block(elem_id=f"zf-game-{part_name}")
    return GameWatchBlocks(run_dropdown, gr.State({}), message_block, parts_by_name, cap_boxes, answer_blocks)


def _build_answer_blocks(translate: Translator) -> dict[str, Any]:
    case_block = html_block(elem_id="zf-case")
    with gr.Row():
        person_box = gr.Textbox(label=translate("你的署名", "Your name"), max_length=60, elem_id="zf-case-person")
        yes_button = gr.Button(translate("缺陷确实在", "The flaw is there"), variant="primary", elem_id="zf-case-yes")
        no_button = gr.Button(translate("并不是缺陷", "It is no flaw"), elem_id="zf-case-no")
    return {"case": case_block, "person": person_box, "yes": yes_button, "no": no_button}


class GameRunWatcher:
    """Reads the rows and says what changed since the last look."""

    def __init__(self, services: Services, translate: Translator) -> None:
        self._services, self._translate = services, translate
        self._evolution = services.evolution
        self._reports: dict[int, str] = {}
        self._fitting: set[int] = set()

    def poll_updates(
        self,
        watch_blocks: GameWatchBlocks,
        run_id: object,
        seen_facts: dict[str, str] | None,
        choose: bool = False,
    ) -> list[Any]:
        """New values where something changed; with `choose` the dropdown is set to the run too."""
        game_runs = self._evolution.runs()
        run_info = self._chosen_run(game_runs, run_id)
        state_mark = repr([(game_run.id, game_run.state) for game_run in game_runs]) + (
            self._state_mark(run_info) if run_info else ""
        )
        known_facts = dict(seen_facts or {})
        if known_facts.get("mark") == state_mark and not choose:
            return [gr.skip()] * len(watch_blocks.outputs)
        block_facts = self._collect_facts(game_runs, run_info)
        block_updates = []
        for part_name in watch_blocks.parts_by_name:
            fact_repr = repr(block_facts[part_name])
            block_updates.append(
                gr.skip()
                if known_facts.get(part_name) == fact_repr
                else _part_update(part_name, block_facts[part_name])
            )
            known_facts[part_name] = fact_repr
        if choose and run_info is not None:
            run_choices = block_facts["which"]
            block_updates[list(watch_blocks.parts_by_name).index("which")] = gr.update(
                choices=run_choices, value=run_info.id, visible=True
            )
        return [{**known_facts, "mark": state_mark}, *block_updates]

    def open_case(self, run_id: object) -> OpenCase | None:
        """The next planted flaw that waits for a person."""
        open_cases = self._evolution.open_cases(int(run_id)) if isinstance(run_id, int | float) else []
        return open_cases[0] if open_cases else None

    def case_html(self, case: OpenCase | None) -> str:
        """A planted flaw as a person sees it."""
        translate = self._translate
        if case is None:
            return ""
        flaw_passage = esc(case.place)
        greeting_html = (
            esc(case.greeting).replace(flaw_passage, f"<mark>{flaw_passage}</mark>", 1)
            if flaw_passage
            else esc(case.greeting)
        )
        heading = translate("这处缺陷真的在吗？", "Is this flaw really there?")
        return (
            f'<div class="zf-card"><h3>{heading}</h3><small>{translate("请求", "request")} {esc(case.prompt)}</small>'
            f'<p>{greeting_html}</p><p><span class="zf-chip">{esc(flaw_name(translate, case.flaw))}</span> '
            f"{esc(case.explanation)}</p></div>"
        )

    def _chosen_run(self, game_runs: list[RunInfo], requested_id: object) -> RunInfo | None:
        run_number = parse_row_number(requested_id)
        return next(
            (game_run for game_run in game_runs if game_run.id == run_number),
            game_runs[0] if game_runs else None,
        )

    def _state_mark(self, run_info: RunInfo) -> str:
        run_job = self._evolution.job(run_info.id)
        open_count = len(self._evolution.open_cases(run_info.id)) if run_info.state is RunState.WAITING else 0
        return repr(
            (
                run_info,
                run_job and (run_job.status, run_job.progress),
                open_count,
                run_info.id in self._reports,
            )
        )

    def _report_html(self, run_info: RunInfo) -> str:
        """The locked report. Its fitted baselines take seconds at first, so they join it a little later."""
        if run_info.locked is None:
            return ""
        if run_info.id in self._reports:
            return self._reports[run_info.id]
        if run_info.id not in self._fitting:
            self._fitting.add(run_info.id)
            threading.Thread(target=self._fit_baselines, args=(run_info,), name="locked-report", daemon=True).start()
        return locked_table(self._translate, stored_report_rows(run_info), self._uses_message(run_info))

    def _uses_message(self, run_info: RunInfo) -> Message:
        return explain_uses(self._evolution.uses(run_info.id), run_info.settings.alpha)

    def _fit_baselines(self, run_info: RunInfo) -> None:
        run_id = run_info.id
        try:
            report_rows = self._evolution.report([run_id])
            self._reports[run_id] = locked_table(self._translate, report_rows, self._uses_message(run_info))
        except Exception:  # The table without the fitted baselines stays.
            log.exception("the baselines of run %s cannot be fitted", run_id)
        finally:
            self._fitting.discard(run_id)

    def _collect_facts(self, game_runs: list[RunInfo], run_info: RunInfo | None) -> dict[str, Any]:
        translate = self._translate
        is_busy = any(game_run.state is RunState.QUEUED or game_run.playing for game_run in game_runs)
        block_facts: dict[str, Any] = {
            TIMER: is_busy,
            "which": [(run_label(translate, game_run), game_run.id) for game_run in game_runs],
            **dict.fromkeys(("head", "sides", "curve", "locked", "fooling", "case"), ""),
            **dict.fromkeys((PAUSE, RESUME, CANCEL, CASES, CAPS), False),
            "log": "",
        }
        if run_info is None:
            empty_hint = translate(
                "还没有运行。填好上面的表，先估算，再开始。",
                "No runs yet. Fill in the form, estimate, then start.",
            )
            return {**block_facts, "head": empty_notice(empty_hint)}
        run_job = self._evolution.job(run_info.id)
        game_steps, versions = (
            self._evolution.steps(run_info.id),
            self._evolution.archive.versions(run_info.id),
        )
        heading, constant_notice = translate("对话", "The conversation"), constant_detector(game_steps)
        report_html = self._report_html(run_info)
        return block_facts | {
            TIMER: is_busy or run_info.id in self._fitting,
            "locked": report_html,
            "case": self.case_html(self.open_case(run_info.id)) if run_info.state is RunState.WAITING else "",
            "head": run_status_html(translate, run_info, run_job)
            + (str(note(translate.localize(constant_notice))) if constant_notice else ""),
            "sides": current_rules_html(translate, versions),
            "curve": gate_curve(translate, versions),
            "fooling": fooling_table(translate, game_steps),
            "log": f'<h3 class="zf-h">{heading}</h3>{conversation_html(translate, game_steps, versions)}',
            CASES: bool(run_info.state is RunState.WAITING and self._evolution.open_cases(run_info.id)),
            CAPS: run_info.state is RunState.BUDGET,
            **_possible_actions(run_info, run_job),
        }


def wire_watch(
    services: Services, translate: Translator, watch_blocks: GameWatchBlocks, watcher: GameRunWatcher
) -> None:
    """Polling, the address, the buttons, and people's answers."""

    @friendly_errors(translate)
    def load_page(request: gr.Request) -> list[Any]:
        return watcher.poll_updates(watch_blocks, request.query_params.get("run"), None, choose=True)

    @friendly_errors(translate)
    def poll_run(run_id: int | None, known_facts: dict[str, str]) -> list[Any]:
        return watcher.poll_updates(watch_blocks, run_id, known_facts)

    input_blocks = [watch_blocks.run_dropdown, watch_blocks.seen_facts]
    fill_on_load(load_page, *watch_blocks.outputs)
    watch_blocks.run_dropdown.change(poll_run, input_blocks, watch_blocks.outputs, **SILENT_EVENT)
    watch_blocks.run_dropdown.change(None, watch_blocks.run_dropdown, None, js=REMEMBER_SCRIPT)
    watch_blocks.run_dropdown.input(lambda: "", None, watch_blocks.message_block, **SILENT_EVENT)
    watch_blocks.parts_by_name[TIMER].tick(poll_run, input_blocks, watch_blocks.outputs, **SILENT_EVENT)
    _wire_buttons(services, translate, watch_blocks, watcher)
    _wire_answers(services, translate, watch_blocks, watcher)


def _wire_buttons(
    services: Services, translate: Translator, watch_blocks: GameWatchBlocks, watcher: GameRunWatcher
) -> None:
    evolution = services.evolution

    def resume_run(run_id: int, call_cap: float | None, cost_cap: float | None) -> RunInfo:
        return evolution.resume(run_id, max_calls=int(call_cap) if call_cap else None, max_cost=cost_cap or None)

    button_actions: dict[str, Callable[..., RunInfo]] = {
        PAUSE: lambda run_id, *_: evolution.pause(run_id),
        RESUME: resume_run,
        CANCEL: lambda run_id, *_: evolution.cancel(run_id),
    }

    def action_handler(run_action: Callable[..., RunInfo]) -> Callable[..., list[Any]]:
        @friendly_errors(translate)
        def handle_click(run_id: int | None, known_facts: dict[str, str], *caps: float | None) -> list[Any]:
            if not run_id:
                return [gr.skip()] * (1 + len(watch_blocks.outputs))
            try:
                run_action(int(run_id), *caps)
            except UserError as error:
                return [
                    note(translate.localize(error), "bad"),
                    *watcher.poll_updates(watch_blocks, run_id, known_facts),
                ]
            return ["", *watcher.poll_updates(watch_blocks, run_id, known_facts)]

        return handle_click

    for button_name, act in button_actions.items():
        watch_blocks.parts_by_name[button_name].click(
            action_handler(act),
            [watch_blocks.run_dropdown, watch_blocks.seen_facts, *watch_blocks.cap_boxes],
            [watch_blocks.message_block, *watch_blocks.outputs],
            queue=False,
        )


def _wire_answers(
    services: Services, translate: Translator, watch_blocks: GameWatchBlocks, watcher: GameRunWatcher
) -> None:
    person_box = watch_blocks.answer_blocks["person"]

    def answer_handler(is_there: bool) -> Callable[..., list[Any]]:
        @friendly_errors(translate)
        def handle_click(run_id: int | None, known_facts: dict[str, str], person_name: str) -> list[Any]:
            open_case = watcher.open_case(run_id)
            if open_case is None:
                return ["", *watcher.poll_updates(watch_blocks, run_id, known_facts)]
            try:
                services.evolution.answer(
                    open_case.run,
                    open_case.round,
                    open_case.phase,
                    open_case.number,
                    is_there,
                    person_name or "",
                )
            except UserError as error:
                return [
                    note(translate.localize(error), "bad"),
                    *watcher.poll_updates(watch_blocks, run_id, known_facts),
                ]
            return ["", *watcher.poll_updates(watch_blocks, run_id, known_facts)]

        return handle_click

    input_blocks, outputs = (
        [watch_blocks.run_dropdown, watch_blocks.seen_facts, person_box],
        [watch_blocks.message_block, *watch_blocks.outputs],
    )
    watch_blocks.answer_blocks["yes"].click(answer_handler(True), input_blocks, outputs, queue=False)
    watch_blocks.answer_blocks["no"].click(answer_handler(False), input_blocks, outputs, queue=False)


def _possible_actions(run_info: RunInfo, run_job: JobInfo | None) -> dict[str, bool]:
    is_active = run_job is not None and not run_job.ended
    is_waiting = run_info.state is RunState.WAITING
    is_idle = not is_active and run_info.playing is None
    return {
        PAUSE: not is_idle,
        CANCEL: is_active,
        RESUME: is_idle and not is_waiting and run_info.state is not RunState.DONE,
    }


def _part_update(part_name: str, part_fact: Any) -> Any:
    if part_name == TIMER:
        return timer_update(part_fact, POLL_SECONDS)
    if part_name == "which":
        return gr.update(choices=part_fact, visible=bool(part_fact))
    if part_name in (PAUSE, RESUME, CANCEL):
        return gr.update(visible=part_fact)
    if part_name == CASES:
        return gr.update(visible=part_fact)
    if part_name == CAPS:
        return gr.update(visible=part_fact)
    return part_fact
