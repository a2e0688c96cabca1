"""How runs of pairs look: names of stages and losses, the list, the head of one, and its funnel."""

from collections.abc import Mapping
from typing import Any

from backend.core.enums import Decider, JobStatus, PairStage, PairState
from backend.jobs.records import JobInfo
from backend.judges.scoring.records import format_duration
from backend.preferences.pairing import PairingMode
from backend.preferences.records import Funnel, PairingReport, PairRunInfo
from ui.components import widgets
from ui.components.jobs import command_run_note, progress_bar, status_pill
from ui.components.judges import judge_title
from ui.components.language import Translator
from ui.components.widgets import empty_notice, esc, note, pill_html, ready_html_table

BilingualText = tuple[str, str]

STAGE_NAMES: dict[PairStage, BilingualText] = {
    PairStage.FILTERING: ("筛请求", "filtering"),
    PairStage.WRITING: ("写候选", "writing"),
    PairStage.JUDGING: ("评议", "debating"),
    PairStage.PAIRING: ("配对", "pairing"),
    PairStage.DONE: ("完成", "done"),
}
STATE_NAMES: dict[PairState, BilingualText] = {
    PairState.PROPOSED: ("裁判定的", "by the judge"),
    PairState.CHECKING: ("等人复核", "with people"),
    PairState.REVIEW: ("待你决定", "for review"),
    PairState.ACCEPTED: ("已认可", "accepted"),
    PairState.FLIPPED: ("已对调", "flipped"),
    PairState.DISCARDED: ("已丢弃", "discarded"),
}
_STATE_PILLS = {
    PairState.PROPOSED: ("off", "○"),
    PairState.CHECKING: ("wait", "◷"),
    PairState.REVIEW: ("bad", "!"),
    PairState.ACCEPTED: ("good", "✓"),
    PairState.FLIPPED: ("run", "⇄"),
    PairState.DISCARDED: ("off", "✕"),
}
DECIDER_NAMES: dict[Decider, BilingualText] = {
    Decider.PANEL: ("裁判", "the judge"),
    Decider.PEOPLE: ("多人复核", "people"),
    Decider.PERSON: ("审阅者", "a reviewer"),
}
PAIRING_WAYS: dict[PairingMode, BilingualText] = {
    PairingMode.ALL: ("所有组合", "every combination"),
    PairingMode.BEST_WORST: ("最好配最差", "best with worst"),
    PairingMode.HARDEST: ("最难分的一对", "the hardest pair"),
}
REQUESTED_LENGTHS: dict[str, BilingualText] = {
    "free": ("长短不限", "any length"),
    "short": ("要求短", "asked short"),
    "long": ("要求长", "asked long"),
}
LOSS_REASONS: dict[str, BilingualText] = {
    "prompt_duplicate": ("重复的请求", "repeated request"),
    "prompt_near_duplicate": ("几乎一样的请求", "nearly the same request"),
    "prompt_several": ("一次要好几条", "asks for several"),
    "prompt_not_a_greeting": ("不是要祝福", "no greeting"),
    "prompt_unsafe": ("伤人的请求", "unsafe"),
    "prompt_injection": ("给程序下指令", "orders to the program"),
    "prompt_other_language": ("要外文的", "another language"),
    "prompt_no_words": ("没有文字", "no words"),
    "prompt_too_long": ("请求太长", "too long"),
    "prompt_empty": ("空请求", "empty"),
    "prompt_unreadable": ("读不出的行", "unreadable line"),
    "prompt_one_sided": ("全好或全差的请求", "requests all good or all bad"),
    "candidate_empty": ("没写出来", "nothing written"),
    "candidate_garbage": ("乱码", "garbage"),
    "candidate_refused": ("拒绝作答", "refused"),
    "candidate_wrong_language": ("不是中文", "not Chinese"),
    "candidate_repeats_prompt": ("只重复请求", "repeats the request"),
    "candidate_several": ("写了好几条", "several in one"),
    "candidate_placeholder": ("留了空", "blanks left"),
    "candidate_repetitive": ("车轱辘话", "repeats itself"),
    "candidate_too_long": ("太长", "too long"),
    "candidate_wrong_length": ("字数不对", "wrong length"),
    "candidate_cut": ("没写完", "cut off"),
    "candidate_invented_name": ("编了名字", "invented a name"),
    "candidate_wrong_number": ("岁数不对", "wrong age or anniversary"),
    "candidate_near_duplicate": ("和另一条几乎一样", "near-duplicate"),
    "candidate_unanswered": ("模型没有答复", "no answer"),
    "verdict_unscored": ("裁判没给结论", "no verdict"),
    "pair_second": ("第二次评判不认", "not confirmed by the second opinion"),
    "pair_length": ("靠字数就能猜中", "told by length"),
    "pair_style": ("靠表面特征就能猜中", "told by style"),
    "pair_checking": ("等人复核", "with people"),
    "pair_review": ("待审阅者决定", "for review"),
    "pair_discarded": ("被丢弃", "discarded"),
}


def loss_reason(translate: Translator, reason_name: str) -> str:
    """Why something was lost; a reason without a name in the table is shown as it is."""
    return translate(*LOSS_REASONS[reason_name]) if reason_name in LOSS_REASONS else reason_name.partition("_")[2]


def state_pill(translate: Translator, pair_state: PairState) -> str:
    """A pair's state as sign, word and colour."""
    return pill_html(*_STATE_PILLS[pair_state], translate(*STATE_NAMES[pair_state]))


ONE_SIDED = "prompt_one_sided"
UNUSED_STATES = (PairState.CHECKING, PairState.REVIEW, PairState.DISCARDED)
"""States in which a pair is not used."""


def funnel_html(translate: Translator, run: PairRunInfo, funnel: Funnel) -> str:
    """Stages from above to below, each with its number, its bar and its losses."""
    largest_count = max(funnel.prompts, funnel.candidates, funnel.possible, 1)
    drop_counts = funnel.dropped
    unused_counts = {f"pair_{entry_name}": funnel.states.get(entry_name, 0) for entry_name in UNUSED_STATES}
    stage_rows = (
        (translate("请求", "Requests"), funnel.prompts, _losses_by_reason(drop_counts, "prompt_", ONE_SIDED)),
        (translate("候选", "Candidates"), funnel.candidates, _losses_by_reason(drop_counts, "candidate_")),
        (translate("经过评议", "Debated"), funnel.seen_by_judge, _losses_by_reason(drop_counts, "verdict_")),
        (translate("可以配对", "Kept"), funnel.kept, _losses_by_reason(drop_counts, ONE_SIDED)),
        (
            translate("可能的对", "Possible pairs"),
            funnel.possible,
            _losses_by_reason(drop_counts, "pair_", "pair_discarded"),
        ),
        (translate("可用的偏好对", "Pairs in use"), funnel.pairs, _losses_by_reason(unused_counts, "pair_")),
    )
    stage_items = "".join(
        _stage_html(translate, entry_name, stage_count, largest_count, stage_losses)
        for entry_name, stage_count, stage_losses in stage_rows
    )
    return f'<ol class="zf-funnel">{stage_items}</ol>{_facts_html(translate, run, funnel)}'


def _losses_by_reason(drop_counts: Mapping[str, int], prefix: str, excluded_reason: str = "") -> dict[str, int]:
    matching_losses = {
        reason_name: loss_count
        for reason_name, loss_count in drop_counts.items()
        if loss_count and reason_name.startswith(prefix) and reason_name != excluded_reason
    }
    return dict(sorted(matching_losses.items(), key=lambda reason_count: -reason_count[1]))


def _stage_html(
    translate: Translator,
    stage_name: str,
    stage_count: int,
    largest_count: int,
    stage_losses: Mapping[str, int],
) -> str:
    loss_chips = "".join(
        f"<li>{esc(loss_reason(translate, reason_name))} <b>−{loss_count:,}</b></li>"
        for reason_name, loss_count in stage_losses.items()
    )
    bar_width = max(stage_count / largest_count, 0.004 if stage_count else 0)
    return (
        f"<li><span>{esc(stage_name)}</span><b>{stage_count:,}</b>"
        f'<i aria-hidden="true"><u style="width:{bar_width:.1%}"></u></i>'
        f"{f'<ul>{loss_chips}</ul>' if loss_chips else ''}</li>"
    )


def _facts_html(translate: Translator, run: PairRunInfo, funnel: Funnel) -> str:
    state_summary = " · ".join(
        f"{esc(translate(*STATE_NAMES[PairState(state_name)]))} {pair_count:,}"
        for state_name, pair_count in funnel.states.items()
    )
    judge_label = f"{judge_title(translate, run.request.judge.name)} {(run.judge_version or '')[:8]}"
    fact_texts = [
        f"{translate('裁判', 'judge')} {esc(judge_label)}",
        f"{translate('调用', 'calls')} {run.calls:,}",
        f"{translate('花费', 'cost')} {run.cost:.4f}",
        f"{translate('用时', 'time')} {format_duration(run.seconds)}",
    ]
    if funnel.exact_chars:
        fact_texts.append(
            translate(f"指定字数的请求 {funnel.exact_chars:,}", f"{funnel.exact_chars:,} ask for exact characters")
        )
    facts_html = f'<p class="zf-note">{" · ".join(fact_texts)}</p>'
    if state_summary:
        facts_html += f'<p class="zf-note">{state_summary}</p>'
    if funnel.notice is not None:
        facts_html += str(note(translate.localize(funnel.notice)))
    report_part = report_html(translate, run.report) if run.report else ""
    return f"{facts_html}{report_part}{_waiting_note(translate, run, funnel)}"


def report_html(translate: Translator, report: PairingReport) -> str:
    """How well length and style alone tell chosen from rejected, before and after balancing."""

    def figure_cell(cell_label: str, share_before: float | None, share_after: float | None, target_text: str) -> str:
        missing = translate("没有对", "no pairs") if not report.after.pairs else translate("没测", "not measured")
        return (
            f"<div><b>{_percent_text(share_after)}</b><span>{esc(cell_label)}<small>"
            f"{translate('配平前', 'before')} {_percent_text(share_before)} · {esc(missing if share_after is None else target_text)}"
            "</small></span></div>"
        )

    figure_cells = [
        figure_cell(
            translate("只看字数能猜中", "told by length alone"),
            report.before.length,
            report.after.length,
            translate("应在 45–55%", "should be 45–55%"),
        ),
        figure_cell(
            translate("只看表面特征能猜中", "told by style alone"),
            report.before.style,
            report.after.style,
            translate("应不超过 60%", "should be at most 60%"),
        ),
        f"<div><b>{report.after.pairs:,}</b><span>{translate('配平后留下', 'left after balancing')}<small>"
        f"{translate('为字数舍去', 'lost to length')} {report.lost_to_length:,} · "
        f"{translate('为特征舍去', 'to style')} {report.lost_to_style:,}{_second_opinion_loss(translate, report)}"
        "</small></span></div>",
    ]
    figures_html = f'<div class="zf-figures zf-tight">{"".join(figure_cells)}</div>'
    if report.sparse_notice is not None:
        figures_html += str(note(translate.localize(report.sparse_notice)))
    if report.after.missing_style_notice is not None:
        figures_html += f'<p class="zf-note">{esc(translate.localize(report.after.missing_style_notice))}</p>'
    if report.after.is_balanced:
        return figures_html
    surface_note = note(
        translate(
            "这批对靠表面就能猜中，用它训练，模型学到的多半是长短和样子。可以多写几条候选，或不限长短，再配平。",
            "The surface still tells these pairs: a model trained on them learns length and looks. Write "
            "more candidates, or let lengths vary, and balance.",
        )
    )
    return f"{figures_html}{surface_note}"


def _second_opinion_loss(translate: Translator, report: PairingReport) -> str:
    if not report.lost_to_second:
        return ""
    return f" · {translate('再评不认', 'to the second opinion')} {report.lost_to_second:,}"


def _waiting_note(translate: Translator, run: PairRunInfo, funnel: Funnel) -> str:
    waiting_count = funnel.states.get(PairState.CHECKING, 0)
    if not waiting_count or run.campaign is None:
        return ""
    return note(
        translate(
            f"{waiting_count:,} 对在标注任务“{run.campaign}”里等人复核，复核前不会用于训练和导出。",
            f"{waiting_count:,} pairs wait for people in the campaign “{run.campaign}”; until then nobody uses them.",
        )
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
    return ready_html_table(header_cells, table_rows, ("", "zf-left", "zf-left", "zf-text", "zf-text"))


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
    return widgets.pill_html("wait", "‖", translate("停下了", "stopped"))


def run_head_html(translate: Translator, run: PairRunInfo, job: JobInfo | None, progress_share: float | None) -> str:
    """Name and state of one run, how far it is, and what to do about it."""
    progress_html = (
        f'<div class="zf-watch-bar">{progress_bar(progress_share)}<span>{esc(translate(*STAGE_NAMES[run.stage]))}</span></div>'
        if progress_share is not None and job_is_active(job)
        else ""
    )
    heading_html = f'<div class="zf-watch-head"><h3>{esc(run.name)}</h3>{_run_state_pill(translate, run, job)}</div>'
    return f"{heading_html}{progress_html}{_run_state_note(translate, run, job)}"


def _run_state_note(translate: Translator, run: PairRunInfo, run_job: JobInfo | None) -> str:
    if run.stage is PairStage.DONE:
        return ""
    if run.playing is not None and run_job is not None and run_job.in_foreground:
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
