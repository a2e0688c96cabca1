"""What there is: the list of trainings, and the table of what they left behind."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.agreement import minimums
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.training_runs.service import size_of
from ui.job_words import bar, pill
from ui.say import Say
from ui.training_words import ARTIFACTS, METRICS, moment, progress_words, short, title_of
from ui.widgets import empty, esc, opener, table

OPEN = opener("job")
TELLING = (
    "eval_loss",
    "length_matched_accuracy",
    "all_accuracy",
    "ngram_all_accuracy",
    "gold_excellence",
    "held_out/distinct_2",
    "held_out/fit",
    "train_loss",
    "steps",
)
FIGURES = 3


def jobs_table(say: Say, jobs: Sequence[JobInfo], chosen: int | None) -> str:
    """Trainings, newest first, the chosen one marked."""
    if not jobs:
        return empty(
            say(
                "还没有训练任务。点上面的“训练入门模型”，或到“新训练”自己设置。",
                "No trainings yet. Train the starter above, or set one up under “New training”.",
            )
        )
    head = [
        say("任务", "Job"),
        say("状态", "Status"),
        say("进度", "Progress"),
        say("开始", "Started"),
        say("结束", "Finished"),
        say("说明", "Remarks"),
    ]
    rows = [_job_row(say, job, job.id == chosen) for job in jobs]
    return table(head, rows, ("", "zf-left", "zf-left", "", "", "zf-text"))


def job_link(say: Say, job_id: int, text: str, here: bool = False) -> str:
    """A link that opens a job on this page."""
    mark = ' aria-current="true"' if here else ""
    return (
        f'<a class="zf-a" data-job="{job_id}"{mark} href="/{say.lang}/training?job={job_id}">{esc(text)}</a>'
    )


def artifacts_table(say: Say, artifacts: Sequence[ArtifactInfo]) -> str:
    """What jobs left behind, newest first."""
    if not artifacts:
        return empty(
            say(
                "还没有训练成果。第一次训练完成后，模型和它用的数据会列在这里。",
                "Nothing yet. After the first training its model and data stand here.",
            )
        )
    head = [
        say("名称", "Name"),
        say("类型", "Kind"),
        say("来自", "Parent"),
        say("数据", "Data"),
        say("指标", "Metrics"),
        say("大小", "Size"),
        say("时间", "Made"),
    ]
    names = {made.id: made.name for made in artifacts}
    rows = [_artifact_row(say, made, names) for made in artifacts]
    return table(head, rows, ("", "zf-left", "zf-left", "zf-left", "zf-text"))


def figures(say: Say, metrics: Mapping[str, Any], most: int = FIGURES) -> list[tuple[str, str]]:
    """The most telling figures of an artifact."""
    known = [name for name in TELLING if isinstance(metrics.get(name), int | float)]
    return [(say(*METRICS[name]), _figure(name, metrics)) for name in known[:most]]


def _figure(name: str, metrics: Mapping[str, Any]) -> str:
    """A figure as it is shown; an accuracy says its pairs, and is left out where they are too few."""
    pairs = metrics.get(f"{name.removesuffix('accuracy')}pairs")
    if not name.endswith("_accuracy") or not isinstance(pairs, int):
        return short(metrics[name])
    least = minimums.MATCHED if "length_matched" in name else minimums.ITEMS
    return f"{short(metrics[name]) if pairs >= least else '–'} (n = {pairs:,})"


def bytes_of(size: int) -> str:
    """A size in the unit that suits it."""
    if size < 1_000_000:
        return f"{max(size / 1000, 0.1):,.1f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:,.1f} GB"


def _job_row(say: Say, job: JobInfo, here: bool) -> list[str]:
    failed = job.status in (JobStatus.FAILED, JobStatus.LOST)
    told = job.error or (job.waiting if job.status is JobStatus.QUEUED else None)
    words = say.of(told) if told else progress_words(say, job)
    return [
        job_link(say, job.id, f"{job.id} · {title_of(say, job)}", here),
        pill(say, job.status),
        bar(job),
        moment(job.started_at),
        moment(job.finished_at),
        f'<span class="zf-error">{esc(words)}</span>' if failed else esc(words),
    ]


def _artifact_row(say: Say, made: ArtifactInfo, names: Mapping[int, str]) -> list[str]:
    size = size_of(made.path)
    name = f"<b>{esc(made.name)}</b>"
    origin = (
        job_link(say, made.job_id, say(f"任务 {made.job_id}", f"job {made.job_id}")) if made.job_id else ""
    )
    parent = esc(f"{names.get(made.parent_id, '?')}（{made.parent_id}）") if made.parent_id else "–"
    told = " · ".join(f"{esc(key)} {esc(value)}" for key, value in figures(say, made.metrics)) or "–"
    gone = f'<span class="zf-error">{say("文件已不在", "files are gone")}</span>'
    return [
        f"{name}<small>{made.id} {origin}</small>",
        esc(say(*ARTIFACTS[made.kind])),
        parent,
        f"<code>{esc((made.data_hash or '–')[:12])}</code>",
        told,
        gone if size is None else bytes_of(size),
        moment(made.created_at),
    ]
