"""The archive of principles on the command line: list, show, diff, edit, fork, back, compare, publish."""

from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.cli.principles_file import read_principles
from backend.cli.principles_plain import (
    plain_report_row,
    plain_run,
    plain_version,
    report_line,
    run_lines,
    version_line,
)
from backend.errors import UserError
from backend.evolution.records import ComparisonInfo
from backend.principles.vocabulary import Role
from backend.services import open_services

Version = Annotated[int, typer.Argument(metavar="VERSION", help="Number of a version.")]
Author = Annotated[str, typer.Option(help="Who does it.")]
Reason = Annotated[str, typer.Option(help="Why.")]


def register(group: typer.Typer) -> None:
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
        name = {"list_versions": "list"}.get(command.__name__, command.__name__)
        group.command(name)(command)


def runs(as_json: Json = False) -> None:
    """List the runs, the newest first."""
    with open_services() as services:
        archive = services.evolution.archive
        result = {"runs": [plain_run(one, archive.versions(one.id)) for one in services.evolution.runs()]}
    emit(result, as_json, lambda r: "\n".join(map(run_lines, r["runs"])) or "There are no runs yet.")


def pause(
    run: Annotated[int, typer.Argument(metavar="RUN", help="Number of a run.")], as_json: Json = False
) -> None:
    """Let a run stop after the calls in flight, whether a job plays it or a command."""
    with open_services() as services:
        info = services.evolution.pause(run)
        result = plain_run(info, services.evolution.archive.versions(run))
    emit(result, as_json, run_lines)


def list_versions(
    run: Annotated[int | None, typer.Option(help="Only versions of this run.")] = None,
    role: Annotated[Role | None, typer.Option(help="Only S_D or only S_G.")] = None,
    as_json: Json = False,
) -> None:
    """List versions in the order they came."""
    with open_services() as services:
        result = {"versions": [plain_version(one) for one in services.evolution.archive.versions(run, role)]}
    emit(
        result, as_json, lambda r: "\n".join(map(version_line, r["versions"])) or "There are no versions yet."
    )


def show(version: Version, as_json: Json = False) -> None:
    """One version with its rules and what they were learnt from."""
    with open_services() as services:
        result = plain_version(services.evolution.archive.version(version))
    emit(result, as_json, _shown)


def diff(before: Version, after: Version, as_json: Json = False) -> None:
    """What became of each rule from one version to another."""
    with open_services() as services:
        lines = services.evolution.archive.diff(before, after)
    result = {
        "before": before,
        "after": after,
        "lines": [{"sign": sign, "text": text} for sign, text in lines],
    }
    emit(result, as_json, lambda r: "\n".join(f"{one['sign']} {one['text']}" for one in r["lines"]))


def edit(
    version: Version,
    rules: Annotated[Path, typer.Option(help="Text file of at most ten rules, one a line.")],
    author: Author,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """A new version by hand."""
    with open_services() as services:
        made = services.evolution.archive.edit(version, read_principles(rules), author, reason)
    emit(plain_version(made), as_json, _shown)


def fork(
    version: Version,
    dataset: Annotated[str, typer.Option(help="Labels of the new run.")],
    rounds: Annotated[int | None, typer.Option(help="The most rounds.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint of every agent, by name.")] = None,
    as_json: Json = False,
) -> None:
    """Queue a run that begins with this version."""
    with open_services() as services:
        made = services.evolution.fork(version, dataset, rounds, endpoint)
        result = plain_run(made, services.evolution.archive.versions(made.id))
    emit(result, as_json, lambda r: f"run {r['run']}, job {r['job']}")


def back(version: Version, author: Author, reason: Reason, as_json: Json = False) -> None:
    """Make a version current, an earlier one too."""
    with open_services() as services:
        made = services.evolution.archive.mark(version, author, reason)
    emit(plain_version(made), as_json, _shown)


def compare(
    first: Version,
    second: Version,
    dataset: Annotated[str, typer.Option(help="Labels on which they are compared.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    as_json: Json = False,
) -> None:
    """Let two S_D read the same labels."""
    with open_services() as services:
        comparisons = services.evolution.comparisons
        made = comparisons.play(comparisons.create(first, second, dataset, endpoint).id)
    emit(plain_comparison(made), as_json, _compared)


def publish(
    version: Version,
    name: Annotated[str, typer.Option(help="Name of the judge.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers; default: the run's.")] = None,
    as_json: Json = False,
) -> None:
    """Keep an S_D as a judge; it scores exactly as the Detector did."""
    with open_services() as services:
        judge = services.evolution.archive.publish(version, name, endpoint)
    result = {
        "principles": version,
        "judge": judge.name,
        "version": judge.version,
        "endpoint": judge.endpoint,
    }
    emit(result, as_json, lambda r: f"{r['judge']} {r['version']}")


def report(
    runs: Annotated[list[int], typer.Argument(metavar="RUN…", help="Finished runs on the same labels.")],
    as_json: Json = False,
) -> None:
    """Searches side by side on the locked set: the beginning, a plain rewriting, each run, the baselines."""
    with open_services() as services:
        rows = services.evolution.report(runs)
    result = {"rows": [plain_report_row(one) for one in rows]}
    emit(result, as_json, lambda r: "\n".join(map(report_line, r["rows"])))


def answer(
    run: Annotated[int, typer.Argument(metavar="RUN", help="Number of a run.")],
    case: Annotated[str | None, typer.Argument(metavar="ROUND.PHASE.NUMBER", help="The open case.")] = None,
    there: Annotated[bool, typer.Option("--yes/--no", help="Whether the flaw is really there.")] = True,
    person: Annotated[str, typer.Option(help="Who says so.")] = "",
    as_json: Json = False,
) -> None:
    """List planted flaws that wait for a person, or answer one."""
    with open_services() as services:
        if case is not None:
            services.evolution.answer(run, *_case(case), there, person)
        cases = services.evolution.open_cases(run)
    result = {
        "run": run,
        "open": [
            {
                "case": f"{one.round}.{one.phase}.{one.number}",
                "prompt": one.prompt,
                "greeting": one.greeting,
                "flaw": one.flaw,
                "place": one.place,
                "explanation": one.explanation,
            }
            for one in cases
        ],
    }
    emit(
        result,
        as_json,
        lambda r: "\n".join(f"{c['case']}: {c['greeting']}" for c in r["open"]) or "none open",
    )


def _case(given: str) -> tuple[int, str, int]:
    number, _, rest = given.partition(".")
    phase, _, place = rest.partition(".")
    if not (number.isascii() and number.isdigit() and place.isascii() and place.isdigit()):
        raise UserError(
            f"“{given}” names no case; write it as the list does, such as 1.adversary.0.",
            f"“{given}”不是一条记录，请照列表的写法，例如 1.adversary.0。",
        )
    return int(number), phase, int(place)


def plain_comparison(made: ComparisonInfo) -> dict[str, Any]:
    """A comparison with stable keys."""
    return {
        "comparison": made.id,
        "first": made.first,
        "second": made.second,
        "dataset": made.dataset,
        "endpoint": made.endpoint,
        "result": made.result,
    }


def _shown(one: dict[str, Any]) -> str:
    rules = [f"  {place}. {rule['text']}" for place, rule in enumerate(one["rules"], 1)]
    return "\n".join([version_line(one), *rules])


def _compared(result: dict[str, Any]) -> str:
    rows, change = result["result"]["rows"], result["result"]["change"]
    lines = [f"{row['name']}: accuracy {row['accuracy']['value']:.3f}, n {row['n']}" for row in rows]
    return "\n".join([*lines, f"{change['fixed']} mended, {change['broken']} broken, p = {change['p']:.3g}"])
