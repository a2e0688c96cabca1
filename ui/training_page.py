"""The page of trainings: the starter in one click, what runs, a new training, and what came out."""

from typing import Any

import gradio as gr

from backend.jobs.records import JobInfo
from backend.services import Services
from backend.text import parse_row_number
from backend.training_runs.service import TRAINING_PROGRAMS, TrainingService
from ui import training_form, training_starter
from ui.say import Translator
from ui.training_blocks import TrainingWatchBlocks, build_watch_blocks
from ui.training_fields import shown_values
from ui.training_fill import SILENT_EVENT
from ui.training_form import TrainingForm
from ui.training_jobs import OPEN_SCRIPT, artifacts_table
from ui.training_steer import wire_buttons
from ui.training_watch import TrainingWatcher
from ui.widgets import ROW_CLICK, fill_on_load, fill_tab, friendly_errors, html_block, note, page_title

JOBS_TAB, START_TAB, RESULTS_TAB = "jobs", "start", "made"
REMEMBER_SCRIPT = "(id) => { if (id) history.replaceState(null, '', `${location.pathname}?job=${id}`); }"


def build_page(services: Services, translate: Translator) -> None:
    """The starter above; jobs, forms and results in tabs."""
    training_service = TrainingService(services.jobs)
    watcher = TrainingWatcher(services, training_service, translate)
    html_block(
        page_title(
            translate("训练", "Training"),
            translate(
                "训练在后台进行，关掉或刷新页面都不影响；可以随时暂停、取消，再接着跑。",
                "Training runs in the background, whatever happens to this page; pause, cancel, resume.",
            ),
        )
    )
    starter_card = training_starter.build_starter_card(translate)
    with gr.Tabs(elem_id="zf-train-tabs") as page_tabs:
        with gr.Tab(translate("任务", "Jobs"), id=JOBS_TAB):
            watch_blocks = build_watch_blocks(translate, starter_card.parts_by_name)
        with gr.Tab(translate("新训练", "New training"), id=START_TAB) as start_tab:
            program_tabs, program_forms = training_form.build_tab(services, translate, start_tab)
        with gr.Tab(translate("成果", "Results"), id=RESULTS_TAB) as results_tab:
            results_block = html_block(elem_id="zf-artifacts", js_on_load=OPEN_SCRIPT)
    _wire_watch(watcher, translate, watch_blocks)
    _wire_opening(training_service, watcher, translate, page_tabs, watch_blocks, results_block)
    wire_buttons(training_service, watcher, translate, watch_blocks)
    _wire_start(services, training_service, watcher, translate, program_forms, page_tabs, watch_blocks)
    _wire_change(training_service, translate, watch_blocks, program_forms, page_tabs, program_tabs)
    training_starter.wire_starter(training_service, watcher, translate, starter_card, watch_blocks, page_tabs)
    load_results = friendly_errors(translate)(lambda: artifacts_table(translate, services.jobs.artifacts()))
    fill_tab(results_tab, load_results, [results_block])


def _wire_watch(watcher: TrainingWatcher, translate: Translator, watch_blocks: TrainingWatchBlocks) -> None:
    """What is shown follows the chosen job, at the start the one in the page's address."""

    @friendly_errors(translate)
    def load_page(request: gr.Request) -> list[Any]:
        job_id = watcher.newest_job(request.query_params.get("job"))
        return watcher.poll_updates(watch_blocks, job_id, None, choose=job_id)

    @friendly_errors(translate)
    def poll_job(job_id: int | None, known_facts: dict[str, str]) -> list[Any]:
        return watcher.poll_updates(watch_blocks, job_id, known_facts)

    fill_on_load(load_page, *watch_blocks.outputs)
    # The address first: a reload at once must find the same job.
    watch_blocks.job_dropdown.change(None, watch_blocks.job_dropdown, None, js=REMEMBER_SCRIPT)
    watch_blocks.job_dropdown.change(
        poll_job, [watch_blocks.job_dropdown, watch_blocks.seen_facts], watch_blocks.outputs, **SILENT_EVENT
    )
    watch_blocks.job_dropdown.input(lambda: "", None, watch_blocks.message_block, **SILENT_EVENT)
    watch_blocks.poll_timer.tick(
        poll_job, [watch_blocks.job_dropdown, watch_blocks.seen_facts], watch_blocks.outputs, **SILENT_EVENT
    )


def _wire_opening(
    training_service: TrainingService,
    watcher: TrainingWatcher,
    translate: Translator,
    page_tabs: gr.Tabs,
    watch_blocks: TrainingWatchBlocks,
    results_block: gr.HTML,
) -> None:
    """A click on a job's name, wherever it stands, opens it."""

    @friendly_errors(translate)
    def open_job(event: gr.EventData) -> list[Any]:
        requested_id = parse_row_number(getattr(event, "job", None))
        if requested_id is None:
            return [gr.skip()] * 3
        return [
            "",
            gr.update(selected=JOBS_TAB),
            watcher.choice_update(training_service.job(requested_id).id),
        ]

    for link_block in (
        watch_blocks.parts_by_name["listed"],
        watch_blocks.parts_by_name["artifact"],
        results_block,
    ):
        link_block.click(
            open_job, None, [watch_blocks.message_block, page_tabs, watch_blocks.job_dropdown], **ROW_CLICK
        )


def _wire_start(
    services: Services,
    training_service: TrainingService,
    watcher: TrainingWatcher,
    translate: Translator,
    program_forms: list[TrainingForm],
    page_tabs: gr.Tabs,
    watch_blocks: TrainingWatchBlocks,
) -> None:
    """Each form's button: the sentences about what is wrong, or the new job opened."""

    def wire_form(program_form: TrainingForm) -> None:
        @friendly_errors(translate)
        def begin_training(*box_values: Any) -> list[Any]:
            training_job = training_form.start_training(
                services, training_service, translate, program_form.program, box_values
            )
            if isinstance(training_job, str):
                return [training_job, gr.skip(), gr.skip(), gr.skip()]
            queued_text = translate(f"已加入队列，任务 {training_job.id}。", f"Queued as job {training_job.id}.")
            return [
                "",
                note(queued_text, "ok"),
                gr.update(selected=JOBS_TAB),
                watcher.choice_update(training_job.id),
            ]

        program_form.start_button.click(
            begin_training,
            program_form.input_boxes,
            [program_form.message_block, watch_blocks.message_block, page_tabs, watch_blocks.job_dropdown],
            queue=False,
        )

    for form in program_forms:
        wire_form(form)


def _wire_change(
    training_service: TrainingService,
    translate: Translator,
    watch_blocks: TrainingWatchBlocks,
    program_forms: list[TrainingForm],
    page_tabs: gr.Tabs,
    program_tabs: gr.Tabs,
) -> None:
    """The form of a job's program, filled with the settings of that job."""
    all_boxes = [form_box for form in program_forms for form_box in form.input_boxes]

    @friendly_errors(translate)
    def change_settings(job_id: int | None) -> list[Any]:
        training_job = training_service.job(int(job_id)) if job_id else None
        if training_job is None or training_job.kind not in TRAINING_PROGRAMS:
            return [gr.skip()] * (2 + len(all_boxes))
        box_values = [
            box_value for program_form in program_forms for box_value in _prefilled_values(program_form, training_job)
        ]
        return [gr.update(selected=START_TAB), gr.update(selected=training_job.kind), *box_values]

    watch_blocks.parts_by_name["changed"].click(
        change_settings, watch_blocks.job_dropdown, [page_tabs, program_tabs, *all_boxes], queue=False
    )


def _prefilled_values(program_form: TrainingForm, training_job: JobInfo) -> list[Any]:
    if program_form.program != training_job.kind:
        return [gr.skip()] * len(program_form.input_boxes)
    return shown_values(training_job.kind, training_job.config)
