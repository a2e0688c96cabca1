"""The page of preference pairs: runs and their funnel, pair by pair, a new run, and the ablations."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.services import Services
from backend.text import number_of
from ui.pairs_ablation import Ablations
from ui.pairs_form import Form
from ui.pairs_runs import Runs
from ui.pairs_table import Pairs
from ui.say import Say
from ui.widgets import ROW, fill, html_block, note, polite, title

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
RUNS, PAIRS, NEW, ABLATIONS = "runs", "pairs", "new", "ablations"
REMEMBER = "(id) => { if (id) history.replaceState(null, '', `${location.pathname}?run=${id}`); }"


def build(services: Services, say: Say) -> None:
    """One run is chosen for the whole page; its number stands in the address."""
    html_block(
        title(
            say("偏好对", "Pairs"),
            say(
                "写几条候选，请评审团一条条评议，好的配差的，就是偏好对。每一对都能点开看它是怎么评出来的，也能改判。",
                "Candidates are written, a panel debates each, accepted ones are paired with refused ones. "
                "Open any pair to see how its label came about, and overrule it.",
            ),
        )
    )
    which = gr.Dropdown(
        label=say("看哪一批", "Run"),
        choices=[],
        visible=False,
        filterable=False,
        elem_id="zf-pair-which",
    )
    with gr.Tabs(elem_id="zf-pairs-tabs") as tabs:
        with gr.Tab(say("批次", "Runs"), id=RUNS):
            runs = Runs(services, say, which)
        with gr.Tab(say("逐对看", "Pair by pair"), id=PAIRS) as pairs_tab:
            Pairs(services, say, pairs_tab, which)
        with gr.Tab(say("新的一批", "New run"), id=NEW) as new_tab:
            form = Form(services, say, new_tab)
        with gr.Tab(say("去掉一个角色", "Ablations"), id=ABLATIONS) as ablation_tab:
            Ablations(services, say, ablation_tab)
    runs.steer()
    _choosing(services, say, runs, which)
    _starting(services, say, runs, form, tabs, which)


def _choosing(services: Services, say: Say, runs: Runs, which: gr.Dropdown) -> None:
    @polite(say)
    def load(request: gr.Request) -> list[Any]:
        known = [run.id for run in services.pairs.runs()]
        wish = number_of(request.query_params.get("run"))
        chosen = wish if wish in known else next(iter(known), None)
        return [_chosen(runs, chosen), *runs.look(chosen, None)]

    @polite(say)
    def press(event: gr.EventData) -> Any:
        run = number_of(getattr(event, "run", None))
        return gr.skip() if run is None else _chosen(runs, run)

    fill(load, which, *runs.outputs)
    which.change(polite(say)(runs.look), [which, runs.seen], runs.outputs, **QUIET)
    which.change(None, which, None, js=REMEMBER)
    which.input(lambda: "", None, runs.told, **QUIET)
    runs.listed.click(press, None, which, **ROW)


def _starting(
    services: Services, say: Say, runs: Runs, form: Form, tabs: gr.Tabs, which: gr.Dropdown
) -> None:
    @polite(say)
    def begin(visit: gr.Request, *given: Any) -> list[Any]:
        try:
            run, job = services.pairs.submit(form.request(visit, *given))
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        told = note(
            say(
                f"“{run.name}”开始了（任务 {job.id}）。关掉页面也照样做。",
                f"“{run.name}” has begun (job {job.id}). It goes on without this page.",
            ),
            "ok",
        )
        return ["", told, gr.update(selected=RUNS), _chosen(runs, run.id)]

    form.start.click(begin, form.boxes, [form.told, runs.told, tabs, which])


def _chosen(runs: Runs, run_id: int | None) -> dict[str, Any]:
    known = runs.choices()
    return gr.update(choices=known, value=run_id, visible=bool(known))
