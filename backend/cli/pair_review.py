"""What becomes of a run: list, pause, table, one pair in full, answers, decisions, and the ablations."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.agreement.board_values import flatten_judge_row
from backend.cli.output import JsonOption, print_listing, print_result
from backend.core.enums import PairStage, PairState
from backend.core.errors import UserError
from backend.judges.scoring.records import Opinion, RunEstimate
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.preferences.ablation import AblationRow
from backend.preferences.records import PairDetail, PairFilter, PairRunInfo, PairSide
from backend.runs.hold import RunHolder
from backend.services import open_services

PairArgument = Annotated[int, typer.Argument(metavar="N", help="Number of the pair.")]
RunOption = Annotated[str, typer.Option(help="The run, by number or name.")]


def register_commands(pairs_group: typer.Typer) -> None:
    """Add the commands to the group."""
    pairs_group.command("list")(list_runs)
    pairs_group.command("pause")(pause_run)
    pairs_group.command("table")(show_table)
    pairs_group.command("show")(show_pair)
    pairs_group.command("settle")(settle_pairs)
    pairs_group.command("ablate")(run_ablation)
    pairs_group.command("accept")(_build_command("accept", "Keep a pair as the judge decided it."))
    pairs_group.command("flip")(_build_command("flip", "Turn a pair: the refused greeting is the better one."))
    pairs_group.command("discard")(_build_command("discard", "Take a pair out of the run's data set."))


def list_runs(as_json: JsonOption = False) -> None:
    """Every run, the newest first."""
    with open_services() as services:
        run_rows = [_run_to_dict(pair_run) for pair_run in services.pairs.runs()]
    print_listing("runs", run_rows, as_json, _format_run, "There are no runs.")


def pause_run(run: RunOption, as_json: JsonOption = False) -> None:
    """Let a run stop after the calls in flight, whether a job plays it or a command."""
    with open_services() as services:
        run_fields = _run_to_dict(services.pairs.pause(services.pairs.find_run(run).id))
    print_result(run_fields, as_json, _format_run)


def show_table(
    run: RunOption,
    state: Annotated[PairState | None, typer.Option(help="Only pairs in this state.")] = None,
    search: Annotated[str, typer.Option(help="Only pairs with these words.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="After so many.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Pairs of a run, those that wait for a decision first."""
    with open_services() as services:
        pair_run = services.pairs.find_run(run)
        pair_page = services.pairs.pair_page(pair_run.id, PairFilter(state=state, search=search), offset, limit)
    pair_rows = [
        {
            "pair": pair_row.id,
            "prompt": pair_row.prompt,
            "chosen": pair_row.chosen,
            "rejected": pair_row.rejected,
            "difference": pair_row.difference,
            "state": pair_row.state.value,
            "by": pair_row.by.value,
            "overturned": pair_row.overturned,
        }
        for pair_row in pair_page.rows
    ]
    print_result({"run": pair_run.id, "total": pair_page.total, "pairs": pair_rows}, as_json, _format_table)


def show_pair(pair_id: PairArgument, as_json: JsonOption = False) -> None:
    """One pair: where it comes from, both debates, and who decided."""
    with open_services() as services:
        pair_fields = _pair_to_dict(services.pairs.pair_detail(pair_id))
    print_result(pair_fields, as_json, _format_pair)


def settle_pairs(run: RunOption, as_json: JsonOption = False) -> None:
    """Let people's complete answers decide the pairs that wait for them."""
    with open_services() as services:
        pair_run = services.pairs.find_run(run)
        moved_count = services.pairs.settle(pair_run.id)
        settle_fields = {
            "run": pair_run.id,
            "moved": moved_count,
            "states": services.pairs.funnel(pair_run.id).states,
        }
    print_result(settle_fields, as_json, lambda r: f"{r['moved']} pairs decided; now: {r['states']}")


def run_ablation(
    dataset: Annotated[str | None, typer.Option(help="Labelled data set to compare on.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Validate campaign to compare on.")] = None,
    judge: Annotated[str, typer.Option(help="A stored panel, or the kind itself.")] = "panel",
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    # For each: a common cap would leave the last variants half judged, and the table would compare them all
    # the same.
    max_cost: Annotated[float | None, typer.Option(min=0, help="Cap on the cost of each variant.")] = None,
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    in_background: Annotated[bool, typer.Option("--background", help="Queue one job a variant.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The panel without each of its agents, beside human labels. What is scored is not asked again."""
    # Labels of two references would be mixed into one figure.
    if (dataset is None) == (campaign is None):
        raise UserError(
            "Name exactly one of --dataset and --campaign.", "请在 --dataset 和 --campaign 中恰好指定一个。"
        )
    target_kind = TargetKind.DATASET if campaign is None else TargetKind.CAMPAIGN
    scoring_target = ScoringTarget(target_kind, dataset or campaign or "")
    with open_services() as services:
        judge_spec = services.scoring.catalog.resolve(judge, endpoint)
        if only_estimate:
            ablation_fields = _estimate_to_dict(scoring_target, services.ablation.estimate(judge_spec, scoring_target))
            print_result(ablation_fields, as_json, lambda r: f"about {r['calls']} calls, cost {r['cost']:.4f}")
        elif in_background:
            job_ids = [queued_job.id for queued_job in services.ablation.submit(judge_spec, scoring_target, max_cost)]
            print_result({"reference": scoring_target.name, "jobs": job_ids}, as_json, lambda r: f"jobs {r['jobs']}")
        else:
            # The table is computed from all verdicts there are, those of earlier runs as well.
            finished_runs = services.ablation.run(judge_spec, scoring_target, max_cost)
            ablation_rows = services.ablation.table(judge_spec, scoring_target.name)
            ablation_fields = {
                "reference": scoring_target.name,
                "judge": judge_spec.name,
                "states": [finished_run.state.value for finished_run in finished_runs],
                "calls": sum(finished_run.calls for finished_run in finished_runs),
                "cost": sum(finished_run.cost for finished_run in finished_runs),
                "rows": [
                    {"off": ablation_row.off or None, **flatten_judge_row(ablation_row.figures)}
                    for ablation_row in ablation_rows
                ],
            }
            print_result(ablation_fields, as_json, lambda _: "\n".join(map(_format_ablation, ablation_rows)))


def _estimate_to_dict(scoring_target: ScoringTarget, variant_estimates: list[RunEstimate]) -> dict[str, Any]:
    return {
        "reference": scoring_target.name,
        "estimate": True,
        "calls": sum(variant_estimate.calls for variant_estimate in variant_estimates),
        "tokens": sum(variant_estimate.tokens for variant_estimate in variant_estimates),
        "cost": sum(variant_estimate.cost for variant_estimate in variant_estimates),
        "seconds": sum(variant_estimate.seconds for variant_estimate in variant_estimates),
    }


def _format_ablation(ablation_row: AblationRow) -> str:
    figures = ablation_row.figures
    figure_texts = [
        f"{figure_name} – ({figure.why.en if figure.why else ''})"
        if figure.value is None
        # Named where a figure rests on fewer items than its row says.
        else f"{figure_name} {figure.value:.3f}" + (f" (n {figure.n})" if figure.n != figures.n else "")
        for figure_name in ("accuracy", "kappa", "auc", "matched_auc")
        for figure in [getattr(figures, figure_name)]
    ]
    panel_text = f"without {ablation_row.off}" if ablation_row.off else "whole panel"
    count_text = f"n {figures.n:>6}  unscored {figures.unscored:>5} (never asked {figures.never_asked})"
    return f"{panel_text:<17}  {count_text}  {'  '.join(figure_texts)}"


def _build_command(decision_action: str, help_text: str) -> Any:
    def command(
        pair_id: PairArgument,
        name: Annotated[str, typer.Option(help="Who decides.")] = "",
        note: Annotated[str, typer.Option(help="Why.")] = "",
        as_json: JsonOption = False,
    ) -> None:
        with open_services() as services:
            pair_fields = _pair_to_dict(services.pairs.decide(pair_id, decision_action, name, note))
        print_result(pair_fields, as_json, lambda r: f"pair {r['pair']} is {r['state']}")

    # Typer takes the help of a command from there.
    command.__doc__ = help_text
    return command


def _run_to_dict(pair_run: PairRunInfo) -> dict[str, Any]:
    balance_after = pair_run.report.after if pair_run.report else None
    return {
        "run": pair_run.id,
        "name": pair_run.name,
        "stage": pair_run.stage.value,
        "job": pair_run.job,
        "playing": _holder_to_dict(pair_run.playing),
        "judge": pair_run.request.judge.name,
        "version": pair_run.judge_version,
        "generators": list(pair_run.request.plan.generators),
        "pairs": balance_after.pairs if balance_after else None,
        "length_accuracy": balance_after.length if balance_after else None,
        "style_accuracy": balance_after.style if balance_after else None,
        "calls": pair_run.calls,
        "cost": pair_run.cost,
        "created_at": pair_run.created_at.isoformat(),
        "finished_at": pair_run.finished_at.isoformat() if pair_run.finished_at else None,
    }


def _holder_to_dict(run_holder: RunHolder | None) -> dict[str, Any] | None:
    return asdict(run_holder) if run_holder else None


def _format_run(run_fields: dict[str, Any]) -> str:
    # Pairs are counted when the last stage is over; until then the stage says more.
    pairs_text = f"{run_fields['pairs']} pairs" if run_fields["stage"] == PairStage.DONE else run_fields["stage"]
    return f"{run_fields['run']:>4}  {run_fields['name']:<24}  {pairs_text}{_format_holder(run_fields['playing'])}"


def _format_holder(holder_fields: dict[str, Any] | None) -> str:
    if holder_fields is None:
        return ""
    stopping_note = ", asked to stop" if holder_fields["stopping"] else ""
    return f"  (played by process {holder_fields['pid']} on {holder_fields['host']}{stopping_note})"


def _format_table(table_fields: dict[str, Any]) -> str:
    table_lines = [
        f"{pair_row['pair']:>6}  {pair_row['state']:<9}  {pair_row['prompt']}  "
        f"{pair_row['chosen']}  >  {pair_row['rejected']}"
        for pair_row in table_fields["pairs"]
    ]
    return "\n".join([*table_lines, f"{table_fields['total']} pairs"])


def _pair_to_dict(pair_detail: PairDetail) -> dict[str, Any]:
    return {
        "pair": pair_detail.id,
        "run": pair_detail.run,
        "playing": _holder_to_dict(pair_detail.playing),
        "prompt": pair_detail.prompt,
        "state": pair_detail.state.value,
        "difference": pair_detail.difference,
        "judge": pair_detail.judge,
        "version": pair_detail.judge_version,
        "second_judge": pair_detail.second_judge or None,
        "second_version": pair_detail.second_version or None,
        "prompts": dict(pair_detail.prompts),
        "chosen": _candidate_to_dict(pair_detail.chosen),
        "rejected": _candidate_to_dict(pair_detail.rejected),
        "decisions": [
            {
                "state": decision.state.value,
                "by": decision.by.value,
                "name": decision.name,
                "note": decision.note,
                "at": decision.at.isoformat(),
            }
            for decision in pair_detail.decisions
        ],
    }


def _candidate_to_dict(candidate: PairSide) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "generator": candidate.generator,
        "model": candidate.model,
        "recipe": dict(candidate.recipe),
        "call": candidate.call_id,
        "value": candidate.value,
        "reason": candidate.reason,
        "details": {
            # Whole replies are long, and stand in the ledger under the call.
            detail_name: detail_value
            for detail_name, detail_value in candidate.details.items()
            if detail_name != "raw"
        },
        "people": list(candidate.people),
        "again": _second_opinion_to_dict(candidate.again) if candidate.again else None,
    }


def _format_pair(pair_fields: dict[str, Any]) -> str:
    run_text = f"run {pair_fields['run']}{_format_holder(pair_fields['playing'])}"
    output_lines = [
        f"pair {pair_fields['pair']} of {run_text}: {pair_fields['state']}",
        f"request: {pair_fields['prompt']}",
    ]
    for candidate_role in ("chosen", "rejected"):
        output_lines += [
            "",
            f"{candidate_role}: {pair_fields[candidate_role]['text']}",
            *_format_candidate(pair_fields[candidate_role]),
        ]
    judge_texts = [f"judge {pair_fields['judge']} {pair_fields['version']}"]
    judge_texts += (
        [f"second judge {pair_fields['second_judge']} {pair_fields['second_version']}"]
        if pair_fields["second_judge"]
        else []
    )
    history_lines = [
        f"  {decision['at'][:16]} {decision['by']} {decision['name']}: {decision['state']} {decision['note']}"
        for decision in pair_fields["decisions"]
    ]
    return "\n".join([*output_lines, "", "; ".join(judge_texts), *history_lines])


def _format_candidate(candidate_fields: dict[str, Any]) -> list[str]:
    debate_details, recipe = candidate_fields["details"], candidate_fields["recipe"]
    recipe_text = ", ".join(f"{entry_name} {entry_value}" for entry_name, entry_value in recipe.items())
    output_lines = [f"  written by {candidate_fields['generator']} ({recipe_text}), call {candidate_fields['call']}"]
    output_lines += [
        f"  {entry_name}: {debate_remark}"
        for entry_name in ("merits", "faults")
        for debate_remark in debate_details.get(entry_name, ())
    ]
    for entry_name in ("first", "final"):
        if entry_name in debate_details:
            agent_verdict = debate_details[entry_name]
            output_lines.append(
                f"  {entry_name} verdict: {agent_verdict['verdict']} {agent_verdict.get('explanation', '')}"
            )
    output_lines.append(
        f"  verdict: {candidate_fields['value']}" + (", overturned" if debate_details.get("overturned") else "")
    )
    if candidate_fields["again"]:
        output_lines.append(
            f"  second opinion: {candidate_fields['again']['value']} {candidate_fields['again']['reason']}"
        )
    if candidate_fields["people"]:
        output_lines.append(f"  people: {candidate_fields['people']}")
    return output_lines


def _second_opinion_to_dict(second_opinion: Opinion) -> dict[str, Any]:
    return {
        "value": second_opinion.value,
        "reason": second_opinion.reason,
        "calls": list(second_opinion.details.get("calls", ())),
    }
