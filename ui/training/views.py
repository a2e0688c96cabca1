"""Jobs as the page shows them: the list, how one stands, its curves and samples, and what it left behind."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from backend.agreement.statistics import minimums
from backend.core.enums import EventLevel, JobStatus
from backend.generation.serving import ServedAddress, measure_size
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.training.history import JobHistory, SampleText, thin_curve
from ui.components.jobs import job_progress_bar, status_pill
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice, note, row_click_script
from ui.training.names import (
    ARTIFACT_NAMES,
    METRIC_NAMES,
    PLOT_CURVES,
    Curve,
    clock_time,
    duration_text,
    job_title,
    progress_line,
    short_figure,
)

OPEN_SCRIPT = row_click_script("job")
# In the order of what they say: what held-out data says of a model before what its own training says.
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


def jobs_table(translate: Translator, training_jobs: Sequence[JobInfo], chosen_id: int | None) -> Markup:
    """Trainings, newest first, the chosen one marked."""
    if not training_jobs:
        return empty_notice(
            translate(
                "还没有训练任务。点上面的“训练入门模型”，或到“新训练”自己设置。",
                "No trainings yet. Train the starter above, or set one up under “New training”.",
            )
        )
    job_lines = [_job_line(translate, training_job, training_job.id == chosen_id) for training_job in training_jobs]
    return render("training/templates/jobs.html", translate=translate, job_lines=job_lines)


def artifacts_table(translate: Translator, artifacts: Sequence[ArtifactInfo]) -> Markup:
    """What jobs left behind, newest first."""
    if not artifacts:
        return empty_notice(
            translate(
                "还没有训练成果。第一次训练完成后，模型和它用的数据会列在这里。",
                "Nothing yet. After the first training its model and data stand here.",
            )
        )
    names_by_id = {artifact.id: artifact.name for artifact in artifacts}
    artifact_lines = [_artifact_line(translate, artifact, names_by_id) for artifact in artifacts]
    return render("training/templates/artifacts.html", translate=translate, artifact_lines=artifact_lines)


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
    """A figure as it is shown; an accuracy comes with its pairs, and is left out where they are too few."""
    pair_count = metrics.get(f"{metric_name.removesuffix('accuracy')}pairs")
    # Older artifacts have no count beside an accuracy; theirs is shown as it is.
    if not metric_name.endswith("_accuracy") or not isinstance(pair_count, int):
        return short_figure(metrics[metric_name])
    minimum_pairs = minimums.MIN_MATCHED_ITEMS if "length_matched" in metric_name else minimums.MIN_FIGURE_ITEMS
    return f"{short_figure(metrics[metric_name]) if pair_count >= minimum_pairs else '–'} (n = {pair_count:,})"


def size_text(byte_count: int) -> str:
    """A size in the unit that suits it."""
    if byte_count < 1_000_000:
        return f"{max(byte_count / 1000, 0.1):,.1f} kB"
    return f"{byte_count / 1e6:,.1f} MB" if byte_count < 1_000_000_000 else f"{byte_count / 1e9:,.1f} GB"


def _job_line(translate: Translator, training_job: JobInfo, is_chosen: bool) -> dict[str, Any]:
    status_message = training_job.error or (training_job.waiting if training_job.status is JobStatus.QUEUED else None)
    return {
        "job": training_job,
        "title": f"{training_job.id} · {job_title(translate, training_job)}",
        "is_chosen": is_chosen,
        "state": status_pill(translate, training_job.status),
        "progress": job_progress_bar(training_job),
        "started": clock_time(training_job.started_at),
        "finished": clock_time(training_job.finished_at),
        "has_failed": training_job.status in (JobStatus.FAILED, JobStatus.LOST),
        "remark": translate.localize(status_message) if status_message else progress_line(translate, training_job),
    }


def _artifact_line(translate: Translator, artifact: ArtifactInfo, names_by_id: Mapping[int, str]) -> dict[str, Any]:
    parent_id = artifact.parent_id
    figure_texts = [f"{label} {figure}" for label, figure in key_figures(translate, artifact.metrics)]
    return {
        "artifact": artifact,
        "kind_name": translate(*ARTIFACT_NAMES[artifact.kind]),
        "parent": f"{names_by_id.get(parent_id, '?')}（{parent_id}）" if parent_id else "–",
        "data_hash": _short_hash(artifact),
        "metrics": " · ".join(figure_texts) or "–",
        "size": _stored_size(artifact),
        "created": clock_time(artifact.created_at),
    }


def _short_hash(artifact: ArtifactInfo) -> str:
    return (artifact.data_hash or "–")[:12]


def _stored_size(artifact: ArtifactInfo) -> str:
    """The size of an artifact's files, empty where they are gone."""
    byte_count = measure_size(artifact.path)
    return "" if byte_count is None else size_text(byte_count)


PlotPoints = tuple[tuple[int, float, str], ...]
# Steps of a sample that stand open; earlier ones are a click away.
NEWEST_STEPS = 3
# How a message stands out, by its level.
LEVEL_NOTES = {EventLevel.INFO: "note", EventLevel.WARNING: "warn", EventLevel.STOP: "bad"}
CURRENT_FIGURES = (
    ("loss", ("损失", "loss")),
    ("reward", ("奖励", "reward")),
    ("kl", ("KL", "KL")),
    ("gold_excellence", ("旁观优秀率", "gold excellent")),
    ("held_out/length", ("字数", "characters")),
    ("tokens_per_second", ("token/秒", "tokens/s")),
    ("gpu_memory_gb", ("显存 GB", "GPU memory GB")),
)


def job_status_html(translate: Translator, training_job: JobInfo, history: JobHistory) -> Markup:
    """Head of the watched job: status, progress, times, newest figures, what is wrong."""
    job_facts = [
        (translate("开始", "started"), clock_time(training_job.started_at)),
        (
            translate("用时", "took") if training_job.ended else translate("已用", "so far"),
            _elapsed_text(translate, training_job),
        ),
        (translate("第几次运行", "attempt"), str(training_job.attempt)) if training_job.attempt > 1 else None,
        (translate("设备", "device"), ", ".join(training_job.devices)) if training_job.devices else None,
        *(
            (translate(*figure_name), short_figure(figure_value))
            for metric_key, figure_name in CURRENT_FIGURES
            if (figure_value := history.newest_value(metric_key)) is not None
        ),
    ]
    return render(
        "training/templates/job_status.html",
        heading=f"{training_job.id} · {job_title(translate, training_job)}",
        state=status_pill(translate, training_job.status),
        progress=job_progress_bar(training_job),
        progress_text=progress_line(translate, training_job),
        problem=translate.localize(training_job.error) if training_job.error else "",
        waiting=translate.localize(training_job.waiting) if training_job.waiting else "",
        job_facts=[job_fact for job_fact in job_facts if job_fact],
    )


def plot_points(translate: Translator, plot_curve: Curve, history: JobHistory) -> PlotPoints:
    """The points of a plot, empty where the job does not report it; one point alone draws no line."""
    named_series = [
        (translate(*series_name), thin_curve(history.metrics.get(metric_key, {})))
        for metric_key, series_name in plot_curve.series_names.items()
    ]
    return tuple(
        (step_number, point_value, series_name)
        for series_name, series_points in named_series
        if len(series_points) > 1
        for step_number, point_value in series_points
    )


def points_frame(point_rows: PlotPoints) -> pd.DataFrame:
    """Points as a plot takes them."""
    return pd.DataFrame(list(point_rows), columns=["step", "value", "series"])


def all_points(translate: Translator, history: JobHistory) -> list[PlotPoints]:
    """The points of every plot."""
    return [plot_points(translate, plot_curve, history) for plot_curve in PLOT_CURVES]


def remarks_html(translate: Translator, history: JobHistory) -> Markup:
    """What somebody should look at of what the program reported, by its level."""
    return Markup().join(note(translate.localize(remark), LEVEL_NOTES[remark.level]) for remark in history.remarks)


def samples_html(translate: Translator, samples: Sequence[SampleText]) -> Markup:
    """What the model wrote for each fixed request, newest step first."""
    if not samples:
        return Markup()
    samples_by_prompt: dict[str, list[SampleText]] = {}
    for sample in samples:
        # By request: one model's progress on the same words is what the eye compares.
        samples_by_prompt.setdefault(sample.prompt, []).insert(0, sample)
    return render(
        "training/templates/samples.html",
        translate=translate,
        samples_by_prompt=samples_by_prompt,
        newest_steps=NEWEST_STEPS,
    )


def log_html(translate: Translator, log_lines: Sequence[str]) -> Markup:
    """The end of the log, scrolled to its end."""
    if not log_lines:
        return empty_notice(translate("还没有日志。", "No log yet."))
    return render("training/templates/log.html", log_text="\n".join(log_lines))


def artifact_html(
    translate: Translator,
    artifact: ArtifactInfo,
    serving_job: JobInfo | None,
    address: ServedAddress | None,
    export_folder: Path | None = None,
) -> Markup:
    """The model that a job left behind, where it answers, and where an export of it lies."""
    shown_metrics = [
        (translate(*metric_name), short_figure(artifact.metrics[metric_key]))
        for metric_key, metric_name in METRIC_NAMES.items()
        if artifact.metrics.get(metric_key) is not None
    ]
    return render(
        "training/templates/artifact.html",
        translate=translate,
        artifact=artifact,
        kind_name=translate(*ARTIFACT_NAMES[artifact.kind]),
        size=_stored_size(artifact),
        data_hash=_short_hash(artifact),
        metrics=shown_metrics,
        serving_job=serving_job,
        address=address,
        export_folder=export_folder,
    )


def _elapsed_text(translate: Translator, training_job: JobInfo) -> str:
    if training_job.started_at is None:
        return "–"
    return duration_text(translate, (training_job.finished_at or datetime.now(UTC)) - training_job.started_at)
