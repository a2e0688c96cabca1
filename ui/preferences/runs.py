"""The runs: which there are, how far they are, the funnel of one, and what can be done with it."""

from contextlib import suppress
from typing import Any

import gradio as gr
from gradio.blocks import Block
from markupsafe import Markup

from backend.core.enums import JobStatus, PairStage
from backend.core.errors import UserError
from backend.corpus.export import new_export_path
from backend.jobs.records import JobInfo
from backend.preferences.records import PairRunInfo
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.run_watcher import (
    CANCEL,
    PAUSE,
    RESUME,
    SILENT_EVENT,
    RunSnapshot,
    RunWatcher,
    build_steering_buttons,
)
from ui.components.widgets import friendly_errors, html_block, html_table, link_html, note, row_click_script
from ui.preferences.names import loss_reason
from ui.preferences.views import (
    funnel_html,
    job_is_active,
    run_has_budget,
    run_head_html,
    run_is_stopped,
    runs_html,
)

# A page of losses is read to see what goes wrong; more rows make the table slow and say nothing new.
MAX_LOSS_LINES = 200
FORMAT_SUFFIXES = {"trl": "jsonl", "sharegpt": "json"}


class PairRunsTab:
    """The blocks of this tab. `run_dropdown` is the chosen run, shared with the other tabs."""

    def __init__(self, services: Services, translate: Translator, run_dropdown: gr.Dropdown) -> None:
        self._services, self._translate, self._run_dropdown = services, translate, run_dropdown
        self.list_block = html_block(elem_id="zf-pair-runs", js_on_load=row_click_script("run"))
        message_block = html_block(elem_id="zf-pair-told")
        parts_by_name: dict[str, Block] = {"listed": self.list_block, "head": html_block(elem_id="zf-pair-head")}
        with gr.Row(elem_classes="zf-acts"):
            self._steering_buttons = build_steering_buttons(translate, "zf-pair-")
        with gr.Row(visible=False) as parts_by_name["caps"]:
            self._cap_form = self._build_cap_form()
        parts_by_name["funnel"] = html_block(elem_id="zf-pair-funnel")
        parts_by_name |= {"using": self._build_usage(), "lost": self._build_losses(), **self._steering_buttons}
        self.run_watcher = RunWatcher(translate, run_dropdown, message_block, parts_by_name, self._take_snapshot)

    def wire_watch(self) -> None:
        """Polling, the address, and what the buttons do; to be called when every block of the page is there."""
        pair_service, run_watcher = self._services.pairs, self.run_watcher
        run_watcher.wire_page("run")
        run_watcher.wire_button(self._steering_buttons[PAUSE], pair_service.pause)
        # The caps go along: a run that stopped at its cap would only stop there again.
        run_watcher.wire_button(self._steering_buttons[RESUME], self._resume_run, entered_form=self._cap_form)
        run_watcher.wire_button(self._steering_buttons[CANCEL], pair_service.cancel)

    def _take_snapshot(self, run_id: int | None) -> RunSnapshot:
        services, translate = self._services, self._translate
        pair_runs = services.pairs.runs()
        jobs_by_run = {pair_run.id: _newest_job(services, pair_run) for pair_run in pair_runs}
        progress_by_run = {
            listed_id: run_job.progress if run_job is not None else None for listed_id, run_job in jobs_by_run.items()
        }
        newest_run = pair_runs[0] if pair_runs else None
        shown_run = next((pair_run for pair_run in pair_runs if pair_run.id == run_id), newest_run)
        shown_id = shown_run.id if shown_run else None
        part_facts = {
            **_NO_RUN_FACTS,
            "listed": runs_html(translate, pair_runs, jobs_by_run, progress_by_run, shown_id),
        }
        if shown_run is not None:
            part_facts |= self._run_facts(shown_run, jobs_by_run[shown_run.id], progress_by_run[shown_run.id])
        return RunSnapshot(
            [(f"{pair_run.id} · {pair_run.name}", pair_run.id) for pair_run in pair_runs],
            shown_id,
            any(job_is_active(run_job) for run_job in jobs_by_run.values()),
            part_facts,
        )

    def _run_facts(self, pair_run: PairRunInfo, run_job: JobInfo | None, progress: float | None) -> dict[str, Any]:
        translate, possible_actions = self._translate, _possible_actions(pair_run, run_job)
        return {
            "head": run_head_html(translate, pair_run, run_job, progress),
            "funnel": funnel_html(translate, pair_run, self._services.pairs.funnel(pair_run.id)),
            "caps": possible_actions[RESUME] and run_has_budget(pair_run),
            "using": pair_run.stage is PairStage.DONE,
            # Also while it runs: to see early what goes wrong saves the calls of the rest.
            "lost": True,
            **possible_actions,
        }

    def _build_cap_form(self) -> BoxForm:
        cap_labels = {
            "cost": ("继续前改花费上限（0 为不改）", "New cap on cost before going on (0: as it is)"),
            "calls": ("继续前改调用上限（0 为不改）", "New cap on calls before going on (0: as it is)"),
        }
        return BoxForm(
            **{
                cap_name: gr.Number(
                    label=self._translate(*cap_label), value=0, minimum=0, elem_id=f"zf-pair-cap-{cap_name}"
                )
                for cap_name, cap_label in cap_labels.items()
            }
        )

    def _resume_run(self, run_id: int, entered: EnteredValues) -> JobInfo:
        new_caps = {
            "max_cost": float(entered["cost"] or 0) or None,
            "max_calls": int(entered["calls"] or 0) or None,
        }
        return self._services.pairs.resume(run_id, **new_caps)

    def _build_usage(self) -> Any:
        """What can be done with a finished run."""
        translate = self._translate
        with gr.Column(visible=False) as usage_column, gr.Row(elem_classes="zf-acts"):
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
            friendly_errors(translate)(self._settle_reviews), self._run_dropdown, message_block, queue=False
        )
        # Through the queue, unlike its neighbours: an export of many pairs takes seconds.
        export_button.click(
            friendly_errors(translate)(self._export_pairs),
            [self._run_dropdown, format_radio],
            [message_block, file_block],
        )
        train_button.click(
            friendly_errors(translate)(self._train_reward_model),
            self._run_dropdown,
            message_block,
            queue=False,
        )
        return usage_column

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
        job_link = link_html(f"/{translate.lang}/training?job={job.id}", translate("去看训练", "watch it"))
        queued_text = translate(f"已加入队列，任务 {job.id}。", f"Queued as job {job.id}.")
        return note(Markup.escape(queued_text) + " " + job_link, "ok")

    def _build_losses(self) -> gr.Accordion:
        translate = self._translate
        losses_accordion = gr.Accordion(
            translate("看看丢掉了什么", "See what was lost"), open=False, visible=False, elem_id="zf-pair-losses"
        )
        with losses_accordion:
            reason_dropdown = gr.Dropdown(label=translate("原因", "Reason"), choices=[], elem_id="zf-pair-why")
            losses_block = html_block(elem_id="zf-pair-lost")

        @friendly_errors(translate)
        def load_reasons(run_id: Any) -> Any:
            drop_counts = self._services.pairs.funnel(int(run_id)).dropped if run_id else {}
            reason_names = [
                reason_name for reason_name in drop_counts if reason_name.startswith(("prompt_", "candidate_"))
            ]
            # These requests were not refused: all their candidates were good or all weak, so there is no text
            # to show.
            reason_names = [reason_name for reason_name in reason_names if reason_name != "prompt_one_sided"]
            return gr.update(
                choices=[
                    (f"{loss_reason(translate, reason_name)}（{drop_counts[reason_name]:,}）", reason_name)
                    for reason_name in reason_names
                ],
                # The reason of one run may not occur in another.
                value=None,
            )

        @friendly_errors(translate)
        def show_losses(run_id: Any, reason_name: Any) -> str:
            return self._losses_html(int(run_id), str(reason_name)) if run_id and reason_name else ""

        # Not with every poll: the texts are read when somebody opens the fold.
        losses_accordion.expand(load_reasons, self._run_dropdown, reason_dropdown, **SILENT_EVENT)
        self._run_dropdown.change(load_reasons, self._run_dropdown, reason_dropdown, **SILENT_EVENT)
        reason_dropdown.change(show_losses, [self._run_dropdown, reason_dropdown], losses_block, **SILENT_EVENT)
        return losses_accordion

    def _losses_html(self, run_id: int, loss_name: str) -> str:
        translate, (loss_stage, _, reason) = self._translate, loss_name.partition("_")
        if loss_stage == "prompt":
            dropped_lines = self._services.pairs.prompt_lines(run_id, reason, MAX_LOSS_LINES)
            table_rows = [[str(dropped_line.position + 1), dropped_line.text] for dropped_line in dropped_lines]
            return html_table([translate("行", "Line"), translate("请求", "Request")], table_rows, ("", "zf-text"))
        dropped_candidates = self._services.pairs.faulty_candidates(run_id, reason, MAX_LOSS_LINES)
        table_rows = [
            [candidate.prompt, candidate.text or "–", candidate.generator] for candidate in dropped_candidates
        ]
        header_cells = [
            translate("请求", "Request"),
            translate("写出来的", "What was written"),
            translate("模型", "Model"),
        ]
        return html_table(header_cells, table_rows, ("zf-text", "zf-text zf-wide", "zf-text"))


_NO_RUN_FACTS: dict[str, Any] = {
    **dict.fromkeys(("head", "funnel"), ""),
    **dict.fromkeys(("caps", "using", "lost", PAUSE, RESUME, CANCEL), False),
}


def _newest_job(services: Services, pair_run: PairRunInfo) -> JobInfo | None:
    """The newest job of a run; None where nobody has played it yet."""
    with suppress(UserError):
        return services.jobs.job(pair_run.job) if pair_run.job is not None else None
    return None


def _possible_actions(pair_run: PairRunInfo, run_job: JobInfo | None) -> dict[str, bool]:
    is_running = run_job is not None and run_job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    return {
        PAUSE: is_running,
        RESUME: run_is_stopped(pair_run, run_job),
        CANCEL: is_running,
    }
