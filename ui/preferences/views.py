"""How runs of pairs look: the list, the head of one, its funnel, and how well the surface tells its pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from backend.core.enums import JobStatus, PairStage, PairState
from backend.jobs.records import JobInfo
from backend.judges.scoring.records import format_duration
from backend.preferences.records import Funnel, PairingReport, PairRunInfo
from ui.components.jobs import command_run_note, progress_bar, status_pill
from ui.components.judges import judge_title
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice, note, pill_html
from ui.preferences.names import STAGE_NAMES, STATE_NAMES, loss_reason

ONE_SIDED = "prompt_one_sided"
# States in which a pair is not used.
UNUSED_STATES = (PairState.CHECKING, PairState.REVIEW, PairState.DISCARDED)
# Of the width of the funnel: a stage that is not empty shows, however few are left.
LEAST_BAR_SHARE = 0.004


@dataclass(frozen=True)
class FunnelStage:
    """A stage of the funnel: its name, how many reached it, and what was lost on the way to the next, by reason."""

    stage_name: str
    stage_count: int
    loss_counts: Mapping[str, int]


def funnel_html(translate: Translator, run: PairRunInfo, funnel: Funnel) -> Markup:
    """Stages from above to below, each with its number, its bar and its losses; facts and the report below."""
    # Bars of all stages share one scale, though prompts become more candidates; at least 1, for a run that
    # has just begun.
    largest_count = max(funnel.prompts, funnel.candidates, funnel.possible, 1)
    stage_lines = [
        (
            stage.stage_name,
            stage.stage_count,
            f"{max(stage.stage_count / largest_count, LEAST_BAR_SHARE if stage.stage_count else 0):.1%}",
            [(loss_reason(translate, reason), loss_count) for reason, loss_count in stage.loss_counts.items()],
        )
        for stage in _funnel_stages(translate, funnel)
    ]
    return render(
        "preferences/templates/funnel.html",
        translate=translate,
        stage_lines=stage_lines,
        run_facts=_run_facts(translate, run, funnel),
        state_counts=[
            (translate(*STATE_NAMES[PairState(state_name)]), pair_count)
            for state_name, pair_count in funnel.states.items()
        ],
        notice=translate.localize(funnel.notice) if funnel.notice is not None else "",
        report=report_html(translate, run.report) if run.report else "",
        waiting_count=funnel.states.get(PairState.CHECKING, 0),
        campaign=run.campaign,
    )


def _funnel_stages(translate: Translator, funnel: Funnel) -> list[FunnelStage]:
    dropped = funnel.dropped
    unused_counts = {f"pair_{state.value}": funnel.states.get(state, 0) for state in UNUSED_STATES}
    return [
        FunnelStage(translate("请求", "Requests"), funnel.prompts, _losses_by_reason(dropped, "prompt_", ONE_SIDED)),
        FunnelStage(translate("候选", "Candidates"), funnel.candidates, _losses_by_reason(dropped, "candidate_")),
        FunnelStage(translate("经过评议", "Debated"), funnel.seen_by_judge, _losses_by_reason(dropped, "verdict_")),
        FunnelStage(translate("可以配对", "Kept"), funnel.kept, _losses_by_reason(dropped, ONE_SIDED)),
        FunnelStage(
            translate("可能的对", "Possible pairs"),
            funnel.possible,
            # People discard pairs that are made already: they are counted at the last stage, not here once
            # more.
            _losses_by_reason(dropped, "pair_", "pair_discarded"),
        ),
        FunnelStage(translate("可用的偏好对", "Pairs in use"), funnel.pairs, _losses_by_reason(unused_counts, "pair_")),
    ]


def _losses_by_reason(drop_counts: Mapping[str, int], prefix: str, excluded_reason: str = "") -> dict[str, int]:
    """The losses of one stage, the most frequent first."""
    matching_losses = {
        reason_name: loss_count
        for reason_name, loss_count in drop_counts.items()
        if loss_count and reason_name.startswith(prefix) and reason_name != excluded_reason
    }
    return dict(sorted(matching_losses.items(), key=lambda reason_count: -reason_count[1]))


def _run_facts(translate: Translator, run: PairRunInfo, funnel: Funnel) -> list[str]:
    judge_label = f"{judge_title(translate, run.request.judge.name)} {(run.judge_version or '')[:8]}"
    run_facts = [
        f"{translate('裁判', 'judge')} {judge_label}",
        f"{translate('调用', 'calls')} {run.calls:,}",
        f"{translate('花费', 'cost')} {run.cost:.4f}",
        f"{translate('用时', 'time')} {format_duration(run.seconds)}",
    ]
    if funnel.exact_chars:
        run_facts.append(
            translate(f"指定字数的请求 {funnel.exact_chars:,}", f"{funnel.exact_chars:,} ask for exact characters")
        )
    return run_facts


def report_html(translate: Translator, report: PairingReport) -> Markup:
    """How well length and style alone tell chosen from rejected, before and after balancing."""
    before, after = report.before, report.after
    missing_text = translate("没测", "not measured") if after.pairs else translate("没有对", "no pairs")
    told_shares = [
        (
            translate("只看字数能猜中", "told by length alone"),
            _percent_text(before.length),
            _percent_text(after.length),
            missing_text if after.length is None else translate("应在 45–55%", "should be 45–55%"),
        ),
        (
            translate("只看表面特征能猜中", "told by style alone"),
            _percent_text(before.style),
            _percent_text(after.style),
            missing_text if after.style is None else translate("应不超过 60%", "should be at most 60%"),
        ),
    ]
    style_notice = after.missing_style_notice
    return render(
        "preferences/templates/balance.html",
        translate=translate,
        report=report,
        told_shares=told_shares,
        sparse_notice=translate.localize(report.sparse_notice) if report.sparse_notice is not None else "",
        style_notice=translate.localize(style_notice) if style_notice is not None else "",
    )


def _percent_text(share_value: float | None) -> str:
    return "–" if share_value is None else f"{share_value:.1%}"


def job_is_active(run_job: JobInfo | None) -> bool:
    """Whether a job works on it, or will."""
    return run_job is not None and not run_job.ended


def run_is_stopped(run: PairRunInfo, run_job: JobInfo | None) -> bool:
    """Whether it ended before its pairs stand."""
    return run.stage is not PairStage.DONE and not job_is_active(run_job)


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
    pair_runs: Sequence[PairRunInfo],
    jobs_by_run: Mapping[int, JobInfo | None],
    progress_by_run: Mapping[int, float | None],
    chosen_id: Any,
) -> Markup:
    """Every run in a line."""
    if not pair_runs:
        return empty_notice(
            translate(
                "还没有偏好对。到“新的一批”选请求、写作的模型和裁判，几分钟就有第一批。",
                "No pairs yet. Under “New run” choose requests, models and a judge.",
            )
        )
    run_lines = [
        _run_line(translate, run, jobs_by_run[run.id], progress_by_run[run.id], run.id == chosen_id)
        for run in pair_runs
    ]
    return render("preferences/templates/runs.html", translate=translate, run_lines=run_lines)


def _run_line(
    translate: Translator, run: PairRunInfo, job: JobInfo | None, progress_share: float | None, is_chosen: bool
) -> dict[str, Any]:
    """What the template shows of one run."""
    stage_name = translate(*STAGE_NAMES[run.stage])
    return {
        "run": run,
        "is_chosen": is_chosen,
        "state": _run_state_pill(translate, run, job),
        "progress": stage_name if progress_share is None else progress_bar(progress_share),
        "generators": translate("、", ", ").join(run.request.plan.generators),
        "judge": judge_title(translate, run.request.judge.name),
        "length_share": _percent_text(run.report.after.length if run.report else None),
    }


def _run_state_pill(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> Markup:
    if run.stage is PairStage.DONE:
        return pill_html("good", "✓", translate(*STAGE_NAMES[run.stage]))
    # “Done” beside a run that is not would mislead: what ended well was the job alone.
    if run_job is not None and run_job.status is not JobStatus.SUCCEEDED:
        return status_pill(translate, run_job.status)
    return pill_html("wait", "‖", translate("停下了", "stopped"))


def run_head_html(translate: Translator, run: PairRunInfo, job: JobInfo | None, progress_share: float | None) -> Markup:
    """Name and state of one run, how far it is, and what to do about it."""
    return render(
        "preferences/templates/run_head.html",
        run=run,
        state=_run_state_pill(translate, run, job),
        progress=progress_bar(progress_share) if progress_share is not None and job_is_active(job) else "",
        stage_name=translate(*STAGE_NAMES[run.stage]),
        problem=_run_problem(translate, run, job),
        state_note=_run_state_note(translate, run, job),
    )


def _run_problem(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> str:
    """Why the job of an unfinished run failed or waits; empty where a command plays it, which says so itself."""
    if run.stage is PairStage.DONE or run_job is None or _is_played_by_command(run, run_job):
        return ""
    problem = run_job.error or run_job.waiting
    return translate.localize(problem) if problem else ""


def _is_played_by_command(run: PairRunInfo, run_job: JobInfo | None) -> bool:
    return run.playing is not None and run_job is not None and run_job.in_foreground


def _run_state_note(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> Markup:
    if run.stage is PairStage.DONE:
        return Markup()
    if run.playing is not None and _is_played_by_command(run, run_job):
        return command_run_note(translate, run.playing)
    if not run_is_stopped(run, run_job) or _run_problem(translate, run, run_job):
        return Markup()
    return note(
        translate(
            "还没做完就停了（暂停、取消、中断，或预算用完）。点“继续”从停下的地方接着做。",
            "It stopped before the end (paused, cancelled, broken off, or out of budget). Press Resume to go on.",
        )
        + (translate("", " ") + _budget_use(translate, run) if run_has_budget(run) else "")
    )
