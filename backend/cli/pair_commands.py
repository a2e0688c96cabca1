"""`pairs`: from prompts to preference pairs; here, in the background, or as the job of that number."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.cli import pair_review
from backend.cli.output import JsonOption, print_result, throttled_printer
from backend.cli.pair_review import RunOption
from backend.core.enums import PairState
from backend.core.errors import UserError
from backend.judges.base import JudgeSpec
from backend.judges.scoring.records import ScoringRunState, format_duration
from backend.preferences.ablation import without_agents
from backend.preferences.emit import redrawn_judge
from backend.preferences.intake import source_named
from backend.preferences.pairing import PairingMode
from backend.preferences.plan import CandidatePlan, RequestedLength
from backend.preferences.records import HumanChecking, PairProgress, PairRequest, PairRunInfo
from backend.runs.attempt import run_job
from backend.services import Services, open_services

MULTI_WORD_OPTION = "--generators"
SAME_JUDGE, NO_SECOND_JUDGE = "again", "none"


PromptsOption = Annotated[str | None, typer.Option(help="A file of requests, or a data set.")]
GeneratorsOption = Annotated[
    str | None, typer.Option(metavar="E …", help="Endpoints or artifacts that write, by name.")
]
JudgeOption = Annotated[str, typer.Option(help="A stored judge, or a kind such as panel.")]
CandidatesOption = Annotated[int, typer.Option(help="Candidates a prompt.")]
EndpointOption = Annotated[str | None, typer.Option(help="Endpoint that the judge asks.")]
NameOption = Annotated[str, typer.Option(help="Name of the run and of its data set.")]
WayOption = Annotated[PairingMode, typer.Option(help="Which candidates of a prompt become pairs.")]
TemperaturesOption = Annotated[str, typer.Option(help="Temperatures to write with, by commas.")]
ExamplesOption = Annotated[
    bool | None, typer.Option("--examples/--no-examples", help="Write with examples only, or without.")
]
FreeLengthOption = Annotated[bool, typer.Option("--free-length", help="Never ask for a shorter or longer greeting.")]
UnbalancedOption = Annotated[bool, typer.Option("--unbalanced", help="Leave length and style as they are.")]
SecondJudgeOption = Annotated[
    str,
    typer.Option(help="Who judges once more what balance keeps against the odds: a judge, again (the same one), none."),
]
PositiveOption = Annotated[bool, typer.Option("--positive/--no-positive", help="The agent that praises.")]
NegativeOption = Annotated[bool, typer.Option("--negative/--no-negative", help="The agent that blames.")]
JudgingOption = Annotated[bool, typer.Option("--judging/--no-judging", help="The agent that judges first.")]
ReflectOption = Annotated[bool, typer.Option("--reflect/--no-reflect", help="The agent that reviews.")]
CheckOption = Annotated[float, typer.Option(help="Share of the pairs that people see before use.")]
RatersOption = Annotated[int, typer.Option(help="People who see each of their greetings.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first so many requests.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of writing and sampling.")]
MaxCostOption = Annotated[float | None, typer.Option(min=0, help="End when this much is spent.")]
MaxCallsOption = Annotated[int | None, typer.Option(min=0, help="End after so many calls.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=0, help="End after so many tokens.")]
EstimateOption = Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")]
BackgroundOption = Annotated[bool, typer.Option("--background", help="Queue it as a job.")]
JobOption = Annotated[int | None, typer.Option(help="Run this queued job (for workers).")]


class _PairsGroup(TyperGroup):
    """`--generators A B C` takes every word up to the next option or subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if MULTI_WORD_OPTION in args:
            value_start = args.index(MULTI_WORD_OPTION) + 1
            value_end = value_start
            while (
                value_end < len(args) and not args[value_end].startswith("-") and args[value_end] not in self.commands
            ):
                value_end += 1
            args = (
                [*args[:value_start], ",".join(args[value_start:value_end]), *args[value_end:]]
                if value_end > value_start
                else args
            )
        return super().parse_args(ctx, args)


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    pairs_group = typer.Typer(
        cls=_PairsGroup, help="Preference pairs from prompts: candidates, debate, balance, review."
    )
    pairs_group.callback(invoke_without_command=True)(generate_pairs)
    pairs_group.command("resume")(resume_run)
    pair_review.register_commands(pairs_group)
    cli_app.add_typer(pairs_group, name="pairs")


def generate_pairs(
    cli_context: typer.Context,
    prompts: PromptsOption = None,
    generators: GeneratorsOption = None,
    judge: JudgeOption = "panel",
    candidates: CandidatesOption = 4,
    endpoint: EndpointOption = None,
    name: NameOption = "",
    way: WayOption = PairingMode.ALL,
    temperatures: TemperaturesOption = "0.7,1.0",
    use_examples: ExamplesOption = None,
    free_length: FreeLengthOption = False,
    unbalanced: UnbalancedOption = False,
    second: SecondJudgeOption = SAME_JUDGE,
    use_positive: PositiveOption = True,
    use_negative: NegativeOption = True,
    use_judging: JudgingOption = True,
    use_reflection: ReflectOption = True,
    check: CheckOption = 0.05,
    raters: RatersOption = 2,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    max_cost: MaxCostOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    only_estimate: EstimateOption = False,
    in_background: BackgroundOption = False,
    job: JobOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write candidates for requests, let a judge debate them, and pair accepted with refused ones."""
    if cli_context.invoked_subcommand is not None:
        return
    with open_services() as services:
        if job is not None:
            sys.exit(run_job(services.database, job, services.pairs.play_job))
        if not prompts or not generators:
            raise UserError(
                "Name the requests with --prompts and who writes with --generators.",
                "请用 --prompts 指定请求，用 --generators 指定写作模型。",
            )
        agent_switches = {
            "positive": use_positive,
            "negative": use_negative,
            "judge": use_judging,
            "reflect": use_reflection,
        }
        disabled_agents = [agent_role for agent_role, enabled in agent_switches.items() if not enabled]
        judge_spec = without_agents(services.scoring.catalog.resolve(judge, endpoint), disabled_agents)
        request = PairRequest(
            source=source_named(prompts, limit),
            plan=CandidatePlan(
                tuple(generator_name.strip() for generator_name in generators.split(",") if generator_name.strip()),
                candidates,
                _parse_temperatures(temperatures),
                (False, True) if use_examples is None else (use_examples,),
                (RequestedLength.FREE,) if free_length else tuple(RequestedLength),
            ),
            judge=judge_spec,
            second=None if unbalanced else _second_judge(services, judge_spec, second, endpoint),
            name=name,
            way=way,
            balance_length=not unbalanced,
            balance_style=not unbalanced,
            checking=HumanChecking(check, raters),
            seed=seed,
            max_calls=max_calls,
            max_tokens=max_tokens,
            max_cost=max_cost,
        )
        if only_estimate:
            _print_estimate(services, request, as_json)
        elif in_background:
            created_run, queued_job = services.pairs.submit(request)
            job_fields = {
                "run": created_run.id,
                "name": created_run.name,
                "job": queued_job.id,
                "status": queued_job.status.value,
            }
            print_result(job_fields, as_json, lambda r: f"run {r['run']} “{r['name']}” is job {r['job']}")
        else:
            _run_and_report(services, services.pairs.open(request), as_json)


def resume_run(
    run: RunOption,
    max_cost: Annotated[float | None, typer.Option(min=0, help="New cap on costs.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="New cap on calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="New cap on tokens.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that stopped early, was killed, or used up its budget."""
    with open_services() as services:
        existing_run = services.pairs.find_run(run)
        budget_caps = {"max_cost": max_cost, "max_calls": max_calls, "max_tokens": max_tokens}
        _run_and_report(services, services.pairs.update_caps(existing_run.id, **budget_caps), as_json)


def _print_estimate(services: Services, request: PairRequest, as_json: bool) -> None:
    run_estimate = services.pairs.estimate(request)
    estimate_fields: dict[str, Any] = {
        "estimate": True,
        "prompts": run_estimate.prompts,
        "kept": run_estimate.kept,
        "dropped": {f"prompt_{reason_name}": drop_count for reason_name, drop_count in run_estimate.lost.items()},
        "candidates": run_estimate.candidates,
        "calls": run_estimate.calls,
        "tokens": run_estimate.tokens,
        "cost": run_estimate.cost,
        "seconds": run_estimate.seconds,
    }
    print_result(
        estimate_fields,
        as_json,
        lambda r: (
            f"{r['kept']} of {r['prompts']} requests pass: {r['candidates']} candidates, about "
            f"{r['calls']} calls, {r['tokens']} tokens, cost {r['cost']:.4f}, {format_duration(r['seconds'])}"
        ),
    )


def _run_and_report(services: Services, pair_run: PairRunInfo, as_json: bool) -> None:
    services.database.wait_patiently()
    final_progress = services.pairs.run(pair_run.id, throttled_printer(PairProgress.line))
    print_result(_result_to_dict(services, final_progress), as_json, _format_result)


def _result_to_dict(services: Services, final_progress: PairProgress) -> dict[str, Any]:
    pair_run, funnel = services.pairs.find_run(final_progress.run), services.pairs.funnel(final_progress.run)
    balance_after = pair_run.report.after if pair_run.report else None
    return {
        "run": pair_run.id,
        "name": pair_run.name,
        "dataset": pair_run.name,
        "state": final_progress.state.value,
        "stage": pair_run.stage.value,
        "prompts": funnel.prompts,
        "kept_prompts": funnel.kept_prompts,
        "exact_chars": funnel.exact_chars,
        "candidates": funnel.candidates,
        "debated": funnel.debated,
        "judged": funnel.judged,
        "kept": funnel.kept,
        "possible": funnel.possible,
        "pairs": funnel.pairs,
        "states": funnel.states,
        "dropped": funnel.dropped,
        "length_accuracy": balance_after.length if balance_after else None,
        "style_accuracy": balance_after.style if balance_after else None,
        "style_unsaid": balance_after.missing_style_notice.en
        if balance_after and balance_after.missing_style_notice
        else None,
        "few": pair_run.report.sparse_notice.en if pair_run.report and pair_run.report.sparse_notice else None,
        "notice": funnel.notice.en if funnel.notice else None,
        "judge": pair_run.request.judge.name,
        "version": pair_run.judge_version,
        "campaign": pair_run.campaign,
        "calls": final_progress.calls,
        "tokens": final_progress.tokens,
        "cost": final_progress.cost,
        "seconds": final_progress.seconds,
        "error": final_progress.error.en if final_progress.error else None,
    }


def _format_result(result_fields: dict[str, Any]) -> str:
    output_lines = [
        f"run {result_fields['run']} “{result_fields['name']}”: {result_fields['state']}",
        f"{result_fields['prompts']} requests → {result_fields['kept_prompts']} kept → {result_fields['candidates']} candidates → "
        f"{result_fields['debated']} debated → {result_fields['kept']} kept → {result_fields['possible']} possible pairs → "
        f"{result_fields['pairs']} pairs",
    ]
    if result_fields["length_accuracy"] is not None:
        style_text = "–" if result_fields["style_accuracy"] is None else f"{result_fields['style_accuracy']:.3f}"
        output_lines.append(f"length alone tells {result_fields['length_accuracy']:.3f}, style {style_text}")
    output_lines += [remark for remark in (result_fields["few"], result_fields["style_unsaid"]) if remark]
    if result_fields["notice"]:
        output_lines.append(f"warning: {result_fields['notice']}")
    output_lines += [f"  {reason_name}: {drop_count}" for reason_name, drop_count in result_fields["dropped"].items()]
    if waiting_count := result_fields["states"].get(PairState.CHECKING, 0):
        output_lines.append(f"{waiting_count} pairs wait for people in the campaign “{result_fields['campaign']}”")
    if result_fields["state"] in (ScoringRunState.STOPPED, ScoringRunState.BUDGET):
        output_lines.append(f"go on with: pairs resume --run {result_fields['run']}")
    return "\n".join(output_lines)


def _second_judge(
    services: Services, judge_spec: JudgeSpec, judge_choice: str, endpoint: str | None
) -> JudgeSpec | None:
    if judge_choice == NO_SECOND_JUDGE:
        return None
    return (
        redrawn_judge(judge_spec)
        if judge_choice == SAME_JUDGE
        else services.scoring.catalog.resolve(judge_choice, endpoint)
    )


def _parse_temperatures(temperature_list: str) -> tuple[float, ...]:
    try:
        return tuple(float(number_text) for number_text in temperature_list.split(","))
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7,1.0.",
            "温度请写成用逗号隔开的数，例如 0.7,1.0。",
        ) from error
