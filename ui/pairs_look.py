"""How runs of pairs look: the table of all, and the head of one with what its state means."""

from typing import Any

from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.pairs.records import PairRunInfo
from backend.pairs.vocabulary import PairStage
from ui import widgets
from ui.job_words import command_run_note, progress_bar, status_pill
from ui.judge_names import judge_title
from ui.pairs_words import STAGE_NAMES
from ui.say import Translator
from ui.widgets import empty_notice, esc, html_table, note


def job_is_active(run_job: JobInfo | None) -> bool:
    """Whether a job works on it, or will."""
    return run_job is not None and not run_job.ended


def run_is_stopped(run: PairRunInfo, run_job: JobInfo | None) -> bool:
    """Whether it ended before its pairs stand."""
    return run.stage is not PairStage.DONE and run.playing is None and not job_is_active(run_job)


def run_has_budget(run: PairRunInfo) -> bool:
    """Whether it has a budget."""
    request = run.request
    return any(budget_cap is not None for budget_cap in (request.max_calls, request.max_tokens, request.max_cost))


def _budget_use(translate: Translator, run: PairRunInfo) -> str:
    """What was used of each cap."""
    request = run.request
    used_parts = [
        translate(f"调用 {run.calls:,} / {request.max_calls:,}", f"calls {run.calls:,} / {request.max_calls:,}")
        if request.max_calls is not None
        else "",
        translate(
            f"token {run.tokens:,} / {request.max_tokens:,}",
            f"tokens {run.tokens:,} / {request.max_tokens:,}",
        )
        if request.max_tokens is not None
        else "",
        translate(f"花费 {run.cost:.4f} / {request.max_cost:g}", f"cost {run.cost:.4f} / {request.max_cost:g}")
        if request.max_cost is not None
        else "",
    ]
    used_text = translate("，", ", ").join(used_part for used_part in used_parts if used_part)
    return translate(
        f"已用{used_text}。预算用完的话，先改上限再继续。",
        f"Used: {used_text}. Out of budget? Raise the cap first.",
    )


def runs_html(
    translate: Translator,
    pair_runs: list[PairRunInfo],
    jobs_by_run: dict[int, JobInfo | None],
    progress_by_run: dict[int, float | None],
    chosen_id: Any,
) -> str:
    """Every run in a line."""
    if not pair_runs:
        return empty_notice(
            translate(
                "还没有偏好对。到“新的一批”选请求、写作的模型和裁判，几分钟就有第一批。",
                "No pairs yet. Under “New run” choose requests, models and a judge.",
            )
        )
    header_cells = [
        translate("批次", "Run"),
        translate("状态", "State"),
        translate("进度", "Progress"),
        translate("谁写", "Writers"),
        translate("谁评", "Judge"),
        translate("对数", "Pairs"),
        translate("只看字数", "By length"),
    ]
    table_rows = [
        _run_cells(translate, run, jobs_by_run[run.id], progress_by_run[run.id], run.id == chosen_id)
        for run in pair_runs
    ]
    return html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "zf-text", "zf-text"))


def _run_cells(
    translate: Translator,
    run: PairRunInfo,
    job: JobInfo | None,
    progress_share: float | None,
    is_chosen: bool,
) -> list[str]:
    current_mark = ' aria-current="true"' if is_chosen else ""
    run_link = (
        f'<a class="zf-a" data-run="{run.id}"{current_mark} href="?run={run.id}">{esc(f"{run.id} · {run.name}")}</a>'
    )
    balanced_report = run.report.after if run.report else None
    return [
        run_link,
        _run_state_pill(translate, run, job),
        esc(translate(*STAGE_NAMES[run.stage])) if progress_share is None else progress_bar(progress_share),
        esc(translate("、", ", ").join(run.request.plan.generators)),
        esc(judge_title(translate, run.request.judge.name)),
        f"{balanced_report.pairs:,}" if balanced_report else "–",
        f"{balanced_report.length:.1%}" if balanced_report and balanced_report.length is not None else "–",
    ]


def _run_state_pill(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> str:
    if run.stage is PairStage.DONE:
        return widgets.pill_html("good", "✓", translate(*STAGE_NAMES[run.stage]))
    if run_job is not None and run_job.status is not JobStatus.SUCCEEDED:
        return status_pill(translate, run_job.status)
    if run.playing is not None:
        return status_pill(translate, JobStatus.PAUSING if run.playing.stopping else JobStatus.RUNNING)
    return widgets.pill_html("wait", "‖", translate("停下了", "stopped"))


def run_head_html(translate: Translator, run: PairRunInfo, job: JobInfo | None, progress_share: float | None) -> str:
    """Name and state of one run, how far it is, and what to do about it."""
    progress_html = (
        f'<div class="zf-watch-bar">{progress_bar(progress_share)}<span>{esc(translate(*STAGE_NAMES[run.stage]))}</span></div>'
        if progress_share is not None and (run.playing or job_is_active(job))
        else ""
    )
    heading_html = f'<div class="zf-watch-head"><h3>{esc(run.name)}</h3>{_run_state_pill(translate, run, job)}</div>'
    return f"{heading_html}{progress_html}{_run_state_note(translate, run, job)}"


def _run_state_note(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> str:
    if run.stage is PairStage.DONE:
        return ""
    if run_job is None and run.playing is not None:
        return command_run_note(translate, run.playing)
    if run_job and (problem := run_job.error or run_job.waiting):
        return f'<p class="zf-error">{esc(translate.localize(problem))}</p>'
    if not run_is_stopped(run, run_job):
        return ""
    return note(
        translate(
            "还没做完就停了（暂停、取消、中断，或预算用完）。点“继续”从停下的地方接着做。",
            "It stopped before the end (paused, cancelled, broken off, or out of budget). Press Resume to go on.",
        )
        + (translate("", " ") + _budget_use(translate, run) if run_has_budget(run) else "")
    )
