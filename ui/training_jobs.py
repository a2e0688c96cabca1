"""What there is: the list of trainings, and the table of what they left behind."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.agreement import minimums
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.training_runs.service import measure_size
from ui.job_words import job_progress_bar, status_pill
from ui.say import Translator
from ui.training_words import ARTIFACT_NAMES, METRIC_NAMES, clock_time, job_title, progress_line, short_figure
from ui.widgets import empty_notice, esc, html_table, row_click_script

OPEN_SCRIPT = row_click_script("job")
KEY_METRICS = (
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
FIGURE_LIMIT = 3


def jobs_table(translate: Translator, training_jobs: Sequence[JobInfo], chosen_id: int | None) -> str:
    """Trainings, newest first, the chosen one marked."""
    if not training_jobs:
        return empty_notice(
            translate(
                "还没有训练任务。点上面的“训练入门模型”，或到“新训练”自己设置。",
                "No trainings yet. Train the starter above, or set one up under “New training”.",
            )
        )
    header_cells = [
        translate("任务", "Job"),
        translate("状态", "Status"),
        translate("进度", "Progress"),
        translate("开始", "Started"),
        translate("结束", "Finished"),
        translate("说明", "Remarks"),
    ]
    table_rows = [_job_cells(translate, training_job, training_job.id == chosen_id) for training_job in training_jobs]
    return html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "", "", "zf-text"))


def job_link(translate: Translator, job_id: int, link_text: str, is_chosen: bool = False) -> str:
    """A link that opens a job on this page."""
    current_mark = ' aria-current="true"' if is_chosen else ""
    return f'<a class="zf-a" data-job="{job_id}"{current_mark} href="/{translate.lang}/training?job={job_id}">{esc(link_text)}</a>'


def artifacts_table(translate: Translator, artifacts: Sequence[ArtifactInfo]) -> str:
    """What jobs left behind, newest first."""
    if not artifacts:
        return empty_notice(
            translate(
                "还没有训练成果。第一次训练完成后，模型和它用的数据会列在这里。",
                "Nothing yet. After the first training its model and data stand here.",
            )
        )
    header_cells = [
        translate("名称", "Name"),
        translate("类型", "Kind"),
        translate("来自", "Parent"),
        translate("数据", "Data"),
        translate("指标", "Metrics"),
        translate("大小", "Size"),
        translate("时间", "Made"),
    ]
    names_by_id = {artifact.id: artifact.name for artifact in artifacts}
    table_rows = [_artifact_cells(translate, artifact, names_by_id) for artifact in artifacts]
    return html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "zf-left", "zf-text"))


def key_figures(
    translate: Translator, metrics: Mapping[str, Any], figure_limit: int = FIGURE_LIMIT
) -> list[tuple[str, str]]:
    """The most telling figures of an artifact."""
    metric_names = [metric_name for metric_name in KEY_METRICS if isinstance(metrics.get(metric_name), int | float)]
    return [
        (translate(*METRIC_NAMES[metric_name]), _figure_text(metric_name, metrics))
        for metric_name in metric_names[:figure_limit]
    ]


def _figure_text(metric_name: str, metrics: Mapping[str, Any]) -> str:
    """A figure as it is shown; an accuracy says its pairs, and is left out where they are too few."""
    pair_count = metrics.get(f"{metric_name.removesuffix('accuracy')}pairs")
    if not metric_name.endswith("_accuracy") or not isinstance(pair_count, int):
        return short_figure(metrics[metric_name])
    minimum_pairs = minimums.MIN_MATCHED_ITEMS if "length_matched" in metric_name else minimums.MIN_FIGURE_ITEMS
    return f"{short_figure(metrics[metric_name]) if pair_count >= minimum_pairs else '–'} (n = {pair_count:,})"


def size_text(byte_count: int) -> str:
    """A size in the unit that suits it."""
    if byte_count < 1_000_000:
        return f"{max(byte_count / 1000, 0.1):,.1f} kB"
    return f"{byte_count / 1e6:,.1f} MB" if byte_count < 1_000_000_000 else f"{byte_count / 1e9:,.1f} GB"


def _job_cells(translate: Translator, training_job: JobInfo, is_chosen: bool) -> list[str]:
    has_failed = training_job.status in (JobStatus.FAILED, JobStatus.LOST)
    status_message = training_job.error or (training_job.waiting if training_job.status is JobStatus.QUEUED else None)
    remark_text = translate.localize(status_message) if status_message else progress_line(translate, training_job)
    return [
        job_link(translate, training_job.id, f"{training_job.id} · {job_title(translate, training_job)}", is_chosen),
        status_pill(translate, training_job.status),
        job_progress_bar(training_job),
        clock_time(training_job.started_at),
        clock_time(training_job.finished_at),
        f'<span class="zf-error">{esc(remark_text)}</span>' if has_failed else esc(remark_text),
    ]


def _artifact_cells(translate: Translator, artifact: ArtifactInfo, names_by_id: Mapping[int, str]) -> list[str]:
    byte_count = measure_size(artifact.path)
    name_html = f"<b>{esc(artifact.name)}</b>"
    origin_link = (
        job_link(translate, artifact.job_id, translate(f"任务 {artifact.job_id}", f"job {artifact.job_id}"))
        if artifact.job_id
        else ""
    )
    parent_text = (
        esc(f"{names_by_id.get(artifact.parent_id, '?')}（{artifact.parent_id}）") if artifact.parent_id else "–"
    )
    metrics_text = (
        " · ".join(
            f"{esc(metric_label)} {esc(metric_value)}"
            for metric_label, metric_value in key_figures(translate, artifact.metrics)
        )
        or "–"
    )
    missing_html = f'<span class="zf-error">{translate("文件已不在", "files are gone")}</span>'
    return [
        f"{name_html}<small>{artifact.id} {origin_link}</small>",
        esc(translate(*ARTIFACT_NAMES[artifact.kind])),
        parent_text,
        f"<code>{esc((artifact.data_hash or '–')[:12])}</code>",
        metrics_text,
        missing_html if byte_count is None else size_text(byte_count),
        clock_time(artifact.created_at),
    ]
