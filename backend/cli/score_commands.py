"""`score`: a judge over a file, a data set or a campaign; here, or as the job of that number."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit, now_and_then
from backend.cli.principles_file import read_principles
from backend.errors import UserError
from backend.judges.registry import MOST_EXAMPLES
from backend.scoring.job import run_job
from backend.scoring.records import RunState, ScoreProgress, ScoreRequest, clock
from backend.scoring.targets import Target, TargetKind
from backend.services import Services, open_services


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("score")(score)


def score(
    judge: Annotated[str | None, typer.Option(help="A stored judge, or a kind such as principle.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Greetings with their requests; imported as a data set first, then judged."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Judge the greetings of this data set.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Judge the items of this campaign.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    principles: Annotated[
        Path | None, typer.Option(help="Text file of at most ten principles, one a line.")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of a trained model (judge reward_model).")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=0, max=MOST_EXAMPLES, help="Liked greetings that a panel is shown.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Find a panel's examples by meaning too.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="End when this much is spent.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="End after so many calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="End after so many tokens.")] = None,
    retry_unscored: Annotated[
        bool, typer.Option("--retry-unscored", help="Also ask again what got no verdict before.")
    ] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Queue it as a job.")] = False,
    job: Annotated[int | None, typer.Option(help="Run this queued job (for workers).")] = None,
    as_json: Json = False,
) -> None:
    """Let a judge score greetings. What is scored already is not asked again; unscored is not zero."""
    with open_services() as services:
        if job is not None:
            sys.exit(run_job(services.database, services.jobs, services.scoring, job))
        if judge is None:
            raise UserError("Name a judge with --judge.", "请用 --judge 指定裁判。")
        spec = services.scoring.catalog.resolve(
            judge,
            endpoint,
            principles=read_principles(principles) if principles else None,
            path=str(artifact) if artifact else None,
            examples=examples,
            embeddings=embeddings,
        )
        target = _target(services, file, dataset, campaign)
        request = ScoreRequest(spec, target, max_calls, max_tokens, max_cost, retry_unscored)
        if estimate:
            _estimate(services, request, as_json)
        elif background:
            made = services.scoring.submit(request)
            emit({"job": made.id, "status": made.status.value}, as_json, lambda r: f"job {r['job']}")
        else:
            _run(services, request, as_json)


def _target(services: Services, file: Path | None, dataset: str | None, campaign: str | None) -> Target:
    given = [one for one in (file, dataset, campaign) if one is not None]
    if len(given) != 1:
        raise UserError(
            "Name exactly one of --file, --dataset and --campaign.",
            "请在 --file、--dataset、--campaign 中恰好指定一个。",
        )
    if file is not None:
        return Target(TargetKind.DATASET, services.corpus.import_file(file).dataset)
    if dataset is not None:
        return Target(TargetKind.DATASET, dataset)
    assert campaign is not None
    return Target(TargetKind.CAMPAIGN, campaign)


def _estimate(services: Services, request: ScoreRequest, as_json: bool) -> None:
    rough = services.scoring.estimate(request)
    result: dict[str, Any] = {
        "judge": request.spec.name,
        "estimate": True,
        "items": rough.items,
        "missing": rough.missing,
        "calls": rough.calls,
        "tokens": rough.tokens,
        "cost": rough.cost,
        "seconds": rough.seconds,
    }
    emit(
        result,
        as_json,
        lambda r: (
            f"{r['missing']} of {r['items']} items are left: about {r['calls']} calls, {r['tokens']} tokens, "
            f"cost {r['cost']:.4f}, {clock(r['seconds'])}"
        ),
    )


def _run(services: Services, request: ScoreRequest, as_json: bool) -> None:
    services.database.be_patient()
    final = services.scoring.run(request, now_and_then(ScoreProgress.line))
    emit(final.plain(), as_json, lambda _: _lines(final))
    if final.state is RunState.FAILED:
        if not as_json:
            print(f"error: {final.error.en if final.error else 'failed'}", file=sys.stderr)
        sys.exit(1)


def _lines(final: ScoreProgress) -> str:
    warning = f"\nwarning: {final.notice.en}" if final.notice else ""
    return f"{final.judge} {final.version}: {final.state}, {final.line()}{warning}"
