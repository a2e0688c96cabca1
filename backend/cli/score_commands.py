"""`score`: a judge over a file, a data set or a campaign; here, or as the job of that number."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result, throttled_printer
from backend.cli.principles_file import read_principles
from backend.errors import UserError
from backend.judges.registry import MOST_EXAMPLES
from backend.scoring.job import run_job
from backend.scoring.records import ScoreProgress, ScoreRequest, ScoringRunState, format_duration
from backend.scoring.targets import ScoringTarget, TargetKind
from backend.services import Services, open_services


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("score")(run_scoring)


def run_scoring(
    judge: Annotated[str | None, typer.Option(help="A stored judge, or a kind such as principle.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Greetings with their requests; imported as a data set first, then judged."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Judge the greetings of this data set.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Judge the items of this campaign.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    principles: Annotated[Path | None, typer.Option(help="Text file of at most ten principles, one a line.")] = None,
    artifact: Annotated[Path | None, typer.Option(help="Folder of a trained model (judge reward_model).")] = None,
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
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    in_background: Annotated[bool, typer.Option("--background", help="Queue it as a job.")] = False,
    job: Annotated[int | None, typer.Option(help="Run this queued job (for workers).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a judge score greetings. What is scored already is not asked again; unscored is not zero."""
    with open_services() as services:
        if job is not None:
            sys.exit(run_job(services.database, services.jobs, services.scoring, job))
        if judge is None:
            raise UserError("Name a judge with --judge.", "请用 --judge 指定裁判。")
        judge_spec = services.scoring.catalog.resolve(
            judge,
            endpoint,
            principles=read_principles(principles) if principles else None,
            path=str(artifact) if artifact else None,
            examples=examples,
            embeddings=embeddings,
        )
        scoring_target = _select_target(services, file, dataset, campaign)
        request = ScoreRequest(judge_spec, scoring_target, max_calls, max_tokens, max_cost, retry_unscored)
        if only_estimate:
            _print_estimate(services, request, as_json)
        elif in_background:
            queued_job = services.scoring.submit(request)
            print_result(
                {"job": queued_job.id, "status": queued_job.status.value},
                as_json,
                lambda r: f"job {r['job']}",
            )
        else:
            _run_and_report(services, request, as_json)


def _select_target(
    services: Services, file_path: Path | None, dataset_name: str | None, campaign_name: str | None
) -> ScoringTarget:
    named_targets = [
        target_option for target_option in (file_path, dataset_name, campaign_name) if target_option is not None
    ]
    if len(named_targets) != 1:
        raise UserError(
            "Name exactly one of --file, --dataset and --campaign.",
            "请在 --file、--dataset、--campaign 中恰好指定一个。",
        )
    if file_path is not None:
        return ScoringTarget(TargetKind.DATASET, services.corpus.import_file(file_path).dataset)
    if dataset_name is not None:
        return ScoringTarget(TargetKind.DATASET, dataset_name)
    assert campaign_name is not None
    return ScoringTarget(TargetKind.CAMPAIGN, campaign_name)


def _print_estimate(services: Services, request: ScoreRequest, as_json: bool) -> None:
    run_estimate = services.scoring.estimate(request)
    estimate_fields: dict[str, Any] = {
        "judge": request.spec.name,
        "estimate": True,
        "items": run_estimate.items,
        "missing": run_estimate.missing,
        "calls": run_estimate.calls,
        "tokens": run_estimate.tokens,
        "cost": run_estimate.cost,
        "seconds": run_estimate.seconds,
    }
    print_result(
        estimate_fields,
        as_json,
        lambda r: (
            f"{r['missing']} of {r['items']} items are left: about {r['calls']} calls, {r['tokens']} tokens, "
            f"cost {r['cost']:.4f}, {format_duration(r['seconds'])}"
        ),
    )


def _run_and_report(services: Services, request: ScoreRequest, as_json: bool) -> None:
    services.database.wait_patiently()
    final_progress = services.scoring.run(request, throttled_printer(ScoreProgress.summary_line))
    print_result(final_progress.plain(), as_json, lambda _: _format_progress(final_progress))
    if final_progress.state is ScoringRunState.FAILED:
        if not as_json:
            print(f"error: {final_progress.error.en if final_progress.error else 'failed'}", file=sys.stderr)
        sys.exit(1)


def _format_progress(final_progress: ScoreProgress) -> str:
    warning_text = f"\nwarning: {final_progress.notice.en}" if final_progress.notice else ""
    return f"{final_progress.judge} {final_progress.version}: {final_progress.state}, {final_progress.summary_line()}{warning_text}"
