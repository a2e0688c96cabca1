"""Jobs as the page shows them: the list, how one stands, its curves and samples, and what it left behind."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from backend.agreement.statistics import minimums
from backend.core.enums import EventLevel, JobStatus
from backend.generation.serving import ServedAddress, measure_size
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.training.history import JobHistory, SampleText, thin_curve
from ui.components.jobs import job_progress_bar, status_pill
from ui.components.language import Translator
from ui.components.widgets import empty_notice, esc, note, ready_html_table, row_click_script
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
    return ready_html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "", "", "zf-text"))


def job_link(translate: Translator, job_id: int, link_text: str, is_chosen: bool = False) -> str:
    """A link that opens a job on this page."""
    current_mark = ' aria-current="true"' if is_chosen else ""
    target_url = f"/{translate.lang}/training?job={job_id}"
    return f'<a class="zf-a" data-job="{job_id}"{current_mark} href="{target_url}">{esc(link_text)}</a>'


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
    return ready_html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "zf-left", "zf-text"))


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
    # The row stays when the files are gone: what was learnt from it names it as its parent.
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


def job_status_html(translate: Translator, training_job: JobInfo, history: JobHistory) -> str:
    """Head of the watched job: status, progress, times, newest figures, what is wrong."""
    error_note = note(translate.localize(training_job.error), "bad") if training_job.error else ""
    waiting_note = note(translate.localize(training_job.waiting)) if training_job.waiting else ""
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
    fact_cells = "".join(
        f"<div><b>{esc(job_fact[1])}</b><span>{esc(job_fact[0])}</span></div>" for job_fact in job_facts if job_fact
    )
    heading_html = f"<h3>{training_job.id} · {esc(job_title(translate, training_job))}</h3>"
    progress_html = f"<span>{esc(progress_line(translate, training_job))}</span>"
    return (
        f'<div class="zf-watch-head">{heading_html}{status_pill(translate, training_job.status)}</div>'
        f'<div class="zf-watch-bar">{job_progress_bar(training_job)}{progress_html}</div>'
        f'{error_note}{waiting_note}<div class="zf-figures zf-tight">{fact_cells}</div>'
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


def remarks_html(translate: Translator, history: JobHistory) -> str:
    """What somebody should look at of what the program reported, by its level."""
    return "".join(note(translate.localize(remark), LEVEL_NOTES[remark.level]) for remark in history.remarks)


def samples_html(translate: Translator, samples: Sequence[SampleText]) -> str:
    """What the model wrote for each fixed request, newest step first."""
    if not samples:
        return ""
    samples_by_prompt: dict[str, list[SampleText]] = {}
    for sample in samples:
        # By request: one model's progress on the same words is what the eye compares.
        samples_by_prompt.setdefault(sample.prompt, []).insert(0, sample)
    sample_cards = "".join(
        _sample_card(translate, prompt_text, prompt_samples)
        for prompt_text, prompt_samples in samples_by_prompt.items()
    )
    heading = translate("样例：同样的请求，一步步看", "Samples: the same requests, step by step")
    return f'<h3 class="zf-h">{heading}</h3>{sample_cards}'


def log_html(translate: Translator, log_lines: Sequence[str]) -> str:
    """The end of the log, scrolled to its end."""
    if not log_lines:
        return empty_notice(translate("还没有日志。", "No log yet."))
    log_text = "\n".join(log_lines)
    return f'<div class="zf-log" tabindex="0" role="log"><pre>{esc(log_text)}</pre></div>'


def artifact_html(
    translate: Translator, artifact: ArtifactInfo, serving_job: JobInfo | None, address: ServedAddress | None
) -> str:
    """The model that a job left behind, and where it answers."""
    byte_count = measure_size(artifact.path)
    metric_cells = "".join(
        f"<div><b>{esc(short_figure(artifact.metrics[metric_key]))}</b><span>{esc(translate(*metric_name))}</span></div>"
        for metric_key, metric_name in METRIC_NAMES.items()
        if artifact.metrics.get(metric_key) is not None
    )
    size_note = translate("文件已不在", "files are gone") if byte_count is None else size_text(byte_count)
    head_html = (
        f'<h3 class="zf-h">{translate("成果", "Result")} · {esc(artifact.name)}</h3><p class="zf-note">'
        f"{esc(translate(*ARTIFACT_NAMES[artifact.kind]))} · {translate('产物', 'artifact')} {artifact.id} · "
        f"{size_note} · {translate('数据', 'data')} <code>{esc((artifact.data_hash or '–')[:12])}</code></p>"
    )
    serving_html = _serving_html(translate, serving_job, address)
    return f'{head_html}<div class="zf-figures zf-tight">{metric_cells}</div>{serving_html}'


def _serving_html(translate: Translator, serving_job: JobInfo | None, address: ServedAddress | None) -> str:
    if serving_job is None:
        return ""
    serving_link = job_link(translate, serving_job.id, translate(f"任务 {serving_job.id}", f"job {serving_job.id}"))
    # Loading weights takes seconds to minutes, in which nothing listens yet.
    if address is None:
        starting_text = translate("服务正在启动", "The service is starting")
        return f'<div class="zf-warn" role="status">{starting_text} · {serving_link}</div>'
    address_html = (
        f"<code>{esc(address.base_url)}</code> · {translate('模型', 'model')} <code>{esc(address.model_name)}</code>"
    )
    usage_hint = translate("填到“裁判 → 模型端点”即可使用。", "Enter it under Judges → Endpoints to use it.")
    served_at = translate("服务地址", "Served at")
    return f'<div class="zf-ok" role="status">{served_at} {address_html} · {serving_link}<br>{usage_hint}</div>'


def _sample_card(translate: Translator, prompt_text: str, prompt_samples: Sequence[SampleText]) -> str:
    sample_items = [_sample_item(translate, sample) for sample in prompt_samples]
    newest_items, earlier_items = sample_items[:NEWEST_STEPS], sample_items[NEWEST_STEPS:]
    earlier_html = ""
    if earlier_items:
        summary_text = translate(f"更早的 {len(earlier_items)} 步", f"{len(earlier_items)} earlier")
        earlier_html = f"<details><summary>{summary_text}</summary><ul>{''.join(earlier_items)}</ul></details>"
    newest_html = f"<ul>{''.join(newest_items)}</ul>"
    return f'<div class="zf-sample"><b>{esc(prompt_text)}</b>{newest_html}{earlier_html}</div>'


def _sample_item(translate: Translator, sample: SampleText) -> str:
    step_label = translate(f"第 {sample.step} 步", f"step {sample.step}")
    return f"<li><span>{step_label}</span><p>{esc(sample.text) or '–'}</p></li>"


def _elapsed_text(translate: Translator, training_job: JobInfo) -> str:
    if training_job.started_at is None:
        return "–"
    return duration_text(translate, (training_job.finished_at or datetime.now(UTC)) - training_job.started_at)
