"""The buttons of the watched job: cancel, pause, resume, run again, serve its model."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from backend.errors import NotFound, UserError
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.training_runs.service import TrainingService
from ui.say import Translator
from ui.training_blocks import TrainingWatchBlocks
from ui.training_watch import TrainingWatcher
from ui.widgets import friendly_errors, note

JobAction = Callable[[int], JobInfo]


def wire_buttons(
    training_service: TrainingService,
    watcher: TrainingWatcher,
    translate: Translator,
    watch_blocks: TrainingWatchBlocks,
) -> None:
    """What each button does; the service looks every number from the browser up before it acts."""

    def serve_model(job_id: int) -> JobInfo:
        return training_service.serve(_trained_model(training_service, job_id).id)

    def stop_serving(job_id: int) -> JobInfo:
        serving_job = training_service.find_serving_job(_trained_model(training_service, job_id).id)
        return training_service.cancel(serving_job.id) if serving_job else training_service.job(job_id)

    cancel_question = translate("确定取消这个任务吗？已保存的进度会留下。", "Cancel this job? What it saved stays.")
    button_actions: dict[str, tuple[JobAction, tuple[str, str], str | None]] = {
        "cancel": (training_service.cancel, ("正在取消任务 {}。", "Cancelling job {}."), cancel_question),
        "pause": (training_service.pause, ("任务 {} 会在当前一步之后暂停。", "Job {} will pause."), None),
        "resume": (training_service.resume, ("任务 {} 接着跑。", "Job {} goes on."), None),
        "again": (training_service.run_again, ("已加入队列，任务 {}。", "Queued as job {}."), None),
        "serve": (serve_model, ("正在启动服务，任务 {}。", "The service starts as job {}."), None),
        "stop": (stop_serving, ("正在停止服务，任务 {}。", "Stopping the service, job {}."), None),
    }
    for button_name, (job_action, done_message, confirm_question) in button_actions.items():
        watch_blocks.parts_by_name[button_name].click(
            _action_handler(
                watcher, translate, watch_blocks, job_action, done_message, follow_job=button_name == "again"
            ),
            [watch_blocks.job_dropdown, watch_blocks.seen_facts],
            [watch_blocks.message_block, *watch_blocks.outputs],
            js=f"(id, seen) => [confirm('{confirm_question}') ? id : null, seen]" if confirm_question else None,
            queue=False,
        )


def _action_handler(
    watcher: TrainingWatcher,
    translate: Translator,
    watch_blocks: TrainingWatchBlocks,
    job_action: JobAction,
    done_message: tuple[str, str],
    *,
    follow_job: bool,
) -> Callable[..., list[Any]]:
    @friendly_errors(translate)
    def handle_click(job_id: int | None, known_facts: dict[str, str]) -> list[Any]:
        if not job_id:
            return [gr.skip()] * (1 + len(watch_blocks.outputs))
        try:
            changed_job = job_action(int(job_id))
        except UserError as error:
            return [
                note(translate.localize(error), "bad"),
                *watcher.poll_updates(watch_blocks, job_id, known_facts),
            ]
        message = note(translate(*done_message).format(changed_job.id), "ok")
        return [
            message,
            *watcher.poll_updates(watch_blocks, job_id, known_facts, choose=changed_job.id if follow_job else None),
        ]

    return handle_click


def _trained_model(training_service: TrainingService, job_id: int) -> ArtifactInfo:
    artifact = training_service.find_artifact(job_id)
    if artifact is None:
        raise NotFound(f"Job {job_id} has left no model.", f"任务 {job_id} 没有留下模型。")
    return artifact
