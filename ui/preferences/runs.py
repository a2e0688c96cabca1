"""The runs: which there are, how far they are, the funnel of one, and what can be done with it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gradio as gr

from backend.core.enums import JobStatus, PairStage
from backend.core.errors import UserError
from backend.corpus.export import new_export_path
from backend.jobs.records import JobInfo
from backend.preferences.records import PairRunInfo
from backend.services import Services
from ui.components.language import Translator
from ui.components.widgets import (
    esc,
    friendly_errors,
    html_block,
    note,
    ready_html_table,
    row_click_script,
    timer_update,
)
from ui.preferences.views import (
    funnel_html,
    job_is_active,
    loss_reason,
    run_has_budget,
    run_head_html,
    run_is_stopped,
    runs_html,
)

POLL_SECONDS = 2.5
MAX_LOSS_LINES = 200
BUTTON_NAMES = ("pause", "resume", "cancel")
TOGGLED_BLOCKS = ("caps", "using", "lost", *BUTTON_NAMES)
FORMAT_SUFFIXES = {"trl": "jsonl", "sharegpt": "json"}
SILENT_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


class PairRunsTab:
    """The blocks of this tab. `which` is the chosen run, shared with the other tabs."""

    def __init__(self, services: Services, translate: Translator, run_dropdown: gr.Dropdown) -> None:
        self._services, self._translate, self.run_dropdown = services, translate, run_dropdown
        self.seen_facts = gr.State({})
        self.poll_timer = gr.Timer(POLL_SECONDS, active=False)
        self.list_block = html_block(elem_id="zf-pair-runs", js_on_load=row_click_script("run"))
        self.message_block = html_block(elem_id="zf-pair-told")
        self.head_block = html_block(elem_id="zf-pair-head")
        with gr.Row(elem_classes="zf-acts"):
            self.steering_buttons = self._build_buttons()
        self.cap_boxes = self._build_cap_boxes()
        self.funnel_block = html_block(elem_id="zf-pair-funnel")
        self._build_usage()
        self._build_losses()
        self.outputs = [
            self.seen_facts,
            self.poll_timer,
            self.list_block,
            self.head_block,
            self.funnel_block,
            *self.steering_buttons,
            self.cap_row,
            self.usage_column,
            self.losses_accordion,
        ]
        self.poll_timer.tick(
            friendly_errors(translate)(self.poll_updates),
            [run_dropdown, self.seen_facts],
            self.outputs,
            **SILENT_EVENT,
        )

    def run_choices(self) -> list[tuple[str, int]]:
        """Every run by name, the newest first."""
        return [(f"{pair_run.id} · {pair_run.name}", pair_run.id) for pair_run in self._services.pairs.runs()]

    def poll_updates(self, run_id: Any, seen_facts: dict[str, str] | None) -> list[Any]:
        """New values where something changed since the last look, in the order of `outputs`."""
        block_facts, known_facts, block_updates = self._collect_facts(run_id), dict(seen_facts or {}), []
        for block_name, block_fact in block_facts.items():
            block_updates.append(
                gr.skip() if known_facts.get(block_name) == repr(block_fact) else _block_update(block_name, block_fact)
            )
            known_facts[block_name] = repr(block_fact)
        return [known_facts, *block_updates]

    def _collect_facts(self, run_id: Any) -> dict[str, Any]:
        services, translate = self._services, self._translate
        pair_runs = services.pairs.runs()
        jobs_by_run = {pair_run.id: _newest_job(services, pair_run) for pair_run in pair_runs}
        progress_by_run = {
            listed_id: run_job.progress if run_job is not None else None for listed_id, run_job in jobs_by_run.items()
        }
        pair_run = next((candidate for candidate in pair_runs if candidate.id == run_id), None)
        is_busy = any(job_is_active(run_job) for run_job in jobs_by_run.values())
        block_facts: dict[str, Any] = {
            "timer": is_busy,
            "listed": runs_html(translate, pair_runs, jobs_by_run, progress_by_run, run_id),
            "head": "",
            "funnel": "",
            **dict.fromkeys(BUTTON_NAMES, False),
            "caps": False,
            "using": pair_run is not None and pair_run.stage is PairStage.DONE,
            "lost": pair_run is not None,
        }
        if pair_run is not None:
            run_job = jobs_by_run[pair_run.id]
            block_facts["head"] = run_head_html(translate, pair_run, run_job, progress_by_run[pair_run.id])
            block_facts["funnel"] = funnel_html(translate, pair_run, services.pairs.funnel(pair_run.id))
            block_facts |= _possible_actions(pair_run, run_job)
            block_facts["caps"] = block_facts["resume"] and run_has_budget(pair_run)
        return block_facts

    def _build_buttons(self) -> list[gr.Button]:
        translate = self._translate
        button_labels = {
            "pause": translate("暂停", "Pause"),
            "resume": translate("继续", "Resume"),
            "cancel": translate("取消", "Cancel"),
        }
        built_buttons = []
        for button_name in BUTTON_NAMES:
            button = gr.Button(
                button_labels[button_name],
                visible=False,
                min_width=96,
                variant="stop" if button_name == "cancel" else "secondary",
                elem_id=f"zf-pair-{button_name}",
            )
            built_buttons.append(button)
        return built_buttons

    def _build_cap_boxes(self) -> list[gr.Number]:
        translate = self._translate
        cap_labels = {
            "cost": translate("继续前改花费上限（0 为不改）", "New cap on cost before going on (0: as it is)"),
            "calls": translate("继续前改调用上限（0 为不改）", "New cap on calls before going on (0: as it is)"),
        }
        with gr.Row(visible=False) as self.cap_row:
            return [
                gr.Number(label=cap_label, value=0, minimum=0, elem_id=f"zf-pair-cap-{cap_name}")
                for cap_name, cap_label in cap_labels.items()
            ]

    def wire_buttons(self) -> None:
        """What the buttons do; to be called when every block of the page is there."""
        pair_service = self._services.pairs
        button_actions: dict[str, Callable[..., object]] = {
            "pause": lambda pair_run: pair_service.pause(pair_run.id),
            "resume": self._resume_run,
            "cancel": lambda pair_run: pair_service.cancel(pair_run.id),
        }
        for button, (button_name, run_action) in zip(self.steering_buttons, button_actions.items(), strict=True):
            input_blocks = [
                self.run_dropdown,
                self.seen_facts,
                *(self.cap_boxes if button_name == "resume" else ()),
            ]
            button.click(
                self._action_handler(run_action),
                input_blocks,
                [self.message_block, *self.outputs],
                queue=False,
            )

    def _resume_run(self, pair_run: PairRunInfo, cost_cap: Any = 0, call_cap: Any = 0) -> JobInfo:
        new_caps = {"max_cost": float(cost_cap or 0) or None, "max_calls": int(call_cap or 0) or None}
        return self._services.pairs.resume(pair_run.id, **new_caps)

    def _action_handler(self, run_action: Callable[..., object]) -> Callable[..., list[Any]]:
        @friendly_errors(self._translate)
        def handle_click(run_id: Any, seen_facts: dict[str, str], *new_caps: Any) -> list[Any]:
            message = ""
            try:
                run_action(self._services.pairs.find_run(int(run_id or 0)), *new_caps)
            except UserError as error:
                message = note(self._translate.localize(error), "bad")
            return [message, *self.poll_updates(run_id, seen_facts)]

        return handle_click

    def _build_usage(self) -> None:
        translate = self._translate
        with gr.Column(visible=False) as self.usage_column, gr.Row(elem_classes="zf-acts"):
            settle_button = gr.Button(translate("收取大家的复核", "Take in people's answers"), elem_id="zf-pair-settle")
            format_radio = gr.Radio(
                label=translate("格式", "Format"),
                choices=["trl", "sharegpt"],
                value="trl",
                elem_id="zf-pair-format",
            )
            export_button = gr.Button(translate("导出", "Export"), elem_id="zf-pair-export")
            train_button = gr.Button(
                translate("用这些对训练奖励模型", "Train a reward model on these"),
                variant="primary",
                elem_id="zf-pair-train",
            )
        message_block = html_block(elem_id="zf-pair-used")
        file_block = gr.File(label=translate("文件", "File"), interactive=False, visible=False, elem_id="zf-pair-file")
        settle_button.click(
            friendly_errors(translate)(self._settle_reviews), self.run_dropdown, message_block, queue=False
        )
        export_button.click(
            friendly_errors(translate)(self._export_pairs),
            [self.run_dropdown, format_radio],
            [message_block, file_block],
        )
        train_button.click(
            friendly_errors(translate)(self._train_reward_model),
            self.run_dropdown,
            message_block,
            queue=False,
        )

    def _settle_reviews(self, run_id: Any) -> str:
        translate = self._translate
        try:
            pair_run = self._services.pairs.find_run(int(run_id or 0))
            settled_count = self._services.pairs.settle(pair_run.id)
        except UserError as error:
            return note(translate.localize(error), "bad")
        if settled_count:
            message = translate(f"有 {settled_count:,} 对有了复核结果。", f"People decided {settled_count:,} pairs.")
            return note(message, "ok")
        return note(translate("没有新的复核结果。", "No new answers are complete."))

    def _export_pairs(self, run_id: Any, export_format: str) -> list[Any]:
        translate, hidden_file = self._translate, gr.update(visible=False)
        if export_format not in FORMAT_SUFFIXES:
            return [note(translate("请选择格式。", "Choose a format.")), hidden_file]
        try:
            pair_run = self._services.pairs.find_run(int(run_id or 0))
            export_file = new_export_path(
                self._services.settings.home,
                f"pairs-{pair_run.id}-{export_format}.{FORMAT_SUFFIXES[export_format]}",
            )
            export_result = self._services.pairs.export(pair_run.id, export_format, export_file)
        except UserError as error:
            return [note(translate.localize(error), "bad"), hidden_file]
        split_summary = " · ".join(
            f"{split_name} {row_count:,}" for split_name, row_count in export_result.splits.items()
        )
        message = translate(
            f"已导出 {export_result.rows:,} 对（{split_summary}）。",
            f"{export_result.rows:,} pairs exported ({split_summary}).",
        )
        if excluded_count := sum(export_result.dropped.values()):
            message += translate(
                f" 为防泄漏没有导出 {excluded_count:,} 对。", f" {excluded_count:,} left out against leakage."
            )
        return [note(message, "ok"), gr.update(value=str(export_result.path), visible=True)]

    def _train_reward_model(self, run_id: Any) -> str:
        translate = self._translate
        try:
            job = self._services.pairs.train(self._services.pairs.find_run(int(run_id or 0)).id)
        except UserError as error:
            return note(translate.localize(error), "bad")
        queued_text = translate(f"已加入队列，任务 {job.id}。", f"Queued as job {job.id}.")
        job_link = f'<a class="zf-a" href="/{translate.lang}/training?job={job.id}">{esc(translate("去看训练", "watch it"))}</a>'
        return f'<div class="zf-ok" role="status">{esc(queued_text)} {job_link}</div>'

    def _build_losses(self) -> None:
        translate = self._translate
        with gr.Accordion(
            translate("看看丢掉了什么", "See what was lost"),
            open=False,
            visible=False,
            elem_id="zf-pair-losses",
        ) as self.losses_accordion:
            reason_dropdown = gr.Dropdown(label=translate("原因", "Reason"), choices=[], elem_id="zf-pair-why")
            losses_block = html_block(elem_id="zf-pair-lost")

        @friendly_errors(translate)
        def load_reasons(run_id: Any) -> Any:
            drop_counts = self._services.pairs.funnel(int(run_id)).dropped if run_id else {}
            reason_names = [
                reason_name for reason_name in drop_counts if reason_name.startswith(("prompt_", "candidate_"))
            ]
            reason_names = [reason_name for reason_name in reason_names if reason_name != "prompt_one_sided"]
            return gr.update(
                choices=[
                    (f"{loss_reason(translate, reason_name)}（{drop_counts[reason_name]:,}）", reason_name)
                    for reason_name in reason_names
                ],
                value=None,
            )

        @friendly_errors(translate)
        def show_losses(run_id: Any, reason_name: Any) -> str:
            return self._losses_html(int(run_id), str(reason_name)) if run_id and reason_name else ""

        self.losses_accordion.expand(load_reasons, self.run_dropdown, reason_dropdown, **SILENT_EVENT)
        self.run_dropdown.change(load_reasons, self.run_dropdown, reason_dropdown, **SILENT_EVENT)
        reason_dropdown.change(show_losses, [self.run_dropdown, reason_dropdown], losses_block, **SILENT_EVENT)

    def _losses_html(self, run_id: int, loss_name: str) -> str:
        translate, (loss_stage, _, reason) = self._translate, loss_name.partition("_")
        if loss_stage == "prompt":
            dropped_lines = self._services.pairs.prompt_lines(run_id, reason, MAX_LOSS_LINES)
            table_rows = [[str(dropped_line.position + 1), esc(dropped_line.text)] for dropped_line in dropped_lines]
            return ready_html_table(
                [translate("行", "Line"), translate("请求", "Request")], table_rows, ("", "zf-text")
            )
        dropped_candidates = self._services.pairs.faulty_candidates(run_id, reason, MAX_LOSS_LINES)
        table_rows = [
            [esc(candidate.prompt), esc(candidate.text or "–"), esc(candidate.generator)]
            for candidate in dropped_candidates
        ]
        header_cells = [
            translate("请求", "Request"),
            translate("写出来的", "What was written"),
            translate("模型", "Model"),
        ]
        return ready_html_table(header_cells, table_rows, ("zf-text", "zf-text zf-wide", "zf-text"))


def _block_update(block_name: str, block_fact: Any) -> Any:
    if block_name == "timer":
        return timer_update(block_fact, POLL_SECONDS)
    return gr.update(visible=block_fact) if block_name in TOGGLED_BLOCKS else block_fact


def _newest_job(services: Services, pair_run: PairRunInfo) -> JobInfo | None:
    """The newest job of a run; None where nobody has played it yet."""
    with suppress(UserError):
        return services.jobs.job(pair_run.job) if pair_run.job is not None else None
    return None


def _possible_actions(pair_run: PairRunInfo, run_job: JobInfo | None) -> dict[str, bool]:
    is_running = run_job is not None and run_job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    return {
        "pause": is_running,
        "resume": run_is_stopped(pair_run, run_job),
        "cancel": is_running,
    }
