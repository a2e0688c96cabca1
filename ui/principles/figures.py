"""Figures of a run: how it stands, gate scores with intervals, fooling by kind of flaw, the locked report."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from backend.agreement.statistics.figures import Figure
from backend.core.enums import Agent, GamePhase, JobStatus, Role, RunState
from backend.core.errors import Message
from backend.generation.generators import is_policy_name
from backend.jobs.records import JobInfo
from backend.principles.comparing import ReportRow
from backend.principles.records import RunInfo, StepInfo, VersionInfo
from ui.components.board import figure_with_interval
from ui.components.jobs import command_run_note, status_pill
from ui.components.language import FLAW_NAMES, Translator
from ui.components.widgets import empty_notice, esc, note, ready_html_table
from ui.principles.names import (
    OWN_MODEL_NOTE,
    PHASE_NAMES,
    SPLIT_NAMES,
    decision_reason,
    flaw_name,
    outcome_pill,
    state_pill,
)

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 34


def run_status_html(translate: Translator, run_info: RunInfo, run_job: JobInfo | None) -> str:
    """Head of the watched run."""
    is_broken_off = run_info.broken_off or (run_info.state is RunState.QUEUED and run_job is not None and run_job.ended)
    state_mark = (
        status_pill(translate, run_job.status)
        if is_broken_off and run_job and run_job.ended
        else state_pill(translate, run_info)
    )
    round_number, _, phase_name = run_info.told.partition(".")
    position_text = ""
    if run_info.playing is not None and phase_name:
        fact_name = translate(*PHASE_NAMES[GamePhase(phase_name)])
        position_text = (
            translate(f"第 {round_number} 轮 · {fact_name}", f"round {round_number} · {fact_name}")
            if round_number != "0"
            else fact_name
        )
    progress_bar = (
        f'<progress max="1" value="{run_job.progress:.4f}"></progress>' if run_job and not run_job.ended else ""
    )
    run_facts = [
        (translate("轮", "rounds"), f"{run_info.rounds} / {run_info.settings.rounds}"),
        (translate("采纳", "accepted"), str(run_info.accepted)),
        (translate("未采纳", "rejected"), str(run_info.rejected)),
        (translate("调用", "calls"), f"{run_info.calls:,}"),
        ("token", f"{run_info.tokens:,}"),
        (translate("花费", "cost"), f"{run_info.cost:.4f}"),
    ]
    fact_cells = "".join(
        f"<div><b>{esc(fact_value)}</b><span>{esc(fact_name)}</span></div>" for fact_name, fact_value in run_facts
    )
    label_counts = " · ".join(
        f"{translate(*SPLIT_NAMES[split])} {run_info.labels[split]['good']} + {run_info.labels[split]['bad']}"
        for split in SPLIT_NAMES
    )
    split_hint = translate("（好 + 坏，按请求分开）", " (good + bad, dealt by request)")
    writer_endpoint = run_info.endpoints[Agent.GENERATOR]
    own_model_note = f'<p class="zf-note"><b>{esc(writer_endpoint["model"])}</b> {translate(*OWN_MODEL_NOTE)}</p>'
    return (
        f'<div class="zf-watch-head"><h3>{run_info.id} · {esc(run_info.dataset)}</h3>{state_mark}<span>{esc(position_text)}</span>'
        f"{progress_bar}</div>{_trouble_html(translate, run_info, run_job, is_broken_off)}"
        f'<div class="zf-figures zf-tight">{fact_cells}</div><p class="zf-note">{label_counts}{split_hint}</p>'
        f"{own_model_note if is_policy_name(writer_endpoint['name']) else ''}"
    )


def _trouble_html(translate: Translator, run_info: RunInfo, run_job: JobInfo | None, is_broken_off: bool) -> str:
    if run_info.playing is not None and (run_job is None or run_job.ended):
        return command_run_note(translate, run_info.playing)
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
    return note(translate.localize(run_info.error), "bad") if run_info.error else ""


def current_rules_html(translate: Translator, versions: Sequence[VersionInfo]) -> str:
    """The present S_D and S_G of a run."""
    rule_cards = []
    for principle_role in Role:
        role_versions = [version for version in versions if version.role is principle_role and version.accepted]
        if role_versions:
            rule_cards.append(rules_card(translate, role_versions[-1]))
    return f'<div class="zf-cards">{"".join(rule_cards)}</div>'


def rules_card(translate: Translator, version: VersionInfo) -> str:
    """A version with its rules and what each was learnt from."""
    rule_items = "".join(
        f"<li>{esc(rule.text)}{_evidence_html(translate, rule.evidence)}</li>" for rule in version.rules.rules
    )
    gate_figure = Figure(version.score, version.low, version.high)
    score_html = f"{translate('把关', 'gate')} {_interval_text(gate_figure)}" if version.score is not None else ""
    current_mark = f" · {translate('当前', 'current')}" if version.current else ""
    cost_text = ""
    if version.calls:
        spent_amounts = f"{version.calls:,}", f"{version.cost:.4f}"
        cost_text = translate(
            f" · {spent_amounts[0]} 次调用、花费 {spent_amounts[1]}",
            f" · {spent_amounts[0]} calls, cost {spent_amounts[1]}",
        )
    signature_html = f" · {esc(version.author)}：{esc(version.note)}" if version.author else ""
    return (
        f'<div class="zf-card"><h3>{version.role} v{version.id}</h3><p class="zf-note">{outcome_pill(translate, version)} '
        f"{score_html}{current_mark}{cost_text}{signature_html}</p><ol>{rule_items}</ol><small>{esc(decision_reason(translate, version))}</small></div>"
    )


def gate_curve(translate: Translator, versions: Sequence[VersionInfo]) -> str:
    """Gate score of every S_D that came to the gate, with its 95 % interval."""
    gated_versions = [version for version in versions if version.role is Role.DETECTOR and version.score is not None]
    if not gated_versions:
        return ""
    lowest_bound = min((version.low if version.low is not None else version.score or 0) for version in gated_versions)
    highest_bound = max(
        (version.high if version.high is not None else version.score or 0) for version in gated_versions
    )
    axis_bottom, axis_top = max(0.0, lowest_bound - 0.03), min(1.0, highest_bound + 0.03)
    axis_span = max(axis_top - axis_bottom, 0.05)

    def height(score_value: float) -> float:
        return (HEIGHT - BOTTOM) * (1 - (score_value - axis_bottom) / axis_span) + 8

    x_step = (WIDTH - LEFT - 30) / max(len(gated_versions), 2)
    axis_ticks = [axis_bottom + axis_span * tick_index / 4 for tick_index in range(5)]
    grid = "".join(
        f'<line class="zf-grid" x1="{LEFT}" x2="{WIDTH}" y1="{height(tick):.1f}" y2="{height(tick):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{height(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        for tick in axis_ticks
    )
    version_dots = "".join(
        _dot_svg(translate, version, LEFT + 24 + x_step * version_index, height)
        for version_index, version in enumerate(gated_versions)
    )
    title = translate("每个 S_D 在把关集上的准确率（95% 区间）", "Accuracy of each S_D on the gate set (95 % interval)")
    legend_text = translate("实心：采纳；空心：未采纳", "filled: accepted; hollow: rejected")
    return (
        f'<h3 class="zf-h">{title}</h3><div class="zf-scroll"><svg class="zf-curve" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT + 14}" aria-label="{esc(title)}">{grid}{version_dots}</svg></div>'
        f'<p class="zf-note">{legend_text}</p>'
    )


def _dot_svg(translate: Translator, version: VersionInfo, x: float, height: Any) -> str:
    css_kind = "in" if version.accepted else "out"
    interval_bar = ""
    if version.low is not None and version.high is not None:
        interval_bar = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{height(version.low):.1f}" y2="{height(version.high):.1f}"/>'
        )
    dot_label = esc(f"v{version.id} {version.score:.3f} {decision_reason(translate, version)}")
    return (
        f'<g class="zf-dot-{css_kind}"><title>{dot_label}</title>{interval_bar}'
        f'<circle cx="{x:.1f}" cy="{height(version.score):.1f}" r="5"/>'
        f'<text x="{x:.1f}" y="{HEIGHT}" text-anchor="middle">v{version.id}</text></g>'
    )


def fooling_table(translate: Translator, steps: Sequence[StepInfo]) -> str:
    """By kind of flaw: how many planted ones slipped through, and how many of those are really there."""
    judged: Counter[str] = Counter()
    fooled: Counter[str] = Counter()
    confirmed_counts: Counter[str] = Counter()
    claims_by_round = {
        game_step.round: game_step.data["claims"] for game_step in steps if game_step.phase == GamePhase.CONFIRM
    }
    for game_step in steps:
        if game_step.phase != GamePhase.ADVERSARY:
            continue
        for case_index, planted_case in enumerate(game_step.data["cases"]):
            if planted_case["value"] is None:
                continue
            judged[planted_case["flaw"]] += 1
            fooled[planted_case["flaw"]] += planted_case["value"] == 1
            case_claim = claims_by_round.get(game_step.round, {}).get(str(case_index))
            confirmed_counts[planted_case["flaw"]] += bool(case_claim and case_claim[0])
    if not judged:
        return ""
    table_rows = [
        [
            esc(flaw_name(translate, flaw_kind)),
            f'<span class="zf-rate"><i style="width:{fooled[flaw_kind] / judged[flaw_kind]:.0%}"></i></span>',
            f"{fooled[flaw_kind] / judged[flaw_kind]:.0%}",
            f"{fooled[flaw_kind]} / {judged[flaw_kind]}",
            str(confirmed_counts[flaw_kind]),
        ]
        for flaw_kind in FLAW_NAMES
        if judged[flaw_kind]
    ]
    header_cells = [
        translate("缺陷", "Flaw"),
        translate("骗过评审的比例", "Slipped through"),
        "",
        translate("条", "cases"),
        translate("核对属实", "confirmed"),
    ]
    table_title = translate("哪类缺陷最能骗过评审", "Which flaws slip through")
    return f'<h3 class="zf-h">{table_title}</h3>{ready_html_table(header_cells, table_rows, ("", "zf-left"))}'


def locked_table(translate: Translator, report_rows: Sequence[ReportRow], label_uses: Message) -> str:
    """The locked report: where it began, a plain rewriting, what was found, the baselines, and who looked
    at these labels before."""
    judge_names = {
        "start": translate("起点 S_D", "first S_D"),
        "rewrite": translate("一次改写（无把关）", "one rewriting, ungated"),
        "game": translate("对局找到的", "found by the game"),
        "gepa": translate("GEPA 找到的", "found by GEPA"),
        "length": translate("基线：字数", "baseline: length"),
        "style": translate("基线：表面特征", "baseline: style"),
        "ngram": translate("基线：n-gram", "baseline: n-gram"),
    }
    header_cells = [
        translate("裁判", "Judge"),
        "n",
        translate("未评", "unscored"),
        translate("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        translate("等长 AUC", "length-matched AUC"),
        translate("调用", "calls"),
        translate("花费", "cost"),
    ]
    table_rows = []
    for report_row in report_rows:
        version_mark = f"<small>v{report_row.version}</small>" if report_row.version else ""
        run_mark = (
            translate(f"（运行 {report_row.run}）", f" (run {report_row.run})") if report_row.calls is not None else ""
        )
        table_rows.append(
            [
                f"<b>{esc(judge_names.get(report_row.name, report_row.name))}</b>{esc(run_mark)}{version_mark}",
                str(report_row.figures.get("n", "–")),
                str(report_row.figures.get("unscored", "–")),
                *(
                    _figure_text(translate, report_row.figures.get(metric_name), report_row.figures.get("n"))
                    for metric_name in ("accuracy", "kappa", "auc", "matched_auc")
                ),
                "–" if report_row.calls is None else f"{report_row.calls:,}",
                "–" if report_row.cost is None else f"{report_row.cost:.4f}",
            ]
        )
    table_title = translate("封存集：本次运行只在最后打开一次", "The locked set, opened once at the end of this run")
    return f'<h3 class="zf-h">{table_title}</h3>{ready_html_table(header_cells, table_rows)}<p class="zf-note">{esc(translate.localize(label_uses))}</p>'


def stored_report_rows(run_info: RunInfo) -> list[ReportRow]:
    """The rows that the run itself kept, before the fitted baselines join them."""
    judge_names = {"best": run_info.settings.search.value}
    return [
        ReportRow(
            judge_names.get(stored_row["name"], stored_row["name"]),
            run_info.id,
            {"best": run_info.best, "start": run_info.detector}.get(stored_row["name"]),
            run_info.calls if stored_row["name"] == "best" else None,
            run_info.cost if stored_row["name"] == "best" else None,
            dict(stored_row),
        )
        for stored_row in (run_info.locked or {}).get("rows", ())
    ]


def comparison_html(translate: Translator, comparison: Mapping[str, Any] | None) -> str:
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
            esc(compared_row["name"]),
            str(compared_row["n"]),
            str(compared_row["unscored"]),
            *(
                _figure_text(translate, compared_row[metric_name], compared_row["n"])
                for metric_name in ("accuracy", "kappa", "auc", "matched_auc")
            ),
        ]
        for compared_row in comparison["rows"]
    ]
    change = comparison["change"]
    change_text = translate(
        f"后者改对 {change['fixed']} 条、改错 {change['broken']} 条，p = {change['p']:.3g}",
        f"The second mends {change['fixed']} and breaks {change['broken']}, p = {change['p']:.3g}",
    )
    return f'{ready_html_table(header_cells, table_rows)}<p class="zf-note">{change_text}</p>'


def version_tree(translate: Translator, versions: Sequence[VersionInfo], chosen_id: int | None) -> str:
    """All versions as a tree, each under its parent."""
    if not versions:
        return empty_notice(
            translate("还没有任何版本；开始一次运行就有了。", "No versions yet; a run brings the first.")
        )
    children_by_parent: dict[int | None, list[VersionInfo]] = {}
    version_ids = {one.id for one in versions}
    for one in versions:
        children_by_parent.setdefault(one.parent if one.parent in version_ids else None, []).append(one)

    def branch_html(parent_id: int | None) -> str:
        child_versions = children_by_parent.get(parent_id, [])
        child_items = "".join(
            f"<li>{_node_html(translate, version, version.id == chosen_id)}{branch_html(version.id)}</li>"
            for version in child_versions
        )
        return f"<ul>{child_items}</ul>" if child_versions else ""

    return f'<div class="zf-tree">{branch_html(None)}</div>'


def _node_html(translate: Translator, version: VersionInfo, is_chosen: bool) -> str:
    score_html = (
        f"<b>{_interval_text(Figure(version.score, version.low, version.high))}</b>"
        if version.score is not None
        else ""
    )
    current_attribute = ' aria-current="true"' if is_chosen else ""
    round_text = (
        translate(f"运行 {version.run} 第 {version.round} 轮", f"run {version.run}, round {version.round}")
        if version.round
        else ""
    )
    node_details = " · ".join(filter(None, [round_text, esc(version.author), esc(decision_reason(translate, version))]))
    current_chip = f'<span class="zf-chip">{translate("当前", "current")}</span>' if version.current else ""
    return (
        f'<button type="button" class="zf-node" data-version="{version.id}"{current_attribute}>v{version.id} {version.role}</button>'
        f"{outcome_pill(translate, version)}{score_html}{current_chip}<small>{node_details}</small>"
    )


def _evidence_html(translate: Translator, sources: Sequence[str]) -> str:
    if not sources:
        return ""
    source_list = translate("、", ", ").join(_source_text(translate, source) for source in sources[:4]) + (
        "…" if len(sources) > 4 else ""
    )
    return f'<small class="zf-evidence">{translate("依据", "from")} {esc(source_list)}</small>'


def _source_text(translate: Translator, source: str) -> str:
    """What a rule was learnt from, in words: `r3.a2` is the third planted flaw of round 3."""
    source_match = re.fullmatch(r"r(\d+)\.([al])(\d+)", source)
    if source_match is None:
        label_number = source.removeprefix("g")
        return translate(f"标签 {label_number}", f"label {label_number}") if source.startswith("g") else source
    round_number, case_number = source_match[1], int(source_match[3]) + 1
    if source_match[2] == "a":
        return translate(
            f"第 {round_number} 轮对抗第 {case_number} 条",
            f"round {round_number}, planted flaw {case_number}",
        )
    return translate(f"第 {round_number} 轮复盘第 {case_number} 条", f"round {round_number}, label {case_number}")


def _interval_text(measured: Figure) -> str:
    if measured.value is None:
        return "–"
    if measured.low is None or measured.high is None:
        return f"{measured.value:.3f}"
    return f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"


def _figure_text(translate: Translator, figure_data: Mapping[str, Any] | None, sample_count: int | None) -> str:
    if not figure_data:
        return "–"
    reason = Message(*figure_data["why"]) if figure_data.get("why") else None
    return figure_with_interval(
        translate,
        Figure(figure_data["value"], figure_data["low"], figure_data["high"], reason, figure_data.get("n")),
        sample_count,
    )
