"""`pairs`: from prompts to preference pairs; here, in the background, or as the job of that number."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.cli import pair_review
from backend.cli.option_groups import BudgetCaps, RunMode, with_option_groups
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

# click gives an option one value; this one takes all words that follow it.
MULTI_WORD_OPTION = "--generators"
SAME_JUDGE, NO_SECOND_JUDGE = "again", "none"


@dataclass(frozen=True)
class WriterOptions:
    """What goes in, who writes, who judges, and what the run is called."""

    prompts: Annotated[str | None, typer.Option(help="A file of requests, or a data set.")] = None
    generators: Annotated[
        str | None, typer.Option(metavar="E …", help="Endpoints or artifacts that write, by name.")
    ] = None
    judge: Annotated[str, typer.Option(help="A stored judge, or a kind such as panel.")] = "panel"
    candidates: Annotated[int, typer.Option(help="Candidates a prompt.")] = 4
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that the judge asks.")] = None
    name: Annotated[str, typer.Option(help="Name of the run and of its data set.")] = ""


@dataclass(frozen=True)
class PairingOptions:
    """How candidates are asked for and become pairs."""

    way: Annotated[PairingMode, typer.Option(help="Which candidates of a prompt become pairs.")] = PairingMode.ALL
    temperatures: Annotated[str, typer.Option(help="Temperatures to write with, by commas.")] = "0.7,1.0"
    use_examples: Annotated[
        bool | None, typer.Option("--examples/--no-examples", help="Write with examples only, or without.")
    ] = None
    free_length: Annotated[bool, typer.Option("--free-length", help="Never ask for a shorter or longer greeting.")] = (
        False
    )
    unbalanced: Annotated[bool, typer.Option("--unbalanced", help="Leave length and style as they are.")] = False
    second: Annotated[
        str,
        typer.Option(
            help="Who judges once more what balance keeps against the odds: a judge, again (the same one), none."
        ),
    ] = SAME_JUDGE


@dataclass(frozen=True)
class PanelSwitches:
    """Which agents of a panel take part."""

    use_positive: Annotated[bool, typer.Option("--positive/--no-positive", help="The agent that praises.")] = True
    use_negative: Annotated[bool, typer.Option("--negative/--no-negative", help="The agent that blames.")] = True
    use_judging: Annotated[bool, typer.Option("--judging/--no-judging", help="The agent that judges first.")] = True
    use_reflection: Annotated[bool, typer.Option("--reflect/--no-reflect", help="The agent that reviews.")] = True

    def disabled_agents(self) -> list[str]:
        """The agents that are switched off, as a judge's settings name them."""
        switches = {
            "positive": self.use_positive,
            "negative": self.use_negative,
            "judge": self.use_judging,
            "reflect": self.use_reflection,
        }
        return [agent_name for agent_name, is_enabled in switches.items() if not is_enabled]


@dataclass(frozen=True)
class CheckOptions:
    """What people see of the pairs, how many requests are taken, and the seed of the run."""

    check: Annotated[float, typer.Option(help="Share of the pairs that people see before use.")] = 0.05
    raters: Annotated[int, typer.Option(help="People who see each of their greetings.")] = 2
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many requests.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of writing and sampling.")] = 0


class _PairsGroup(TyperGroup):
    """`--generators A B C` takes every word up to the next option or subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if MULTI_WORD_OPTION in args:
            value_start = args.index(MULTI_WORD_OPTION) + 1
            value_end = value_start
            while (
                # A word that is a command ends the list too, or it would be taken for a generator.
                value_end < len(args) and not args[value_end].startswith("-") and args[value_end] not in self.commands
            ):
                value_end += 1
            args = (
                [*args[:value_start], ",".join(args[value_start:value_end]), *args[value_end:]]
                # Without a word behind it the arguments stay as they are, and click says what is missing.
                if value_end > value_start
                else args
            )
        return super().parse_args(ctx, args)


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    pairs_group = typer.Typer(
        cls=_PairsGroup, help="Preference pairs from prompts: candidates, debate, balance, review."
    )
    pairs_group.callback(invoke_without_command=True)(with_option_groups(generate_pairs))
    pairs_group.command("resume")(resume_run)
    pair_review.register_commands(pairs_group)
    cli_app.add_typer(pairs_group, name="pairs")


def generate_pairs(
    cli_context: typer.Context,
    writers: WriterOptions,
    pairing: PairingOptions,
    panel: PanelSwitches,
    checks: CheckOptions,
    caps: BudgetCaps,
    mode: RunMode,
    as_json: JsonOption = False,
) -> None:
    """Write candidates for requests, let a judge debate them, and pair accepted with refused ones."""
    # The callback of a group runs before every command of it as well.
    if cli_context.invoked_subcommand is not None:
        return
    with open_services() as services:
        if mode.job is not None:
            # A worker starts this very command, whose exit code tells it how the job ended.
            sys.exit(run_job(services.database, mode.job, services.pairs.play_job))
        if not writers.prompts or not writers.generators:
            raise UserError(
                "Name the requests with --prompts and who writes with --generators.",
                "请用 --prompts 指定请求，用 --generators 指定写作模型。",
            )
        judge_spec = services.scoring.catalog.resolve(writers.judge, writers.endpoint)
        judge_spec = without_agents(judge_spec, panel.disabled_agents())
        is_balanced = not pairing.unbalanced
        request = PairRequest(
            source=source_named(writers.prompts, checks.limit),
            plan=_candidate_plan(writers, pairing),
            judge=judge_spec,
            # A second opinion is about what balance keeps against the odds, so without balance there is
            # nothing to ask.
            second=_second_judge(services, judge_spec, pairing.second, writers.endpoint) if is_balanced else None,
            name=writers.name,
            way=pairing.way,
            balance_length=is_balanced,
            balance_style=is_balanced,
            checking=HumanChecking(checks.check, checks.raters),
            seed=checks.seed,
            **caps.by_name(),
        )
        if mode.only_estimate:
            _print_estimate(services, request, as_json)
        elif mode.in_background:
            _queue_and_print(services, request, as_json)
        else:
            _run_and_report(services, services.pairs.open(request), as_json)


def _candidate_plan(writers: WriterOptions, pairing: PairingOptions) -> CandidatePlan:
    generator_names = (generator_name.strip() for generator_name in str(writers.generators).split(","))
    return CandidatePlan(
        tuple(filter(None, generator_names)),
        writers.candidates,
        _parse_temperatures(pairing.temperatures),
        (False, True) if pairing.use_examples is None else (pairing.use_examples,),
        (RequestedLength.FREE,) if pairing.free_length else tuple(RequestedLength),
    )


def _queue_and_print(services: Services, request: PairRequest, as_json: bool) -> None:
    created_run, queued_job = services.pairs.submit(request)
    job_fields = {
        "run": created_run.id,
        "name": created_run.name,
        "job": queued_job.id,
        "status": queued_job.status.value,
    }
    print_result(job_fields, as_json, lambda r: f"run {r['run']} “{r['name']}” is job {r['job']}")


def resume_run(
    run: RunOption,
    max_cost: Annotated[float | None, typer.Option(min=0, help="New cap on costs.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="New cap on calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="New cap on tokens.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that stopped early, was killed, or used up its budget."""
    with open_services() as services:
        # Caps first: a run whose budget is used up would end again at its first call.
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
    # Nobody waits for an answer here, so a lock is waited for as long as in a job.
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
        f"{result_fields['prompts']} requests → {result_fields['kept_prompts']} kept → "
        f"{result_fields['candidates']} candidates → {result_fields['debated']} debated → "
        f"{result_fields['kept']} kept → {result_fields['possible']} possible pairs → {result_fields['pairs']} pairs",
    ]
    # Shown with every result: a pair that length gives away teaches length.
    if result_fields["length_accuracy"] is not None:
        style_text = "–" if result_fields["style_accuracy"] is None else f"{result_fields['style_accuracy']:.3f}"
        output_lines.append(f"length alone tells {result_fields['length_accuracy']:.3f}, style {style_text}")
    output_lines += [remark for remark in (result_fields["few"], result_fields["style_unsaid"]) if remark]
    if result_fields["notice"]:
        output_lines.append(f"warning: {result_fields['notice']}")
    output_lines += [f"  {reason_name}: {drop_count}" for reason_name, drop_count in result_fields["dropped"].items()]
    if waiting_count := result_fields["states"].get(PairState.CHECKING, 0):
        output_lines.append(f"{waiting_count} pairs wait for people in the campaign “{result_fields['campaign']}”")
    # Only these can go on as they are; a failed run says in its error what to mend first.
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
