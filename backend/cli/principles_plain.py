"""Runs and versions of the game with stable keys and plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.evolution.records import RunInfo, VersionInfo
from backend.evolution.reporting import ReportRow
from backend.evolution.told import told
from backend.evolution.uses import Uses
from backend.principles.locked import BEST, START


def plain_run(info: RunInfo, versions: Sequence[VersionInfo]) -> dict[str, Any]:
    """A run with all its versions; `locked` holds accuracy before and after, null until it is over."""
    return {
        "run": info.id,
        "dataset": info.dataset,
        "optimizer": info.settings.search.value,
        "state": info.state.value,
        "playing": asdict(info.playing) if info.playing else None,
        "rounds": info.rounds,
        "accepted": info.accepted,
        "rejected": info.rejected,
        "versions": [plain_version(one) for one in versions],
        "best": info.best,
        "locked": plain_locked(info.locked),
        "labels": dict(info.labels),
        "calls": info.calls,
        "tokens": info.tokens,
        "cost": info.cost,
        "job": info.job,
        "error": info.error.en if info.error else None,
    }


def plain_version(one: VersionInfo) -> dict[str, Any]:
    """A version and what became of it."""
    return {
        "id": one.id,
        "role": one.role.value,
        "parent": one.parent,
        "run": one.run,
        "round": one.round,
        "proposer": one.proposer.value,
        "author": one.author or None,
        "note": one.note or None,
        "gate_score": one.score,
        "gate_low": one.low,
        "gate_high": one.high,
        "accepted": one.accepted,
        "why": one.why.value if one.why else None,
        "reason": told(one.why, one.facts).en if one.why else None,
        "calls": one.calls,
        "cost": one.cost,
        "current": one.current,
        "rules": [
            {"id": rule.id, "text": rule.text, "evidence": list(rule.evidence)} for rule in one.rules.rules
        ],
    }


def plain_locked(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Accuracy on the locked set before and after, and every figure of every row."""
    if data is None:
        return {"before": None, "after": None, "rows": [], "change": None}
    rows = {row["name"]: row for row in data["rows"]}
    return {
        "before": rows[START]["accuracy"]["value"],
        "after": rows[BEST]["accuracy"]["value"],
        "rows": [_row(row) for row in data["rows"]],
        "change": data["change"],
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: value for name, value in row.items() if isinstance(value, Mapping)}
    plain = {name: value["value"] for name, value in figures.items()}
    bounds = {f"{name}_{end}": value[end] for name, value in figures.items() for end in ("low", "high")}
    bounds |= {f"{name}_n": value.get("n") for name, value in figures.items()}
    return {"name": row["name"], "n": row["n"], "unscored": row["unscored"], **plain, **bounds}


def plain_uses(uses: Uses) -> dict[str, Any]:
    """Who read locked labels before: `number` is the how-manieth use this one is."""
    return {"runs": list(uses.runs), "comparisons": uses.comparisons, "number": uses.number}


def plain_report_row(one: ReportRow) -> dict[str, Any]:
    """A row of the report over runs."""
    used = {"run": one.run, "version": one.version, "calls": one.calls, "cost": one.cost}
    earlier = plain_uses(one.uses) if one.uses else None
    return {**_row(one.figures), "name": one.name, **used, "locked_uses": earlier}


def report_line(row: Mapping[str, Any]) -> str:
    """A row of the report for people."""
    figures = "  ".join(
        f"{name} {'–' if row[name] is None else format(row[name], '.3f')}"
        for name in ("accuracy", "kappa", "auc", "matched_auc")
    )
    used = "" if row["calls"] is None else f"  {row['calls']} calls, cost {row['cost']:.4f}"
    use = row["locked_uses"]["number"] if row["locked_uses"] else 1
    again = f"  (use {use} of these locked labels)" if use > 1 else ""
    return f"{row['name']:<10}  n {row['n']} ({row['unscored']} unscored)  {figures}{used}{again}"


def run_lines(result: dict[str, Any]) -> str:
    """A run for people."""
    locked = result["locked"]
    lines = [
        f"run {result['run']} ({result['optimizer']}, {result['state']}): {result['rounds']} rounds, "
        f"{result['accepted']} accepted, {result['rejected']} rejected, {result['calls']} calls, "
        f"cost {result['cost']:.4f}"
    ]
    lines += [version_line(one) for one in result["versions"]]
    if locked["before"] is not None and locked["after"] is not None:
        use = locked.get("uses", {}).get("number", 1)
        again = f" (use {use} of these labels)" if use > 1 else ""
        lines.append(f"locked accuracy: {locked['before']:.3f} -> {locked['after']:.3f}{again}")
    if result["state"] == "running" and result["playing"] is None:
        lines.append(f"its process is gone; go on with: principles --resume {result['run']}")
    if result.get("notice"):
        lines.append(f"warning: {result['notice']}")
    if result["error"]:
        lines.append(f"error: {result['error']}")
    return "\n".join(lines)


def version_line(one: Mapping[str, Any]) -> str:
    """A version in one line."""
    score = "" if one["gate_score"] is None else f"  gate {one['gate_score']:.3f}"
    sign = {True: "+", False: "-", None: " "}[one["accepted"]]
    parent = f" <- {one['parent']}" if one["parent"] else ""
    mark = "  (current)" if one["current"] else ""
    return (
        f"{sign} {one['id']:>4}{parent}  {one['role']}  {one['proposer']}{score}  {one['reason'] or ''}{mark}"
    )
