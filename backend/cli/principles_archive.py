"""The archive of principles on the command line, with runs and versions as plain values with stable keys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_listing, print_result
from backend.core.enums import Role
from backend.core.errors import UserError
from backend.core.files import read_text_file
from backend.judges.criteria import parse_principles
from backend.principles.algorithm.locked import BEST_ROW, START_ROW
from backend.principles.comparing import ReportRow
from backend.principles.locked_uses import LockedSetUses
from backend.principles.records import ComparisonInfo, RunInfo, VersionInfo
from backend.principles.rulings import explain_decision
from backend.services import open_services


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


VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="Number of a version.")]
AuthorOption = Annotated[str, typer.Option(help="Who does it.")]
ReasonOption = Annotated[str, typer.Option(help="Why.")]


def register(principles_group: typer.Typer) -> None:
    """Add the commands to the group."""
    for command in (
        runs,
        pause,
        list_versions,
        show,
        diff,
        edit,
        fork,
        back,
        compare,
        publish,
        report,
        answer,
    ):
        # A function of that name would hide Python's own list in this module.
        command_name = {"list_versions": "list"}.get(command.__name__, command.__name__)
        principles_group.command(command_name)(command)


def runs(as_json: JsonOption = False) -> None:
    """List the runs, the newest first."""
    with open_services() as services:
        archive = services.evolution.archive
        run_rows = [run_to_dict(run_info, archive.versions(run_info.id)) for run_info in services.evolution.runs()]
    print_listing("runs", run_rows, as_json, format_run, "There are no runs yet.")


def pause(
    run_id: Annotated[int, typer.Argument(metavar="RUN", help="Number of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Let a run stop after the calls in flight, whether a job plays it or a command."""
    with open_services() as services:
        run_info = services.evolution.pause(run_id)
        run_fields = run_to_dict(run_info, services.evolution.archive.versions(run_id))
    print_result(run_fields, as_json, format_run)


def list_versions(
    run: Annotated[int | None, typer.Option(help="Only versions of this run.")] = None,
    role: Annotated[Role | None, typer.Option(help="Only S_D or only S_G.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List versions in the order they came."""
    with open_services() as services:
        version_rows = [version_to_dict(version) for version in services.evolution.archive.versions(run, role)]
    print_listing("versions", version_rows, as_json, format_version, "There are no versions yet.")


def show(version_id: VersionArgument, as_json: JsonOption = False) -> None:
    """One version with its rules and what they were learnt from."""
    with open_services() as services:
        version_fields = version_to_dict(services.evolution.archive.version(version_id))
    print_result(version_fields, as_json, _format_version_rules)


def diff(before_id: VersionArgument, after_id: VersionArgument, as_json: JsonOption = False) -> None:
    """What became of each rule from one version to another."""
    with open_services() as services:
        diff_lines = services.evolution.archive.diff(before_id, after_id)
    diff_fields = {
        "before": before_id,
        "after": after_id,
        "lines": [{"sign": change_sign, "text": rule_text} for change_sign, rule_text in diff_lines],
    }
    print_result(
        diff_fields,
        as_json,
        lambda r: "\n".join(f"{diff_line['sign']} {diff_line['text']}" for diff_line in r["lines"]),
    )


def edit(
    version_id: VersionArgument,
    rules: Annotated[Path, typer.Option(help="Text file of at most ten rules, one a line.")],
    author: AuthorOption,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """A new version by hand."""
    with open_services() as services:
        new_version = services.evolution.archive.edit(version_id, read_principles(rules), author, reason)
    print_result(version_to_dict(new_version), as_json, _format_version_rules)


def fork(
    version_id: VersionArgument,
    dataset: Annotated[str, typer.Option(help="Labels of the new run.")],
    rounds: Annotated[int | None, typer.Option(help="The most rounds.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint of every agent, by name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run that begins with this version."""
    with open_services() as services:
        new_run = services.evolution.fork(version_id, dataset, rounds, endpoint)
        run_fields = run_to_dict(new_run, services.evolution.archive.versions(new_run.id))
    print_result(run_fields, as_json, lambda r: f"run {r['run']}, job {r['job']}")


def back(version_id: VersionArgument, author: AuthorOption, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Make a version current, an earlier one too."""
    with open_services() as services:
        marked_version = services.evolution.archive.mark(version_id, author, reason)
    print_result(version_to_dict(marked_version), as_json, _format_version_rules)


def compare(
    first_id: VersionArgument,
    second_id: VersionArgument,
    dataset: Annotated[str, typer.Option(help="Labels on which they are compared.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let two S_D read the same labels."""
    with open_services() as services:
        comparison_service = services.evolution.comparisons
        comparison = comparison_service.play(comparison_service.create(first_id, second_id, dataset, endpoint).id)
    print_result(comparison_to_dict(comparison), as_json, _format_comparison)


def publish(
    version_id: VersionArgument,
    name: Annotated[str, typer.Option(help="Name of the judge.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers; default: the run's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep an S_D as a judge; it scores exactly as the Detector did."""
    with open_services() as services:
        judge = services.evolution.archive.publish(version_id, name, endpoint)
    judge_fields = {
        "principles": version_id,
        "judge": judge.name,
        "version": judge.version,
        "endpoint": judge.endpoint,
    }
    print_result(judge_fields, as_json, lambda r: f"{r['judge']} {r['version']}")


def report(
    run_ids: Annotated[list[int], typer.Argument(metavar="RUN…", help="Finished runs on the same labels.")],
    as_json: JsonOption = False,
) -> None:
    """Searches side by side on the locked set: the beginning, a plain rewriting, each run, the baselines."""
    with open_services() as services:
        report_rows = services.evolution.report(run_ids)
    report_fields = {"rows": [report_row_to_dict(report_row) for report_row in report_rows]}
    print_result(report_fields, as_json, lambda r: "\n".join(map(format_report_row, r["rows"])))


def answer(
    run_id: Annotated[int, typer.Argument(metavar="RUN", help="Number of a run.")],
    case_text: Annotated[str | None, typer.Argument(metavar="ROUND.PHASE.NUMBER", help="The open case.")] = None,
    flaw_confirmed: Annotated[bool, typer.Option("--yes/--no", help="Whether the flaw is really there.")] = True,
    person: Annotated[str, typer.Option(help="Who says so.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List planted flaws that wait for a person, or answer one."""
    with open_services() as services:
        if case_text is not None:
            # Before the list is read, which then shows what is left.
            services.evolution.answer(run_id, *_parse_case(case_text), flaw_confirmed, person)
        open_cases = services.evolution.open_cases(run_id)
    case_fields = {
        "run": run_id,
        "open": [
            {
                "case": f"{open_case.round}.{open_case.phase}.{open_case.number}",
                "prompt": open_case.prompt,
                "greeting": open_case.greeting,
                "flaw": open_case.flaw,
                "place": open_case.place,
                "explanation": open_case.explanation,
            }
            for open_case in open_cases
        ],
    }
    print_result(
        case_fields,
        as_json,
        lambda r: (
            "\n".join(f"{case_entry['case']}: {case_entry['greeting']}" for case_entry in r["open"]) or "none open"
        ),
    )


def _parse_case(case_text: str) -> tuple[int, str, int]:
    round_number, _, remainder = case_text.partition(".")
    phase_name, _, case_number = remainder.partition(".")
    # isdigit alone takes marks such as ², which int refuses.
    if not (round_number.isascii() and round_number.isdigit() and case_number.isascii() and case_number.isdigit()):
        raise UserError(
            f"“{case_text}” names no case; write it as the list does, such as 1.adversary.0.",
            f"“{case_text}”不是一条记录，请照列表的写法，例如 1.adversary.0。",
        )
    return int(round_number), phase_name, int(case_number)


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


def _format_version_rules(version_fields: dict[str, Any]) -> str:
    rule_lines = [f"  {position}. {rule['text']}" for position, rule in enumerate(version_fields["rules"], 1)]
    return "\n".join([format_version(version_fields), *rule_lines])


def _format_comparison(comparison_fields: dict[str, Any]) -> str:
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


# Ten rules are a few kilobytes; whoever names a database by mistake gets a sentence instead of a wait.
_MAX_BYTES = 1_000_000


def read_principles(file_path: Path) -> list[str]:
    """The rules in a UTF-8 file, one a line. Raises UserError."""
    return list(parse_principles(read_text_file(file_path, _MAX_BYTES)))
