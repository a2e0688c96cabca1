"""The archive of principles on the command line: list, show, compare, edit, publish, report, answer."""

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.output import JsonOption, print_listing, print_result
from backend.cli.principles_output import (
    comparison_to_dict,
    format_comparison,
    format_report_row,
    format_run,
    format_version,
    format_version_rules,
    report_row_to_dict,
    run_to_dict,
    version_to_dict,
)
from backend.core.enums import Role
from backend.core.errors import UserError
from backend.core.files import read_text_file
from backend.judges.criteria import parse_principles
from backend.services import open_services

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
    print_result(version_fields, as_json, format_version_rules)


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
    print_result(version_to_dict(new_version), as_json, format_version_rules)


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
    print_result(version_to_dict(marked_version), as_json, format_version_rules)


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
    print_result(comparison_to_dict(comparison), as_json, format_comparison)


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


# Ten rules are a few kilobytes; whoever names a database by mistake gets a sentence instead of a wait.
_MAX_BYTES = 1_000_000


def read_principles(file_path: Path) -> list[str]:
    """The rules in a UTF-8 file, one a line. Raises UserError."""
    return list(parse_principles(read_text_file(file_path, _MAX_BYTES)))
