"""The page of trainings: the starter in one click, what runs, a new training, and what came out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.core.errors import NotFound, UserError
from backend.core.text import parse_row_number
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.services import Services
from backend.training.service import TRAINING_PROGRAMS, TrainingService
from ui.components.form import EnteredValues
from ui.components.language import Translator
from ui.components.run_watcher import RunWatcher, SeenFacts
from ui.components.templates import render
from ui.components.widgets import ROW_CLICK, fill_tab, friendly_errors, html_block, note, page_title
from ui.training import form
from ui.training.fields import shown_values
from ui.training.form import TrainingForm
from ui.training.views import OPEN_SCRIPT, artifacts_table
from ui.training.watch import EXPORT_FORMATS, PART_UPDATES, TrainingReader, TrainingWatchBlocks, build_watch_blocks


@dataclass(frozen=True)
class StarterCard:
    """The blocks of the card; the watch keeps those of `parts_by_name` up to date."""

    parts_by_name: dict[str, Any]
    message_block: gr.HTML


def build_starter_card(translate: Translator) -> StarterCard:
    """What it is, how long it takes, and the button with why it is off."""
    heading = translate("没有显卡？训练一个自己的入门模型", "No GPU? Train a starter of your own")
    lead_text = translate(
        "用为本项目写的写作语料和你的语料从零训练一个小写作模型，再训练一个奖励模型，两核电脑约六分钟。"
        "它写的大多通顺、切题，但只会说这些语料里的话；想要更多变化，先导入几千条祝福，或者连接一个大模型。",
        "A small writer from scratch on a writing corpus made for this project and on yours, then a reward "
        "model: about six minutes on two cores. Most of what it writes reads well and fits the request, but "
        "it says nothing beyond these texts. For more variety import a few thousand greetings first, or "
        "connect a language model.",
    )
    with gr.Row(elem_classes="zf-starter"):
        html_block(render("training/templates/starter_card.html", heading=heading, lead_text=lead_text))
        with gr.Column(scale=0, min_width=200):
            start_button = gr.Button(
                translate("训练入门模型", "Train the starter"), variant="primary", elem_id="zf-starter"
            )
            reason_block = html_block(elem_id="zf-starter-why")
    return StarterCard({"starter": start_button, "why": reason_block}, html_block(elem_id="zf-starter-told"))


def _wire_starter(
    training_service: TrainingService,
    translate: Translator,
    starter_card: StarterCard,
    run_watcher: RunWatcher,
    page_tabs: gr.Tabs,
) -> None:
    """The click: both jobs queued, the first one opened."""

    @friendly_errors(translate)
    def begin_starter(job_id: int | None, seen_facts: SeenFacts) -> list[Any]:
        try:
            policy_job, reward_job = training_service.start_starter()
        except UserError as error:
            # With a poll: why it cannot start, such as a training begun by somebody else, is news to the card
            # as well.
            error_note = note(translate.localize(error), "bad")
            return [error_note, "", gr.skip(), *run_watcher.poll_updates(job_id, seen_facts)]
        message = translate(
            f"已加入队列：先是写作模型（任务 {policy_job.id}），再是奖励模型（任务 {reward_job.id}）。",
            f"Queued: the writer first (job {policy_job.id}), then the reward model (job {reward_job.id}).",
        )
        watch_updates = run_watcher.poll_updates(policy_job.id, None, choose=True)
        return [note(message, "ok"), "", gr.update(selected=JOBS_TAB), *watch_updates]

    outputs = [starter_card.message_block, run_watcher.message_block, page_tabs, *run_watcher.outputs]
    starter_card.parts_by_name["starter"].click(begin_starter, run_watcher.poll_inputs, outputs, queue=False)


def _wire_buttons(
    training_service: TrainingService,
    translate: Translator,
    watch_blocks: TrainingWatchBlocks,
    run_watcher: RunWatcher,
) -> None:
    """What each button does; the service looks every number from the browser up before it acts."""

    def serve_model(job_id: int) -> JobInfo:
        return training_service.serve(_trained_model(training_service, job_id).id)

    def stop_serving(job_id: int) -> JobInfo:
        serving_job = training_service.find_serving_job(_trained_model(training_service, job_id).id)
        return training_service.cancel(serving_job.id) if serving_job else training_service.job(job_id)

    def export_as(export_format: str) -> Callable[[int], JobInfo]:
        return lambda job_id: training_service.export(_trained_model(training_service, job_id).id, export_format)

    button_actions: dict[str, tuple[Callable[[int], JobInfo], tuple[str, str]]] = {
        "cancel": (training_service.cancel, ("正在取消任务 {}。", "Cancelling job {}.")),
        "pause": (training_service.pause, ("任务 {} 会在当前一步之后暂停。", "Job {} will pause.")),
        "resume": (training_service.resume, ("任务 {} 接着跑。", "Job {} goes on.")),
        "again": (training_service.run_again, ("已加入队列，任务 {}。", "Queued as job {}.")),
        "serve": (serve_model, ("正在启动服务，任务 {}。", "The service starts as job {}.")),
        "stop": (stop_serving, ("正在停止服务，任务 {}。", "Stopping the service, job {}.")),
        **{
            button_name: (export_as(export_format), ("正在导出，任务 {}。", "Exporting as job {}."))
            for button_name, export_format in EXPORT_FORMATS.items()
        },
    }
    questions = {
        "cancel": translate("确定取消这个任务吗？已保存的进度会留下。", "Cancel this job? What it saved stays."),
    }
    for button_name, (job_action, done_message) in button_actions.items():
        run_watcher.wire_button(
            watch_blocks.parts_by_name[button_name],
            job_action,
            done_message,
            questions.get(button_name, ""),
            follow_changed=button_name in ("again", *EXPORT_FORMATS),
        )


def _trained_model(training_service: TrainingService, job_id: int) -> ArtifactInfo:
    artifact = training_service.find_artifact(job_id)
    if artifact is None:
        raise NotFound(f"Job {job_id} has left no model.", f"任务 {job_id} 没有留下模型。")
    return artifact


JOBS_TAB, START_TAB, RESULTS_TAB = "jobs", "start", "made"


def build_page(services: Services, translate: Translator) -> None:
    """The starter above; jobs, forms and results in tabs."""
    training_service = TrainingService(services.jobs)
    training_reader = TrainingReader(services, training_service, translate)
    html_block(
        page_title(
            translate("训练", "Training"),
            translate(
                "训练在后台进行，关掉或刷新页面都不影响；可以随时暂停、取消，再接着跑。",
                "Training runs in the background, whatever happens to this page; pause, cancel, resume.",
            ),
        )
    )
    starter_card = build_starter_card(translate)
    with gr.Tabs(elem_id="zf-train-tabs") as page_tabs:
        with gr.Tab(translate("任务", "Jobs"), id=JOBS_TAB):
            watch_blocks = build_watch_blocks(translate, starter_card.parts_by_name)
        with gr.Tab(translate("新训练", "New training"), id=START_TAB) as start_tab:
            program_tabs, program_forms = form.build_tab(services, translate, start_tab)
        with gr.Tab(translate("成果", "Results"), id=RESULTS_TAB) as results_tab:
            results_block = html_block(elem_id="zf-artifacts", js_on_load=OPEN_SCRIPT)
    run_watcher = RunWatcher(
        translate,
        watch_blocks.job_dropdown,
        watch_blocks.message_block,
        watch_blocks.parts_by_name,
        training_reader.take_snapshot,
        part_updates=PART_UPDATES,
    )
    run_watcher.wire_page("job")
    link_blocks = [watch_blocks.parts_by_name["listed"], watch_blocks.parts_by_name["artifact"], results_block]
    _wire_opening(training_service, translate, run_watcher, page_tabs, link_blocks)
    _wire_buttons(training_service, translate, watch_blocks, run_watcher)
    _wire_start(services, training_service, translate, program_forms, page_tabs, run_watcher)
    _wire_change(training_service, translate, watch_blocks, program_forms, page_tabs, program_tabs)
    _wire_starter(training_service, translate, starter_card, run_watcher, page_tabs)
    load_results = friendly_errors(translate)(lambda: artifacts_table(translate, services.jobs.artifacts()))
    fill_tab(results_tab, load_results, [results_block])


def _wire_opening(
    training_service: TrainingService,
    translate: Translator,
    run_watcher: RunWatcher,
    page_tabs: gr.Tabs,
    link_blocks: list[gr.HTML],
) -> None:
    """A click on a job's name, wherever it stands, opens it."""

    @friendly_errors(translate)
    def open_job(event: gr.EventData) -> list[Any]:
        requested_id = parse_row_number(getattr(event, "job", None))
        if requested_id is None:
            return [gr.skip()] * (2 + len(run_watcher.outputs))
        # Looked up: the number comes from the browser, and the job may be another kind's.
        job_id = training_service.job(requested_id).id
        return ["", gr.update(selected=JOBS_TAB), *run_watcher.poll_updates(job_id, None, choose=True)]

    for link_block in link_blocks:
        link_block.click(open_job, None, [run_watcher.message_block, page_tabs, *run_watcher.outputs], **ROW_CLICK)


def _wire_start(
    services: Services,
    training_service: TrainingService,
    translate: Translator,
    program_forms: list[TrainingForm],
    page_tabs: gr.Tabs,
    run_watcher: RunWatcher,
) -> None:
    """Each form's button: the sentences about what is wrong, or the new job opened."""

    # A function and not the loop's body: a handler made in a loop would see the last form only.
    def wire_form(program_form: TrainingForm) -> None:
        @friendly_errors(translate)
        @program_form.box_form.named
        def begin_training(entered: EnteredValues) -> dict[Any, Any]:
            training_job = form.start_training(services, training_service, translate, program_form.program, entered)
            if isinstance(training_job, str):
                return {program_form.message_block: training_job}
            queued_text = translate(f"已加入队列，任务 {training_job.id}。", f"Queued as job {training_job.id}.")
            watch_updates = run_watcher.poll_updates(training_job.id, None, choose=True)
            return {
                program_form.message_block: "",
                run_watcher.message_block: note(queued_text, "ok"),
                page_tabs: gr.update(selected=JOBS_TAB),
                **dict(zip(run_watcher.outputs, watch_updates, strict=True)),
            }

        outputs = [program_form.message_block, run_watcher.message_block, page_tabs, *run_watcher.outputs]
        program_form.start_button.click(begin_training, program_form.box_form.inputs, outputs, queue=False)

    for program_form in program_forms:
        wire_form(program_form)


def _wire_change(
    training_service: TrainingService,
    translate: Translator,
    watch_blocks: TrainingWatchBlocks,
    program_forms: list[TrainingForm],
    page_tabs: gr.Tabs,
    program_tabs: gr.Tabs,
) -> None:
    """The form of a job's program, filled with the settings of that job."""
    forms_by_program = {program_form.program: program_form.box_form for program_form in program_forms}
    all_boxes = [form_box for box_form in forms_by_program.values() for form_box in box_form.outputs]

    @friendly_errors(translate)
    def change_settings(job_id: int | None) -> dict[Any, Any]:
        training_job = training_service.job(int(job_id)) if job_id else None
        if training_job is None or training_job.kind not in TRAINING_PROGRAMS:
            return {page_tabs: gr.skip()}
        # The boxes of this program alone: what somebody has entered for another one stays.
        return {
            page_tabs: gr.update(selected=START_TAB),
            program_tabs: gr.update(selected=training_job.kind),
            **forms_by_program[training_job.kind].fill(shown_values(training_job.kind, training_job.config)),
        }

    watch_blocks.parts_by_name["changed"].click(
        change_settings, watch_blocks.job_dropdown, [page_tabs, program_tabs, *all_boxes], queue=False
    )
