"""One run watched: polled by one timer, sent only where something changed; steered, and flaws confirmed."""

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block
from markupsafe import Markup

from backend.core.enums import RunState
from backend.core.errors import Message
from backend.jobs.records import JobInfo
from backend.principles.comparing import stored_report
from backend.principles.records import OpenCase, RunInfo
from backend.principles.rulings import constant_detector, count_fooling, explain_uses
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.run_watcher import CANCEL, PAUSE, RESUME, RunSnapshot, RunWatcher, build_steering_buttons
from ui.components.templates import render, render_part
from ui.components.widgets import empty_notice, html_block, note
from ui.principles.figures import fooling_table, gate_curve, locked_table, run_status_html
from ui.principles.log import conversation_html
from ui.principles.names import flaw_name, run_label, split_passage
from ui.principles.versions import current_rules_html

log = logging.getLogger(__name__)

CASES, CAPS = "cases", "caps"


@dataclass(frozen=True)
class GameWatchBlocks:
    """The blocks of the tab. `parts_by_name` are what a poll may send; the forms are what people enter."""

    run_dropdown: gr.Dropdown
    message_block: gr.HTML
    parts_by_name: dict[str, Block]
    cap_form: BoxForm
    answer_form: BoxForm
    yes_button: gr.Button
    no_button: gr.Button


def build_watch_blocks(translate: Translator) -> GameWatchBlocks:
    """Everything that is shown, empty."""
    run_dropdown = gr.Dropdown(
        label=translate("看哪次运行", "Watch"), choices=[], visible=False, elem_id="zf-game-which"
    )
    parts_by_name: dict[str, Block] = {"head": html_block(elem_id="zf-game-head")}
    with gr.Row(elem_classes="zf-acts", visible=False) as parts_by_name[CAPS]:
        cap_form = BoxForm(
            calls=gr.Number(
                label=translate("新的调用上限", "New cap on calls"), value=0, precision=0, elem_id="zf-game-cap"
            ),
            cost=gr.Number(label=translate("新的花费上限", "New cap on cost"), value=0),
        )
    with gr.Row(elem_classes="zf-acts"):
        parts_by_name |= build_steering_buttons(translate, "zf-game-")
    message_block = html_block(elem_id="zf-game-steered")
    with gr.Column(visible=False, elem_id="zf-game-cases") as parts_by_name[CASES]:
        parts_by_name["case"] = html_block(elem_id="zf-case")
        with gr.Row():
            answer_form = BoxForm(
                person=gr.Textbox(label=translate("你的署名", "Your name"), max_length=60, elem_id="zf-case-person")
            )
            yes_button = gr.Button(
                translate("缺陷确实在", "The flaw is there"), variant="primary", elem_id="zf-case-yes"
            )
            no_button = gr.Button(translate("并不是缺陷", "It is no flaw"), elem_id="zf-case-no")
    for part_name in ("sides", "curve", "locked", "fooling", "log"):
        parts_by_name[part_name] = html_block(elem_id=f"zf-game-{part_name}")
    return GameWatchBlocks(run_dropdown, message_block, parts_by_name, cap_form, answer_form, yes_button, no_button)


class GameRunReader:
    """Reads the rows of runs, and what the page shows of one."""

    def __init__(self, services: Services, translate: Translator) -> None:
        self._translate, self._evolution = translate, services.evolution
        # By run, for all visitors: a locked report never changes once it stands, and its baselines take
        # seconds to fit.
        self._reports: dict[int, Markup] = {}
        # The runs whose report a thread is at work on: without it every poll of every tab would start
        # another.
        self._fitting: set[int] = set()

    def take_snapshot(self, run_id: int | None) -> RunSnapshot:
        """The runs, and the facts of the chosen one, else of the newest."""
        game_runs = self._evolution.runs()
        run_info = _choose_run(game_runs, run_id)
        is_busy = any(game_run.state is RunState.QUEUED or game_run.playing for game_run in game_runs)
        part_facts = self._run_facts(run_info) if run_info else self._empty_facts()
        return RunSnapshot(
            [(run_label(self._translate, game_run), game_run.id) for game_run in game_runs],
            run_info.id if run_info else None,
            # The page asks soon, though the run is done: its report is about to get its baselines.
            is_busy or (run_info is not None and run_info.id in self._fitting),
            part_facts,
        )

    def quick_mark(self, run_id: int | None) -> str:
        """Changes whenever what the page shows of that run does, and takes no step or version to read."""
        game_runs = self._evolution.runs()
        run_info = _choose_run(game_runs, run_id)
        run_states = [(game_run.id, game_run.state) for game_run in game_runs]
        return repr((run_states, self._run_mark(run_info) if run_info else None))

    def open_case(self, run_id: int) -> OpenCase | None:
        """The next planted flaw that waits for a person."""
        return next(iter(self._evolution.open_cases(run_id)), None)

    def _run_mark(self, run_info: RunInfo) -> tuple[Any, ...]:
        run_job = self._evolution.job(run_info.id)
        open_count = len(self._evolution.open_cases(run_info.id)) if run_info.state is RunState.WAITING else 0
        job_mark = run_job and (run_job.status, run_job.progress)
        # The report too: it changes without a row of the run changing.
        return run_info, job_mark, open_count, run_info.id in self._reports

    def _report_html(self, run_info: RunInfo) -> Markup:
        """The locked report. Its fitted baselines take seconds at first, so they join it a little later."""
        if run_info.locked is None:
            return Markup()
        if run_info.id in self._reports:
            return self._reports[run_info.id]
        if run_info.id not in self._fitting:
            self._fitting.add(run_info.id)
            # Beside the poll, which must answer at once; a thread that ends with the server, for it writes nothing.
            threading.Thread(target=self._fit_baselines, args=(run_info,), name="locked-report", daemon=True).start()
        return locked_table(self._translate, stored_report(run_info), self._uses_message(run_info))

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
            # After a failure too, so that a later look may try again.
            self._fitting.discard(run_id)

    def _empty_facts(self) -> dict[str, Any]:
        empty_hint = self._translate(
            "还没有运行。填好上面的表，先估算，再开始。",
            "No runs yet. Fill in the form, estimate, then start.",
        )
        empty_texts = dict.fromkeys(("sides", "curve", "locked", "fooling", "case", "log"), "")
        hidden_parts = dict.fromkeys((PAUSE, RESUME, CANCEL, CASES, CAPS), False)
        return {**empty_texts, **hidden_parts, "head": empty_notice(empty_hint)}

    def _run_facts(self, run_info: RunInfo) -> dict[str, Any]:
        translate, run_job = self._translate, self._evolution.job(run_info.id)
        game_steps = self._evolution.steps(run_info.id)
        versions = self._evolution.archive.versions(run_info.id)
        constant_notice = constant_detector(game_steps)
        open_case = self.open_case(run_info.id) if run_info.state is RunState.WAITING else None
        return {
            "head": run_status_html(translate, run_info, run_job)
            + (note(translate.localize(constant_notice)) if constant_notice else Markup()),
            "case": case_html(translate, open_case),
            "sides": current_rules_html(translate, versions),
            "curve": gate_curve(translate, versions),
            "locked": self._report_html(run_info),
            "fooling": fooling_table(translate, count_fooling(game_steps)),
            "log": render_part("subheading", translate("对话", "The conversation"))
            + conversation_html(translate, game_steps, versions),
            CASES: open_case is not None,
            CAPS: run_info.state is RunState.BUDGET,
            **_possible_actions(run_info, run_job),
        }


def wire_watch(
    services: Services, translate: Translator, watch_blocks: GameWatchBlocks, run_reader: GameRunReader
) -> RunWatcher:
    """Polling, the address, the buttons, and people's answers."""
    evolution = services.evolution
    run_watcher = RunWatcher(
        translate,
        watch_blocks.run_dropdown,
        watch_blocks.message_block,
        watch_blocks.parts_by_name,
        run_reader.take_snapshot,
        run_reader.quick_mark,
    )

    def resume_run(run_id: int, entered: EnteredValues) -> RunInfo:
        call_cap, cost_cap = entered["calls"], entered["cost"]
        return evolution.resume(run_id, max_calls=int(call_cap) if call_cap else None, max_cost=cost_cap or None)

    def answer_case(run_id: int, entered: EnteredValues, *, is_there: bool) -> None:
        # Somebody else may have answered the last one since the page was sent: then there is nothing to do.
        if (case := run_reader.open_case(run_id)) is not None:
            evolution.answer(case.run, case.round, case.phase, case.number, is_there, entered["person"] or "")

    steering_buttons: dict[str, Any] = watch_blocks.parts_by_name
    run_watcher.wire_page("run")
    run_watcher.wire_button(steering_buttons[PAUSE], evolution.pause)
    run_watcher.wire_button(steering_buttons[RESUME], resume_run, entered_form=watch_blocks.cap_form)
    run_watcher.wire_button(steering_buttons[CANCEL], evolution.cancel)
    for answer_button, is_there in ((watch_blocks.yes_button, True), (watch_blocks.no_button, False)):
        run_watcher.wire_button(
            answer_button, partial(answer_case, is_there=is_there), entered_form=watch_blocks.answer_form
        )
    return run_watcher


def case_html(translate: Translator, case: OpenCase | None) -> Markup:
    """A planted flaw as a person sees it; nothing where none waits."""
    if case is None:
        return Markup()
    return render(
        "principles/templates/case.html",
        translate=translate,
        case=case,
        greeting=split_passage(case.greeting, case.place),
        flaw=flaw_name(translate, case.flaw),
    )


def _choose_run(game_runs: list[RunInfo], run_id: int | None) -> RunInfo | None:
    """The run of that id, else the newest."""
    newest_run = game_runs[0] if game_runs else None
    return next((game_run for game_run in game_runs if game_run.id == run_id), newest_run)


def _possible_actions(run_info: RunInfo, run_job: JobInfo | None) -> dict[str, bool]:
    is_active = run_job is not None and not run_job.ended
    is_waiting = run_info.state is RunState.WAITING
    return {
        PAUSE: is_active,
        CANCEL: is_active,
        RESUME: not is_active and not is_waiting and run_info.state is not RunState.DONE,
    }
