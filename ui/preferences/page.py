"""The page of preference pairs: runs and their funnel, pair by pair, a new run, and the ablations."""

from typing import Any

import gradio as gr

from backend.core.errors import UserError
from backend.core.text import parse_row_number
from backend.services import Services
from ui.components.form import EnteredValues
from ui.components.language import Translator
from ui.components.widgets import ROW_CLICK, friendly_errors, html_block, note, page_title
from ui.preferences.ablation import AblationTab
from ui.preferences.form import PairRunForm
from ui.preferences.runs import PairRunsTab
from ui.preferences.table import PairTableTab

RUNS_TAB, PAIRS_TAB, NEW_RUN_TAB, ABLATIONS_TAB = "runs", "pairs", "new", "ablations"


def build_page(services: Services, translate: Translator) -> None:
    """One run is chosen for the whole page; its number stands in the address."""
    html_block(
        page_title(
            translate("偏好对", "Pairs"),
            translate(
                "写几条候选，请评审团一条条评议，好的配差的，就是偏好对。每一对都能点开看它是怎么评出来的，也能改判。",
                "Candidates are written, a panel debates each, accepted ones are paired with refused ones. "
                "Open any pair to see how its label came about, and overrule it.",
            ),
        )
    )
    run_dropdown = gr.Dropdown(
        label=translate("看哪一批", "Run"),
        choices=[],
        visible=False,
        filterable=False,
        elem_id="zf-pair-which",
    )
    with gr.Tabs(elem_id="zf-pairs-tabs") as page_tabs:
        with gr.Tab(translate("批次", "Runs"), id=RUNS_TAB):
            runs_tab = PairRunsTab(services, translate, run_dropdown)
        with gr.Tab(translate("逐对看", "Pair by pair"), id=PAIRS_TAB) as pairs_tab:
            PairTableTab(services, translate, pairs_tab, run_dropdown)
        with gr.Tab(translate("新的一批", "New run"), id=NEW_RUN_TAB) as new_tab:
            run_form = PairRunForm(services, translate, new_tab)
        with gr.Tab(translate("去掉一个角色", "Ablations"), id=ABLATIONS_TAB) as ablation_tab:
            AblationTab(services, translate, ablation_tab)
    # After every tab is built: the dropdown above them is what their events follow.
    runs_tab.wire_watch()
    _wire_row_clicks(translate, runs_tab, run_dropdown)
    _wire_start(services, translate, runs_tab, run_form, page_tabs)


def _wire_row_clicks(translate: Translator, runs_tab: PairRunsTab, run_dropdown: gr.Dropdown) -> None:
    @friendly_errors(translate)
    def choose_clicked(event: gr.EventData) -> Any:
        # The list and the choices of the dropdown come from one snapshot, so the run is among them.
        run_id = parse_row_number(getattr(event, "run", None))
        return gr.skip() if run_id is None else run_id

    runs_tab.list_block.click(choose_clicked, None, run_dropdown, **ROW_CLICK)


def _wire_start(
    services: Services, translate: Translator, runs_tab: PairRunsTab, run_form: PairRunForm, page_tabs: gr.Tabs
) -> None:
    run_watcher = runs_tab.run_watcher

    @friendly_errors(translate)
    @run_form.box_form.named
    def begin_run(page_request: gr.Request, entered: EnteredValues) -> dict[Any, Any]:
        try:
            pair_run, run_job = services.pairs.submit(run_form.read_request(page_request, entered))
        except UserError as error:
            return {run_form.message_block: note(translate.localize(error), "bad")}
        started_note = note(
            translate(
                f"“{pair_run.name}”开始了（任务 {run_job.id}）。关掉页面也照样做。",
                f"“{pair_run.name}” has begun (job {run_job.id}). It goes on without this page.",
            ),
            "ok",
        )
        watch_updates = run_watcher.poll_updates(pair_run.id, None, choose=True)
        return {
            run_form.message_block: "",
            run_watcher.message_block: started_note,
            page_tabs: gr.update(selected=RUNS_TAB),
            **dict(zip(run_watcher.outputs, watch_updates, strict=True)),
        }

    outputs = [run_form.message_block, run_watcher.message_block, page_tabs, *run_watcher.outputs]
    run_form.start_button.click(begin_run, run_form.box_form.inputs, outputs)
