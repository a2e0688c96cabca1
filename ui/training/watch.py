"""The list of trainings and one of them watched: polled by one timer, sent only where something changed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend.core.enums import ACTIVE_STATUSES, ArtifactKind, JobStatus
from backend.core.errors import UserError
from backend.core.text import parse_row_number
from backend.generation.serving import SERVE_KIND
from backend.jobs.records import JobInfo
from backend.services import Services
from backend.training.history import HistoryCache
from backend.training.service import TRAINING_PROGRAMS, TrainingService
from ui.components.language import Translator
from ui.components.run_watcher import RunSnapshot
from ui.components.widgets import caption_html, html_block
from ui.training.names import PLOT_CURVES, Curve, job_label
from ui.training.views import (
    OPEN_SCRIPT,
    all_points,
    artifact_html,
    job_status_html,
    jobs_table,
    log_html,
    points_frame,
    remarks_html,
    samples_html,
)

# What each button of an export writes.
EXPORT_FORMATS = {"export_ollama": "ollama", "export_safetensors": "safetensors"}
PLOT_NAMES = tuple(f"plot{plot_number}" for plot_number in range(len(PLOT_CURVES)))
BUTTON_NAMES = ("cancel", "pause", "resume", "again", "changed", "serve", "stop", *EXPORT_FORMATS)


@dataclass(frozen=True)
class TrainingWatchBlocks:
    """The blocks of the tab; `parts_by_name` are what a poll may send."""

    job_dropdown: gr.Dropdown
    message_block: gr.HTML
    parts_by_name: dict[str, Any]


def build_watch_blocks(translate: Translator, other_parts: dict[str, Any]) -> TrainingWatchBlocks:
    """Everything that is shown, empty; `other_parts` lie elsewhere on the page and are kept up to date too."""
    parts_by_name = dict(other_parts)
    parts_by_name["listed"] = html_block(elem_id="zf-trainings", js_on_load=OPEN_SCRIPT)
    job_dropdown = gr.Dropdown(
        label=translate("看哪个任务", "Watch"),
        choices=[],
        visible=False,
        elem_id="zf-train-which",
        filterable=False,
    )
    message_block = html_block(elem_id="zf-train-told")
    parts_by_name["head"] = html_block(elem_id="zf-train-head")
    with gr.Row(elem_classes="zf-acts"):
        parts_by_name |= _build_buttons(translate)
    parts_by_name["remarks"] = html_block(elem_id="zf-train-remarks")
    parts_by_name["artifact"] = html_block(elem_id="zf-train-artifact", js_on_load=OPEN_SCRIPT)
    with gr.Accordion(translate("模型卡", "Model card"), open=False, visible=False) as card_accordion:
        parts_by_name["card"] = gr.Markdown(elem_id="zf-train-card")
    parts_by_name["has_card"] = card_accordion
    with gr.Row(elem_classes="zf-plots"):
        for plot_name, plot_curve in zip(PLOT_NAMES, PLOT_CURVES, strict=True):
            parts_by_name[plot_name] = _build_plot(translate, plot_curve)
    parts_by_name["samples"] = html_block(elem_id="zf-train-samples")
    log_accordion = gr.Accordion(
        translate("日志（最后 80 行）", "Log (last 80 lines)"),
        open=False,
        visible=False,
        elem_id="zf-train-logs",
    )
    with log_accordion:
        parts_by_name["log"] = html_block(elem_id="zf-train-log")
    parts_by_name["has_log"] = log_accordion
    return TrainingWatchBlocks(job_dropdown, message_block, parts_by_name)


def _build_buttons(translate: Translator) -> dict[str, gr.Button]:
    button_labels = {
        "cancel": translate("取消", "Cancel"),
        "pause": translate("暂停", "Pause"),
        "resume": translate("继续", "Resume"),
        "again": translate("再跑一次", "Run again"),
        "changed": translate("改设置再跑", "Run changed"),
        "serve": translate("启动服务", "Serve"),
        "stop": translate("停止服务", "Stop serving"),
        "export_ollama": translate("导出到 Ollama（GGUF）", "Export for Ollama (GGUF)"),
        "export_safetensors": translate("导出 safetensors", "Export safetensors"),
    }
    return {
        button_name: gr.Button(
            button_labels[button_name],
            min_width=96,
            visible=False,
            variant="stop" if button_name in ("cancel", "stop") else "secondary",
            elem_id=f"zf-train-{button_name}",
        )
        for button_name in BUTTON_NAMES
    }


def _build_plot(translate: Translator, plot_curve: Curve) -> gr.LinePlot:
    axis_limits: Any = [0, 1] if plot_curve.is_share else None
    return gr.LinePlot(
        x="step",
        y="value",
        color="series",
        title=translate(*plot_curve.bilingual_title),
        x_title=translate("步", "step"),
        # Not empty: an empty title is replaced by the name of the column.
        y_title=" ",
        color_title=" ",
        y_lim=axis_limits,
        height=240,
        min_width=300,
        visible=False,
        show_label=False,
        buttons=[],
        elem_id=f"zf-plot-{plot_curve.plot_key}",
    )


def _starter_update(is_offered: bool) -> Any:
    return gr.update(interactive=is_offered)


def _plot_update(curve_points: Any) -> Any:
    # A plot without points would still draw its axes.
    if not curve_points:
        return gr.update(visible=False)
    return gr.update(value=points_frame(curve_points), visible=True)


PART_UPDATES = {"starter": _starter_update, **dict.fromkeys(PLOT_NAMES, _plot_update)}
LOG_LINES = 80
BlockFacts = dict[str, Any]


class TrainingReader:
    """Reads the rows of trainings, and what the page shows of one."""

    def __init__(self, services: Services, training_service: TrainingService, translate: Translator) -> None:
        self._services, self._trainings, self._translate = services, training_service, translate
        # Shared by all pages: the events of a long training are read once and then only what is new.
        self._histories = HistoryCache(services.jobs)

    def newest_job(self, requested_id: object = None) -> int | None:
        """The job to watch: the requested one, else the newest that runs, that waits, or at all."""
        all_jobs = self._trainings.jobs()
        if (job_number := parse_row_number(requested_id)) is not None:
            # A link to a job of another database: what is here is shown instead.
            with suppress(UserError):
                return self._trainings.job(job_number).id
        training_jobs = [training_job for training_job in all_jobs if training_job.kind in TRAINING_PROGRAMS]
        running_jobs = [training_job for training_job in training_jobs if training_job.status in ACTIVE_STATUSES]
        queued_jobs = [training_job for training_job in training_jobs if training_job.status is JobStatus.QUEUED]
        # What runs, then what waits: who opens the page without a number has come to watch.
        return next((training_job.id for training_job in (*running_jobs, *queued_jobs, *all_jobs)), None)

    def take_snapshot(self, job_id: int | None) -> RunSnapshot:
        """The jobs, and the facts of the chosen one, else of the newest."""
        all_jobs, shown_id = self._trainings.jobs(), self.newest_job(job_id)
        watched_job = self._trainings.job(shown_id) if shown_id is not None else None
        is_busy = any(_changes_by_itself(listed_job) for listed_job in all_jobs)
        blocked_reason = self._trainings.why_starter_blocked()
        part_facts: BlockFacts = {
            "starter": blocked_reason is None,
            "why": caption_html(self._translate.localize(blocked_reason)) if blocked_reason else "",
            "listed": jobs_table(self._translate, all_jobs, shown_id),
            "has_log": watched_job is not None,
            **(self._watched_facts(watched_job) if watched_job else _empty_facts()),
        }
        return RunSnapshot(
            self._job_choices(all_jobs, watched_job),
            shown_id,
            is_busy or (watched_job is not None and not watched_job.ended),
            part_facts,
        )

    def _watched_facts(self, watched_job: JobInfo) -> BlockFacts:
        translate, history = self._translate, self._histories.load_history(watched_job.id)
        artifact = self._trainings.find_artifact(watched_job.id)
        serving_job = self._trainings.find_serving_job(artifact.id) if artifact else None
        address = self._trainings.find_address(serving_job.id) if serving_job and not serving_job.ended else None
        card_text = self._trainings.read_card(artifact) if artifact and watched_job.kind in TRAINING_PROGRAMS else ""
        plot_facts = dict(zip(PLOT_NAMES, all_points(translate, history), strict=True))
        can_serve = artifact is not None and artifact.kind is ArtifactKind.POLICY
        export_folder = self._trainings.find_export_folder(watched_job.id)
        return {
            "head": job_status_html(translate, watched_job, history),
            "remarks": remarks_html(translate, history),
            "samples": samples_html(translate, history.samples),
            "log": log_html(translate, self._services.jobs.log_tail(watched_job.id, LOG_LINES)),
            "artifact": artifact_html(translate, artifact, serving_job, address, export_folder) if artifact else "",
            "card": card_text,
            "has_card": bool(card_text),
            "serve": can_serve and serving_job is None,
            "stop": can_serve and serving_job is not None,
            **dict.fromkeys(EXPORT_FORMATS, can_serve),
            **plot_facts,
            **_possible_actions(watched_job, pausable=self._services.jobs.is_pausable(watched_job.kind)),
        }

    def _job_choices(self, all_jobs: list[JobInfo], watched_job: JobInfo | None) -> list[tuple[str, int]]:
        """The jobs of the list, and the watched one where it is older than those."""
        listed_ids = [listed_job.id for listed_job in all_jobs]
        # A link may name a job that the list is too short for, and a dropdown refuses what is not among its
        # choices.
        older_jobs = [watched_job] if watched_job is not None and watched_job.id not in listed_ids else []
        return [(job_label(self._translate, shown_job), shown_job.id) for shown_job in (*all_jobs, *older_jobs)]


def _changes_by_itself(training_job: JobInfo) -> bool:
    """Whether the list changes by itself; a model that waits for requests does not."""
    waits_for_requests = (
        training_job.kind == SERVE_KIND and training_job.status is JobStatus.RUNNING and training_job.progress >= 1
    )
    return not training_job.ended and not waits_for_requests


def _possible_actions(training_job: JobInfo, *, pausable: bool) -> BlockFacts:
    """Which buttons make sense now."""
    is_training, stoppable = (
        training_job.kind in TRAINING_PROGRAMS,
        training_job.status in (JobStatus.QUEUED, JobStatus.RUNNING),
    )
    return {
        "cancel": stoppable or training_job.status in (JobStatus.PAUSED, JobStatus.PAUSING),
        "pause": stoppable and pausable,
        "resume": training_job.resumable,
        "again": training_job.ended,
        "changed": is_training,
    }


def _empty_facts() -> BlockFacts:
    empty_texts = dict.fromkeys(("head", "remarks", "samples", "log", "artifact", "card"), "")
    empty_plots: BlockFacts = dict.fromkeys(PLOT_NAMES, ())
    return {**empty_texts, **empty_plots, **dict.fromkeys(BUTTON_NAMES, False), "has_card": False}
