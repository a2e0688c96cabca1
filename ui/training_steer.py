"""The buttons of the watched job: cancel, pause, resume, run again, serve its model."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from backend.errors import NotFound, UserError
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.training_runs.service import TrainingService
from ui.say import Say
from ui.training_blocks import Watch
from ui.training_watch import Watcher
from ui.widgets import note, polite

Act = Callable[[int], JobInfo]


def steering(trainings: TrainingService, watcher: Watcher, say: Say, watch: Watch) -> None:
    """What each button does; the service looks every number from the browser up before it acts."""

    def serve(job_id: int) -> JobInfo:
        return trainings.serve(_model(trainings, job_id).id)

    def stop(job_id: int) -> JobInfo:
        running = trainings.serving(_model(trainings, job_id).id)
        return trainings.cancel(running.id) if running else trainings.job(job_id)

    sure = say("确定取消这个任务吗？已保存的进度会留下。", "Cancel this job? What it saved stays.")
    acts: dict[str, tuple[Act, tuple[str, str], str | None]] = {
        "cancel": (trainings.cancel, ("正在取消任务 {}。", "Cancelling job {}."), sure),
        "pause": (trainings.pause, ("任务 {} 会在当前一步之后暂停。", "Job {} will pause."), None),
        "resume": (trainings.resume, ("任务 {} 接着跑。", "Job {} goes on."), None),
        "again": (trainings.again, ("已加入队列，任务 {}。", "Queued as job {}."), None),
        "serve": (serve, ("正在启动服务，任务 {}。", "The service starts as job {}."), None),
        "stop": (stop, ("正在停止服务，任务 {}。", "Stopping the service, job {}."), None),
    }
    for name, (act, done, question) in acts.items():
        watch.parts[name].click(
            _handler(watcher, say, watch, act, done, follow=name == "again"),
            [watch.which, watch.seen],
            [watch.told, *watch.outputs],
            js=f"(id, seen) => [confirm('{question}') ? id : null, seen]" if question else None,
            queue=False,
        )


def _handler(
    watcher: Watcher, say: Say, watch: Watch, act: Act, done: tuple[str, str], *, follow: bool
) -> Callable[..., list[Any]]:
    @polite(say)
    def handle(job_id: int | None, known: dict[str, str]) -> list[Any]:
        if not job_id:
            return [gr.skip()] * (1 + len(watch.outputs))
        try:
            job = act(int(job_id))
        except UserError as error:
            return [note(say.of(error), "bad"), *watcher.look(watch, job_id, known)]
        told = note(say(*done).format(job.id), "ok")
        return [told, *watcher.look(watch, job_id, known, choose=job.id if follow else None)]

    return handle


def _model(trainings: TrainingService, job_id: int) -> ArtifactInfo:
    made = trainings.artifact_of(job_id)
    if made is None:
        raise NotFound(f"Job {job_id} has left no model.", f"任务 {job_id} 没有留下模型。")
    return made
