"""Figures of a run: how it stands, gate scores with intervals, fooling by kind of flaw, the locked report."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.agreement.statistics.figures import Figure
from backend.core.enums import Agent, GamePhase, JobStatus, Role, RunState
from backend.core.errors import Message
from backend.generation.generators import is_policy_name
from backend.jobs.records import JobInfo
from backend.principles.comparing import ReportRow
from backend.principles.records import RunInfo, VersionInfo
from backend.principles.rulings import FoolingCount
from ui.components.board import figure_with_interval
from ui.components.jobs import command_run_note, status_pill
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import caption_html, html_table, note
from ui.principles.names import (
    OWN_MODEL_NOTE,
    PHASE_NAMES,
    REPORT_ROW_NAMES,
    SPLIT_NAMES,
    decision_reason,
    flaw_name,
    state_pill,
)

REPORT_METRICS = ("accuracy", "kappa", "auc", "matched_auc")
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 34
TICK_STEPS = 4
# Of the axis: narrower, the noise of one label would fill the whole height; beyond the bounds, so that no dot is cut.
LEAST_AXIS_SPAN, AXIS_MARGIN = 0.05, 0.03


def run_status_html(translate: Translator, run_info: RunInfo, run_job: JobInfo | None) -> Markup:
    """Head of the watched run: state, position, what is wrong, and what it has used."""
    # A queued run whose job has ended was never begun: nobody will.
    is_broken_off = run_info.broken_off or (run_info.state is RunState.QUEUED and run_job is not None and run_job.ended)
    writer_endpoint = run_info.endpoints[Agent.GENERATOR]
    return render(
        "principles/templates/run_head.html",
        translate=translate,
        run=run_info,
        state=(
            status_pill(translate, run_job.status)
            if is_broken_off and run_job and run_job.ended
            else state_pill(translate, run_info)
        ),
        position=_position_text(translate, run_info),
        progress=f"{run_job.progress:.4f}" if run_job and not run_job.ended else "",
        trouble=_trouble_note(translate, run_info, run_job, is_broken_off=is_broken_off),
        label_counts=" · ".join(
            f"{translate(*SPLIT_NAMES[split])} {run_info.labels[split]['good']} + {run_info.labels[split]['bad']}"
            for split in SPLIT_NAMES
        ),
        # A model trained here writes as always and plants nothing, which changes what the counts of fooling
        # mean.
        own_model=writer_endpoint["model"] if is_policy_name(writer_endpoint["name"]) else "",
        own_model_note=translate(*OWN_MODEL_NOTE),
    )


def _position_text(translate: Translator, run_info: RunInfo) -> str:
    """The round and phase of a run that is played."""
    round_number, _, phase_name = (run_info.phase or "").partition(".")
    if run_info.playing is None or not phase_name:
        return ""
    phase_title = translate(*PHASE_NAMES[GamePhase(phase_name)])
    # Round 0 holds what comes before and after the rounds: measuring the start, the plain rewriting, the
    # locked set.
    if round_number == "0":
        return phase_title
    return translate(f"第 {round_number} 轮 · {phase_title}", f"round {round_number} · {phase_title}")


def _trouble_note(translate: Translator, run_info: RunInfo, run_job: JobInfo | None, *, is_broken_off: bool) -> Markup:
    """What is wrong with a run, or who plays it; empty where it goes its way."""
    if run_info.playing is not None and run_job is not None and run_job.in_foreground:
        return command_run_note(translate, run_info.playing)
    # Paused and cancelled are what somebody wanted, and no trouble.
    if is_broken_off and not (run_job is not None and run_job.status in (JobStatus.PAUSED, JobStatus.CANCELLED)):
        error_text = translate.localize(run_job.error) if run_job is not None and run_job.error else ""
        gone_text = translate("进行它的进程已经不在；", "Its process is gone; ") if not error_text else ""
        resume_hint = translate("已完成的阶段都在，可以继续。", "finished phases are kept, resume it.")
        return note(f"{error_text} {gone_text}{resume_hint}", "bad")
    if run_info.state is RunState.BUDGET:
        return note(
            translate(
                "预算用完了，停在这一轮中间；填一个更高的上限，点“继续”。",
                "The budget ended in mid-round; enter a higher cap and resume.",
            ),
        )
    return note(translate.localize(run_info.error), "bad") if run_info.error else Markup()


def gate_curve(translate: Translator, versions: Sequence[VersionInfo]) -> Markup:
    """Gate score of every S_D that came to the gate, with its 95 % interval."""
    gated_versions = [version for version in versions if version.role is Role.DETECTOR and version.score is not None]
    if not gated_versions:
        return Markup()
    axis_bottom, axis_span = _score_axis(gated_versions)

    def height(score_value: float) -> float:
        return (HEIGHT - BOTTOM) * (1 - (score_value - axis_bottom) / axis_span) + 8

    # At least two: one version alone would stand at the far right end.
    x_step = (WIDTH - LEFT - 30) / max(len(gated_versions), 2)
    tick_scores = [axis_bottom + axis_span * tick_index / TICK_STEPS for tick_index in range(TICK_STEPS + 1)]
    return render(
        "principles/templates/gate_curve.html",
        translate=translate,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        ticks=[(f"{height(tick):.1f}", f"{height(tick) + 4:.1f}", f"{tick:.2f}") for tick in tick_scores],
        dots=[
            _curve_dot(translate, version, f"{LEFT + 24 + x_step * version_index:.1f}", height)
            for version_index, version in enumerate(gated_versions)
        ],
    )


def _score_axis(gated_versions: Sequence[VersionInfo]) -> tuple[float, float]:
    """The lowest score of the axis and its length, so that every interval is on it."""
    lowest_bound = min((version.low if version.low is not None else version.score or 0) for version in gated_versions)
    highest_bound = max(
        (version.high if version.high is not None else version.score or 0) for version in gated_versions
    )
    axis_bottom, axis_top = max(0.0, lowest_bound - AXIS_MARGIN), min(1.0, highest_bound + AXIS_MARGIN)
    return axis_bottom, max(axis_top - axis_bottom, LEAST_AXIS_SPAN)


def _curve_dot(translate: Translator, version: VersionInfo, x: str, height: Any) -> dict[str, Any]:
    """Where the template draws one version."""
    has_interval = version.low is not None and version.high is not None
    return {
        "css_kind": "in" if version.accepted else "out",
        "label": f"v{version.id} {version.score:.3f} {decision_reason(translate, version)}",
        "x": x,
        "y": f"{height(version.score):.1f}",
        "interval": (f"{height(version.low):.1f}", f"{height(version.high):.1f}") if has_interval else None,
        "version": version.id,
    }


def fooling_table(translate: Translator, fooling_counts: Sequence[FoolingCount]) -> Markup:
    """By kind of flaw: how many planted ones slipped through, and how many of those are really there."""
    if not fooling_counts:
        return Markup()
    named_counts = [(flaw_name(translate, count.flaw), count) for count in fooling_counts]
    return render("principles/templates/fooling.html", translate=translate, named_counts=named_counts)


def locked_table(translate: Translator, report_rows: Sequence[ReportRow], label_uses: Message) -> Markup:
    """The locked report: where it began, a plain rewriting, what was found, the baselines, and who looked
    at these labels before."""
    return render(
        "principles/templates/locked_report.html",
        translate=translate,
        report_lines=[_report_line(translate, report_row) for report_row in report_rows],
        label_uses=translate.localize(label_uses),
    )


def _report_line(translate: Translator, report_row: ReportRow) -> dict[str, Any]:
    """What the template shows of one judge on the locked set."""
    # A figure that a report lacks is “–” and no 0.
    figures, label_count = report_row.figures, report_row.figures.get("n")
    return {
        "row": report_row,
        "judge": translate(*REPORT_ROW_NAMES[report_row.name])
        if report_row.name in REPORT_ROW_NAMES
        else report_row.name,
        "label_count": figures.get("n", "–"),
        "unscored": figures.get("unscored", "–"),
        "figures": [_figure_text(translate, figures.get(metric), label_count) for metric in REPORT_METRICS],
        "cost": "–" if report_row.cost is None else f"{report_row.cost:.4f}",
    }


def comparison_html(translate: Translator, comparison: Mapping[str, Any] | None) -> Markup:
    """Two S_D on the same labels."""
    if comparison is None:
        return note(translate("正在评判，稍等…", "They are reading the labels…"))
    header_cells = [
        "S_D",
        "n",
        translate("未评", "unscored"),
        translate("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        translate("等长 AUC", "matched AUC"),
    ]
    table_rows = [
        [
            compared_row["name"],
            str(compared_row["n"]),
            str(compared_row["unscored"]),
            *(_figure_text(translate, compared_row[metric], compared_row["n"]) for metric in REPORT_METRICS),
        ]
        for compared_row in comparison["rows"]
    ]
    change = comparison["change"]
    change_text = translate(
        f"后者改对 {change['fixed']} 条、改错 {change['broken']} 条，p = {change['p']:.3g}",
        f"The second mends {change['fixed']} and breaks {change['broken']}, p = {change['p']:.3g}",
    )
    return html_table(header_cells, table_rows) + caption_html(change_text)


def _figure_text(translate: Translator, figure_data: Mapping[str, Any] | None, label_count: int | None) -> str:
    if not figure_data:
        return "–"
    # Stored as JSON: the sentence in both languages, English first.
    reason = Message(*figure_data["why"]) if figure_data.get("why") else None
    return figure_with_interval(
        translate,
        Figure(figure_data["value"], figure_data["low"], figure_data["high"], reason, figure_data.get("n")),
        label_count,
    )
