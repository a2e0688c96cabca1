"""Runs, versions and comparisons of the game as plain values with stable keys, and as lines for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.principles.algorithm.locked import BEST_ROW, START_ROW
from backend.principles.comparing import ReportRow
from backend.principles.locked_uses import LockedSetUses
from backend.principles.records import ComparisonInfo, RunInfo, VersionInfo
from backend.principles.rulings import explain_decision


def run_to_dict(run_info: RunInfo, versions: Sequence[VersionInfo]) -> dict[str, Any]:
    """A run with all its versions; `locked` holds accuracy before and after, null until it is over."""
    return {
        "run": run_info.id,
        "dataset": run_info.dataset,
        "optimizer": run_info.settings.search.value,
        "state": run_info.state.value,
        "playing": asdict(run_info.playing) if run_info.playing else None,
        "rounds": run_info.rounds,
        "accepted": run_info.accepted,
        "rejected": run_info.rejected,
        "versions": [version_to_dict(version_info) for version_info in versions],
        "best": run_info.best,
        "locked": locked_to_dict(run_info.locked),
        "labels": dict(run_info.labels),
        "calls": run_info.calls,
        "tokens": run_info.tokens,
        "cost": run_info.cost,
        "job": run_info.job,
        "error": run_info.error.en if run_info.error else None,
    }


def version_to_dict(version_info: VersionInfo) -> dict[str, Any]:
    """A version and what became of it."""
    return {
        "id": version_info.id,
        "role": version_info.role.value,
        "parent": version_info.parent,
        "run": version_info.run,
        "round": version_info.round,
        "proposer": version_info.proposer.value,
        "author": version_info.author or None,
        "note": version_info.note or None,
        "gate_score": version_info.score,
        "gate_low": version_info.low,
        "gate_high": version_info.high,
        "accepted": version_info.accepted,
        "why": version_info.why.value if version_info.why else None,
        "reason": explain_decision(version_info.why, version_info.facts).en if version_info.why else None,
        "calls": version_info.calls,
        "cost": version_info.cost,
        "current": version_info.current,
        "rules": [
            {"id": rule.id, "text": rule.text, "evidence": list(rule.evidence)} for rule in version_info.rules.rules
        ],
    }


def locked_to_dict(locked_figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """Accuracy on the locked set before and after, and every figure of every row."""
    # The same keys before and after the locked set is open, so that scripts need not ask first.
    if locked_figures is None:
        return {"before": None, "after": None, "rows": [], "change": None}
    rows_by_name = {locked_row["name"]: locked_row for locked_row in locked_figures["rows"]}
    return {
        "before": rows_by_name[START_ROW]["accuracy"]["value"],
        "after": rows_by_name[BEST_ROW]["accuracy"]["value"],
        "rows": [_locked_row_to_dict(locked_row) for locked_row in locked_figures["rows"]],
        "change": locked_figures["change"],
    }


def _locked_row_to_dict(locked_row: Mapping[str, Any]) -> dict[str, Any]:
    figures = {
        figure_name: figure_fields
        for figure_name, figure_fields in locked_row.items()
        if isinstance(figure_fields, Mapping)
    }
    figure_values = {figure_name: figure_fields["value"] for figure_name, figure_fields in figures.items()}
    bounds = {
        f"{figure_name}_{bound_name}": figure_fields[bound_name]
        for figure_name, figure_fields in figures.items()
        for bound_name in ("low", "high")
    }
    # Runs of earlier versions stored figures without their number of items.
    bounds |= {f"{figure_name}_n": figure_fields.get("n") for figure_name, figure_fields in figures.items()}
    return {
        "name": locked_row["name"],
        "n": locked_row["n"],
        "unscored": locked_row["unscored"],
        **figure_values,
        **bounds,
    }


def uses_to_dict(label_uses: LockedSetUses) -> dict[str, Any]:
    """Who read locked labels before: `number` counts the uses, this one included."""
    return {"runs": list(label_uses.runs), "comparisons": label_uses.comparisons, "number": label_uses.number}


def report_row_to_dict(report_row: ReportRow) -> dict[str, Any]:
    """A row of the report over runs."""
    run_fields = {
        "run": report_row.run,
        "version": report_row.version,
        "calls": report_row.calls,
        "cost": report_row.cost,
    }
    earlier_uses = uses_to_dict(report_row.uses) if report_row.uses else None
    return {
        **_locked_row_to_dict(report_row.figures),
        # After the figures, which bring the name of their stored row with them (“best” for every run).
        "name": report_row.name,
        **run_fields,
        "locked_uses": earlier_uses,
    }


def format_report_row(report_fields: Mapping[str, Any]) -> str:
    """A row of the report for people."""
    figure_text = "  ".join(
        f"{figure_name} {'–' if report_fields[figure_name] is None else format(report_fields[figure_name], '.3f')}"
        for figure_name in ("accuracy", "kappa", "auc", "matched_auc")
    )
    cost_text = (
        "" if report_fields["calls"] is None else f"  {report_fields['calls']} calls, cost {report_fields['cost']:.4f}"
    )
    use_number = report_fields["locked_uses"]["number"] if report_fields["locked_uses"] else 1
    use_note = f"  (use {use_number} of these locked labels)" if use_number > 1 else ""
    count_text = f"n {report_fields['n']} ({report_fields['unscored']} unscored)"
    return f"{report_fields['name']:<10}  {count_text}  {figure_text}{cost_text}{use_note}"


def format_run(run_fields: dict[str, Any]) -> str:
    """A run for people."""
    locked_fields = run_fields["locked"]
    output_lines = [
        f"run {run_fields['run']} ({run_fields['optimizer']}, {run_fields['state']}): {run_fields['rounds']} rounds, "
        f"{run_fields['accepted']} accepted, {run_fields['rejected']} rejected, {run_fields['calls']} calls, "
        f"cost {run_fields['cost']:.4f}"
    ]
    output_lines += [format_version(version_fields) for version_fields in run_fields["versions"]]
    if locked_fields["before"] is not None and locked_fields["after"] is not None:
        use_number = locked_fields.get("uses", {}).get("number", 1)
        use_note = f" (use {use_number} of these labels)" if use_number > 1 else ""
        output_lines.append(f"locked accuracy: {locked_fields['before']:.3f} -> {locked_fields['after']:.3f}{use_note}")
    # The row still says that it runs; only its process can tell, and that is gone.
    if run_fields["state"] == "running" and run_fields["playing"] is None:
        output_lines.append(f"its process is gone; go on with: principles --resume {run_fields['run']}")
    if run_fields.get("notice"):
        output_lines.append(f"warning: {run_fields['notice']}")
    if run_fields["error"]:
        output_lines.append(f"error: {run_fields['error']}")
    return "\n".join(output_lines)


def format_version(version_fields: Mapping[str, Any]) -> str:
    """A version in one line."""
    score_text = "" if version_fields["gate_score"] is None else f"  gate {version_fields['gate_score']:.3f}"
    accepted_sign = {True: "+", False: "-", None: " "}[version_fields["accepted"]]
    parent_text = f" <- {version_fields['parent']}" if version_fields["parent"] else ""
    current_mark = "  (current)" if version_fields["current"] else ""
    origin_text = f"{version_fields['id']:>4}{parent_text}  {version_fields['role']}  {version_fields['proposer']}"
    return f"{accepted_sign} {origin_text}{score_text}  {version_fields['reason'] or ''}{current_mark}"


def comparison_to_dict(comparison: ComparisonInfo) -> dict[str, Any]:
    """A comparison with stable keys."""
    return {
        "comparison": comparison.id,
        "first": comparison.first,
        "second": comparison.second,
        "dataset": comparison.dataset,
        "endpoint": comparison.endpoint,
        "result": comparison.result,
    }


def format_version_rules(version_fields: dict[str, Any]) -> str:
    rule_lines = [f"  {position}. {rule['text']}" for position, rule in enumerate(version_fields["rules"], 1)]
    return "\n".join([format_version(version_fields), *rule_lines])


def format_comparison(comparison_fields: dict[str, Any]) -> str:
    comparison_rows, change_figures = (
        comparison_fields["result"]["rows"],
        comparison_fields["result"]["change"],
    )
    output_lines = [
        f"{comparison_row['name']}: accuracy {comparison_row['accuracy']['value']:.3f}, n {comparison_row['n']}"
        for comparison_row in comparison_rows
    ]
    return "\n".join(
        [
            *output_lines,
            f"{change_figures['fixed']} mended, {change_figures['broken']} broken, p = {change_figures['p']:.3g}",
        ]
    )
