"""The page of trainings: the starter in one click, what runs, a new training, and what came out."""

from typing import Any

import gradio as gr

from backend.jobs.records import JobInfo
from backend.services import Services
from backend.text import number_of
from backend.training_runs.service import PROGRAMS, TrainingService
from ui import training_form, training_starter
from ui.say import Say
from ui.training_blocks import Watch, blocks
from ui.training_fields import shown
from ui.training_fill import QUIET
from ui.training_form import Form
from ui.training_jobs import OPEN, artifacts_table
from ui.training_steer import steering
from ui.training_watch import Watcher
from ui.widgets import ROW, fill, fill_tab, html_block, note, polite, title

JOBS, START, MADE = "jobs", "start", "made"
REMEMBER = "(id) => { if (id) history.replaceState(null, '', `${location.pathname}?job=${id}`); }"


def build(services: Services, say: Say) -> None:
    """The starter above; jobs, forms and results in tabs."""
    trainings = TrainingService(services.jobs)
    watcher = Watcher(services, trainings, say)
    html_block(
        title(
            say("训练", "Training"),
            say(
                "训练在后台进行，关掉或刷新页面都不影响；可以随时暂停、取消，再接着跑。",
                "Training runs in the background, whatever happens to this page; pause, cancel, resume.",
            ),
        )
    )
    card = training_starter.blocks(say)
    with gr.Tabs(elem_id="zf-train-tabs") as tabs:
        with gr.Tab(say("任务", "Jobs"), id=JOBS):
            watch = blocks(say, card.parts)
        with gr.Tab(say("新训练", "New training"), id=START) as start_tab:
            programs, forms = training_form.build(services, say, start_tab)
        with gr.Tab(say("成果", "Results"), id=MADE) as made_tab:
            made = html_block(elem_id="zf-artifacts", js_on_load=OPEN)
    _watching(watcher, say, watch)
    _opening(trainings, watcher, say, tabs, watch, made)
    steering(trainings, watcher, say, watch)
    _starting(services, trainings, watcher, say, forms, tabs, watch)
    _changing(trainings, say, watch, forms, tabs, programs)
    training_starter.starting(trainings, watcher, say, card, watch, tabs)
    results = polite(say)(lambda: artifacts_table(say, services.jobs.artifacts()))
    fill_tab(made_tab, results, [made])


def _watching(watcher: Watcher, say: Say, watch: Watch) -> None:
    """What is shown follows the chosen job, at the start the one in the page's address."""

    @polite(say)
    def load(request: gr.Request) -> list[Any]:
        job_id = watcher.newest(request.query_params.get("job"))
        return watcher.look(watch, job_id, None, choose=job_id)

    @polite(say)
    def look(job_id: int | None, known: dict[str, str]) -> list[Any]:
        return watcher.look(watch, job_id, known)

    fill(load, *watch.outputs)
    # The address first: a reload at once must find the same job.
    watch.which.change(None, watch.which, None, js=REMEMBER)
    watch.which.change(look, [watch.which, watch.seen], watch.outputs, **QUIET)
    watch.which.input(lambda: "", None, watch.told, **QUIET)
    watch.timer.tick(look, [watch.which, watch.seen], watch.outputs, **QUIET)


def _opening(
    trainings: TrainingService, watcher: Watcher, say: Say, tabs: gr.Tabs, watch: Watch, made: gr.HTML
) -> None:
    """A click on a job's name, wherever it stands, opens it."""

    @polite(say)
    def open_job(event: gr.EventData) -> list[Any]:
        wish = number_of(getattr(event, "job", None))
        if wish is None:
            return [gr.skip()] * 3
        return ["", gr.update(selected=JOBS), watcher.choice(trainings.job(wish).id)]

    for place in (watch.parts["listed"], watch.parts["artifact"], made):
        place.click(open_job, None, [watch.told, tabs, watch.which], **ROW)


def _starting(
    services: Services,
    trainings: TrainingService,
    watcher: Watcher,
    say: Say,
    forms: list[Form],
    tabs: gr.Tabs,
    watch: Watch,
) -> None:
    """Each form's button: the sentences about what is wrong, or the new job opened."""

    def wire(form: Form) -> None:
        @polite(say)
        def begin(*given: Any) -> list[Any]:
            job = training_form.start(services, trainings, say, form.program, given)
            if isinstance(job, str):
                return [job, gr.skip(), gr.skip(), gr.skip()]
            queued = say(f"已加入队列，任务 {job.id}。", f"Queued as job {job.id}.")
            return ["", note(queued, "ok"), gr.update(selected=JOBS), watcher.choice(job.id)]

        form.go.click(begin, form.boxes, [form.told, watch.told, tabs, watch.which], queue=False)

    for form in forms:
        wire(form)


def _changing(
    trainings: TrainingService, say: Say, watch: Watch, forms: list[Form], tabs: gr.Tabs, programs: gr.Tabs
) -> None:
    """The form of a job's program, filled with the settings of that job."""
    boxes = [box for form in forms for box in form.boxes]

    @polite(say)
    def change(job_id: int | None) -> list[Any]:
        job = trainings.job(int(job_id)) if job_id else None
        if job is None or job.kind not in PROGRAMS:
            return [gr.skip()] * (2 + len(boxes))
        values = [value for form in forms for value in _prefilled(form, job)]
        return [gr.update(selected=START), gr.update(selected=job.kind), *values]

    watch.parts["changed"].click(change, watch.which, [tabs, programs, *boxes], queue=False)


def _prefilled(form: Form, job: JobInfo) -> list[Any]:
    if form.program != job.kind:
        return [gr.skip()] * len(form.boxes)
    return shown(job.kind, job.config)
