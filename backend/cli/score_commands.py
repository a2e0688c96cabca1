"""`score` and `agreement`: a judge over a target, and how far judges agree with people."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.agreement.board_values import flatten_judge_row, flatten_model_row, flatten_within_row
from backend.cli.option_groups import BudgetCaps, RunMode, with_option_groups
from backend.cli.output import JsonOption, print_result, throttled_printer
from backend.cli.principles_archive import read_principles
from backend.core.errors import UserError
from backend.judges.base import JudgeSpec
from backend.judges.registry import MOST_EXAMPLES
from backend.judges.scoring.job import ScoringJob
from backend.judges.scoring.records import ScoreProgress, ScoreRequest, ScoringRunState, format_duration
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.runs.attempt import run_job
from backend.services import Services, open_services


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    cli_app.command("score")(with_option_groups(run_scoring))
    cli_app.command("agreement")(agreement)


@dataclass(frozen=True)
class TargetOptions:
    """What is judged: exactly one of the three."""

    file: Annotated[
        Path | None,
        typer.Option(help="Greetings with their requests; imported as a data set first, then judged."),
    ] = None
    dataset: Annotated[str | None, typer.Option(help="Judge the greetings of this data set.")] = None
    campaign: Annotated[str | None, typer.Option(help="Judge the items of this campaign.")] = None


@dataclass(frozen=True)
class JudgeOverrides:
    """What the judge is asked with in place of its own settings."""

    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None
    principles: Annotated[Path | None, typer.Option(help="Text file of at most ten principles, one a line.")] = None
    artifact: Annotated[Path | None, typer.Option(help="Folder of a trained model (judge reward_model).")] = None
    examples: Annotated[
        int | None, typer.Option(min=0, max=MOST_EXAMPLES, help="Liked greetings that a panel is shown.")
    ] = None
    embeddings: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Find a panel's examples by meaning too.")
    ] = None


def run_scoring(
    *,
    judge: Annotated[str | None, typer.Option(help="A stored judge, or a kind such as principle.")] = None,
    target: TargetOptions,
    overrides: JudgeOverrides,
    caps: BudgetCaps,
    retry_unscored: Annotated[
        bool, typer.Option("--retry-unscored", help="Also ask again what got no verdict before.")
    ] = False,
    mode: RunMode,
    as_json: JsonOption = False,
) -> None:
    """Let a judge score greetings. What is scored already is not asked again; unscored is not zero."""
    with open_services() as services:
        if mode.job is not None:
            sys.exit(run_job(services.database, mode.job, ScoringJob(services.scoring).play))
        if judge is None:
            raise UserError("Name a judge with --judge.", "请用 --judge 指定裁判。")
        judge_spec = _resolve_judge(services, judge, overrides)
        scoring_target = _select_target(services, target)
        request = ScoreRequest(judge_spec, scoring_target, retry_unscored, **caps.by_name())
        if mode.only_estimate:
            _print_estimate(services, request, as_json)
        elif mode.in_background:
            queued_job = services.scoring.submit(request)
            print_result(
                {"job": queued_job.id, "status": queued_job.status.value},
                as_json,
                lambda r: f"job {r['job']}",
            )
        else:
            _run_and_report(services, request, as_json)


def _resolve_judge(services: Services, judge_name: str, overrides: JudgeOverrides) -> JudgeSpec:
    return services.scoring.catalog.resolve(
        judge_name,
        overrides.endpoint,
        principles=read_principles(overrides.principles) if overrides.principles else None,
        path=str(overrides.artifact) if overrides.artifact else None,
        examples=overrides.examples,
        embeddings=overrides.embeddings,
    )


def _select_target(services: Services, target: TargetOptions) -> ScoringTarget:
    if [target.file, target.dataset, target.campaign].count(None) != 2:
        raise UserError(
            "Name exactly one of --file, --dataset and --campaign.",
            "请在 --file、--dataset、--campaign 中恰好指定一个。",
        )
    if target.campaign is not None:
        return ScoringTarget(TargetKind.CAMPAIGN, target.campaign)
    if target.file is not None:
        # Verdicts refer to stored greetings, so a file is imported before it is judged.
        return ScoringTarget(TargetKind.DATASET, services.corpus.import_file(target.file).dataset)
    return ScoringTarget(TargetKind.DATASET, str(target.dataset))


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
    # Progress goes to standard error, the result to standard output.
    final_progress = services.scoring.run(request, throttled_printer(ScoreProgress.summary_line))
    print_result(final_progress.plain(), as_json, lambda _: _format_progress(final_progress))
    if final_progress.state is ScoringRunState.FAILED:
        # The object holds the error already.
        if not as_json:
            print(f"error: {final_progress.error.en if final_progress.error else 'failed'}", file=sys.stderr)
        sys.exit(1)


def _format_progress(final_progress: ScoreProgress) -> str:
    warning_text = f"\nwarning: {final_progress.notice.en}" if final_progress.notice else ""
    judge_version = f"{final_progress.judge} {final_progress.version}"
    return f"{judge_version}: {final_progress.state}, {final_progress.summary_line()}{warning_text}"


COUNT_HEADINGS = {"n": "n", "never_asked": "never asked", "without_verdict": "no verdict", "ties": "ties"}
FIGURE_NAMES = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")
COLUMN_HEADINGS = COUNT_HEADINGS | {name: name for name in FIGURE_NAMES}


def agreement(
    reference: Annotated[str | None, typer.Option(help="Campaign or data set; default: the newest.")] = None,
    judge: Annotated[list[str] | None, typer.Option(help="Only these judges, beside the trivial ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Agreement of every judge with a human reference, and of the people among themselves."""
    with open_services() as services:
        board = services.board.board(reference, judge)
    agreement_fields: dict[str, Any] = {
        "reference": board.reference,
        "kind": board.kind,
        "items": board.items,
        "raters": board.raters,
        "alpha": board.alpha.ordinal.value,
        "alpha_n": board.alpha.items,
        "alpha_why": board.alpha.ordinal.why.en if board.alpha.ordinal.why else None,
        "judges": [flatten_judge_row(board_row) for board_row in board.rows],
        "models": [flatten_model_row(board_row, board.kind) for board_row in board.models],
    }
    # Only where a judge that ranks makes it the figure to look at.
    if board.within:
        agreement_fields["within_requests"] = [flatten_within_row(within_row) for within_row in board.within]
    print_result(agreement_fields, as_json, _format_agreement)


def _format_agreement(agreement_fields: dict[str, Any]) -> str:
    alpha_text = _format_number(agreement_fields["alpha"]) + (
        f" ({agreement_fields['alpha_why']})" if agreement_fields["alpha_why"] else ""
    )
    heading = (
        f"reference {agreement_fields['reference']}: {agreement_fields['items']} items, "
        f"{agreement_fields['raters']} raters, alpha {alpha_text} on {agreement_fields['alpha_n']}"
    )
    output_lines = [
        heading,
        "  ".join([f"{'judge':<14}", *(f"{column_name:>11}" for column_name in COLUMN_HEADINGS.values())]),
    ]
    for result_row in agreement_fields["judges"]:
        output_lines.append(
            "  ".join(
                [
                    f"{result_row['judge']:<14}",
                    *(f"{_format_number(result_row[column_name]):>11}" for column_name in COLUMN_HEADINGS),
                ]
            )
        )
        output_lines += [f"{'':<14}  {remark}" for remark in _judge_remarks(result_row)]
    for result_row in agreement_fields.get("within_requests", ()):
        reason_suffix = f" ({result_row['why']})" if result_row["why"] else ""
        output_lines.append(
            f"within requests, {result_row['judge']}: accuracy {_format_number(result_row['accuracy'])}{reason_suffix} "
            f"on {result_row['pairs']} pairs, {result_row['unscored']} unscored"
        )
    for result_row in agreement_fields["models"]:
        share_text = f"{result_row['measure']} {_format_number(result_row['share'])}"
        model_text = f"{result_row['model']} ({result_row['generator']}) by {result_row['by']}: {share_text}"
        count_text = f"n = {result_row['n']}, ties {result_row['ties']}, without an opinion {result_row['missing']}"
        reason_suffix = f" ({result_row['why']})" if result_row["why"] else ""
        output_lines.append(f"{model_text}{reason_suffix}, {count_text} (never asked {result_row['never_asked']})")
    return "\n".join(output_lines)


def _judge_remarks(judge_row: dict[str, Any]) -> list[str]:
    """What the line of a judge would hide: version, interval, figures on fewer items, missing figures."""
    remarks = (
        [f"version {judge_row['version'][:8]}, newer, but it has judged fewer items"] if judge_row["newer"] else []
    )
    if judge_row["spearman_low"] is not None:
        remarks.append(f"rho in [{judge_row['spearman_low']:.3f}, {judge_row['spearman_high']:.3f}] (95 %)")
    partial_figures = [
        f"{figure_name} on {judge_row[f'{figure_name}_n']}"
        for figure_name in FIGURE_NAMES
        # Length-matched figures rest on fewer items than the row, which its n would hide.
        if judge_row[figure_name] is not None and _has_other_count(judge_row, figure_name)
    ]
    if partial_figures:
        remarks.append(", ".join(partial_figures))
    # Few items withhold several figures for one reason, which is said once.
    names_by_reason: dict[str, list[str]] = {}
    for figure_name in FIGURE_NAMES:
        if judge_row[figure_name] is None:
            names_by_reason.setdefault(judge_row["why"].get(figure_name, ""), []).append(figure_name)
    return remarks + [
        f"no {', '.join(figure_names)}: {reason_text}" for reason_text, figure_names in names_by_reason.items()
    ]


def _has_other_count(judge_row: dict[str, Any], figure_name: str) -> bool:
    return judge_row[f"{figure_name}_n"] not in (None, judge_row["n"])


def _format_number(figure_value: Any) -> str:
    if figure_value is None:
        return "–"
    return f"{figure_value:.3f}" if isinstance(figure_value, float) else str(figure_value)
