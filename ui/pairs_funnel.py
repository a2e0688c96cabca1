"""The funnel of a run: what each stage kept, what it lost and why; and how well the surface still tells."""

from collections.abc import Mapping

from backend.pairs.records import Funnel, PairingReport, PairRunInfo
from backend.pairs.vocabulary import PairState
from backend.scoring.records import format_duration
from ui.judge_names import judge_title
from ui.pairs_words import STATE_NAMES, loss_reason
from ui.say import Translator
from ui.widgets import esc, note

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
        facts_html += note(translate.localize(funnel.notice))
    return (
        facts_html + (report_html(translate, run.report) if run.report else "") + _waiting_note(translate, run, funnel)
    )


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
        figures_html += note(translate.localize(report.sparse_notice))
    if report.after.missing_style_notice is not None:
        figures_html += f'<p class="zf-note">{esc(translate.localize(report.after.missing_style_notice))}</p>'
    if report.after.is_balanced:
        return figures_html
    return figures_html + note(
        translate(
            "这批对靠表面就能猜中，用它训练，模型学到的多半是长短和样子。可以多写几条候选，或不限长短，再配平。",
            "The surface still tells these pairs: a model trained on them learns length and looks. Write "
            "more candidates, or let lengths vary, and balance.",
        )
    )


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
