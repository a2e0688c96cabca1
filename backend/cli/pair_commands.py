"""`pairs`: from prompts to preference pairs; here, in the background, or as the job of that number."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.agents.pairing import Way
from backend.agents.plan import Plan, Wished
from backend.cli import pair_review
from backend.cli.output import Json, emit, now_and_then
from backend.cli.pair_review import Run
from backend.errors import UserError
from backend.judges.spec import JudgeSpec
from backend.pairs.ablation import without
from backend.pairs.intake import source_of
from backend.pairs.job import run_job
from backend.pairs.records import (
    Checking,
    PairProgress,
    PairRequest,
    PairRunInfo,
)
from backend.pairs.second import again
from backend.pairs.vocabulary import PairState
from backend.scoring.records import RunState, clock
from backend.services import Services, open_services

MANY = "--generators"
AGAIN, NOBODY = "again", "none"


Prompts = Annotated[str | None, typer.Option(help="A file of requests, or a data set.")]
Generators = Annotated[
    str | None, typer.Option(metavar="E …", help="Endpoints or artifacts that write, by name.")
]
Judge = Annotated[str, typer.Option(help="A stored judge, or a kind such as panel.")]
Candidates = Annotated[int, typer.Option(help="Candidates a prompt.")]
Endpoint = Annotated[str | None, typer.Option(help="Endpoint that the judge asks.")]
Called = Annotated[str, typer.Option(help="Name of the run and of its data set.")]
Ways = Annotated[Way, typer.Option(help="Which candidates of a prompt become pairs.")]
Temperatures = Annotated[str, typer.Option(help="Temperatures to write with, by commas.")]
Shown = Annotated[
    bool | None, typer.Option("--examples/--no-examples", help="Write with examples only, or without.")
]
FreeLength = Annotated[
    bool, typer.Option("--free-length", help="Never ask for a shorter or longer greeting.")
]
Unbalanced = Annotated[bool, typer.Option("--unbalanced", help="Leave length and style as they are.")]
Second = Annotated[
    str,
    typer.Option(
        help="Who judges once more what balance keeps against the odds: a judge, again (the same one), none."
    ),
]
Praise = Annotated[bool, typer.Option("--positive/--no-positive", help="The agent that praises.")]
Blame = Annotated[bool, typer.Option("--negative/--no-negative", help="The agent that blames.")]
First = Annotated[bool, typer.Option("--judging/--no-judging", help="The agent that judges first.")]
Reviewer = Annotated[bool, typer.Option("--reflect/--no-reflect", help="The agent that reviews.")]
Check = Annotated[float, typer.Option(help="Share of the pairs that people see before use.")]
Raters = Annotated[int, typer.Option(help="People who see each of their greetings.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many requests.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of writing and sampling.")]
MaxCost = Annotated[float | None, typer.Option(min=0, help="End when this much is spent.")]
MaxCalls = Annotated[int | None, typer.Option(min=0, help="End after so many calls.")]
MaxTokens = Annotated[int | None, typer.Option(min=0, help="End after so many tokens.")]
Rough = Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")]
Background = Annotated[bool, typer.Option("--background", help="Queue it as a job.")]
JobNumber = Annotated[int | None, typer.Option(help="Run this queued job (for workers).")]


class _Group(TyperGroup):
    """`--generators A B C` takes every word up to the next option or subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if MANY in args:
            start = args.index(MANY) + 1
            end = start
            while end < len(args) and not args[end].startswith("-") and args[end] not in self.commands:
                end += 1
            args = [*args[:start], ",".join(args[start:end]), *args[end:]] if end > start else args
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    pairs = typer.Typer(
        cls=_Group, help="Preference pairs from prompts: candidates, debate, balance, review."
    )
    pairs.callback(invoke_without_command=True)(run)
    pairs.command("resume")(resume)
    pair_review.add(pairs)
    app.add_typer(pairs, name="pairs")


def run(
    context: typer.Context,
    prompts: Prompts = None,
    generators: Generators = None,
    judge: Judge = "panel",
    candidates: Candidates = 4,
    endpoint: Endpoint = None,
    name: Called = "",
    way: Ways = Way.ALL,
    temperatures: Temperatures = "0.7,1.0",
    examples: Shown = None,
    free_length: FreeLength = False,
    unbalanced: Unbalanced = False,
    second: Second = AGAIN,
    positive: Praise = True,
    negative: Blame = True,
    judging: First = True,
    reflect: Reviewer = True,
    check: Check = 0.05,
    raters: Raters = 2,
    limit: Limit = None,
    seed: Seed = 0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    estimate: Rough = False,
    background: Background = False,
    job: JobNumber = None,
    as_json: Json = False,
) -> None:
    """Write candidates for requests, let a judge debate them, and pair accepted with refused ones."""
    if context.invoked_subcommand is not None:
        return
    with open_services() as services:
        if job is not None:
            sys.exit(run_job(services.database, services.jobs, services.pairs, job))
        if not prompts or not generators:
            raise UserError(
                "Name the requests with --prompts and who writes with --generators.",
                "请用 --prompts 指定请求，用 --generators 指定写作模型。",
            )
        heard = {"positive": positive, "negative": negative, "judge": judging, "reflect": reflect}
        off = [role for role, on in heard.items() if not on]
        labels = without(services.scoring.catalog.resolve(judge, endpoint), off)
        request = PairRequest(
            source=source_of(prompts, limit),
            plan=Plan(
                tuple(one.strip() for one in generators.split(",") if one.strip()),
                candidates,
                _numbers(temperatures),
                (False, True) if examples is None else (examples,),
                (Wished.FREE,) if free_length else tuple(Wished),
            ),
            judge=labels,
            second=None if unbalanced else _second(services, labels, second, endpoint),
            name=name,
            way=way,
            balance_length=not unbalanced,
            balance_style=not unbalanced,
            checking=Checking(check, raters),
            seed=seed,
            max_calls=max_calls,
            max_tokens=max_tokens,
            max_cost=max_cost,
        )
        if estimate:
            _estimate(services, request, as_json)
        elif background:
            made, queued = services.pairs.submit(request)
            result = {"run": made.id, "name": made.name, "job": queued.id, "status": queued.status.value}
            emit(result, as_json, lambda r: f"run {r['run']} “{r['name']}” is job {r['job']}")
        else:
            _work(services, services.pairs.open(request), as_json)


def resume(
    run: Run,
    max_cost: Annotated[float | None, typer.Option(min=0, help="New cap on costs.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="New cap on calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="New cap on tokens.")] = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that stopped early, was killed, or used up its budget."""
    with open_services() as services:
        found = services.pairs.one(run)
        caps = {"max_cost": max_cost, "max_calls": max_calls, "max_tokens": max_tokens}
        _work(services, services.pairs.recapped(found.id, **caps), as_json)


def _estimate(services: Services, request: PairRequest, as_json: bool) -> None:
    rough = services.pairs.estimate(request)
    result: dict[str, Any] = {
        "estimate": True,
        "prompts": rough.prompts,
        "kept": rough.kept,
        "dropped": {f"prompt_{name}": count for name, count in rough.lost.items()},
        "candidates": rough.candidates,
        "calls": rough.calls,
        "tokens": rough.tokens,
        "cost": rough.cost,
        "seconds": rough.seconds,
    }
    emit(
        result,
        as_json,
        lambda r: (
            f"{r['kept']} of {r['prompts']} requests pass: {r['candidates']} candidates, about "
            f"{r['calls']} calls, {r['tokens']} tokens, cost {r['cost']:.4f}, {clock(r['seconds'])}"
        ),
    )


def _work(services: Services, run: PairRunInfo, as_json: bool) -> None:
    services.database.be_patient()
    final = services.pairs.run(run.id, now_and_then(PairProgress.line))
    emit(_result(services, final), as_json, _result_lines)


def _result(services: Services, final: PairProgress) -> dict[str, Any]:
    run, funnel = services.pairs.one(final.run), services.pairs.funnel(final.run)
    after = run.report.after if run.report else None
    return {
        "run": run.id,
        "name": run.name,
        "dataset": run.name,
        "state": final.state.value,
        "stage": run.stage.value,
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
        "length_accuracy": after.length if after else None,
        "style_accuracy": after.style if after else None,
        "style_unsaid": after.unsaid.en if after and after.unsaid else None,
        "few": run.report.thin.en if run.report and run.report.thin else None,
        "notice": funnel.notice.en if funnel.notice else None,
        "judge": run.request.judge.name,
        "version": run.judge_version,
        "campaign": run.campaign,
        "calls": final.calls,
        "tokens": final.tokens,
        "cost": final.cost,
        "seconds": final.seconds,
        "error": final.error.en if final.error else None,
    }


def _result_lines(result: dict[str, Any]) -> str:
    lines = [
        f"run {result['run']} “{result['name']}”: {result['state']}",
        f"{result['prompts']} requests → {result['kept_prompts']} kept → {result['candidates']} candidates → "
        f"{result['debated']} debated → {result['kept']} kept → {result['possible']} possible pairs → "
        f"{result['pairs']} pairs",
    ]
    if result["length_accuracy"] is not None:
        style = "–" if result["style_accuracy"] is None else f"{result['style_accuracy']:.3f}"
        lines.append(f"length alone tells {result['length_accuracy']:.3f}, style {style}")
    lines += [said for said in (result["few"], result["style_unsaid"]) if said]
    if result["notice"]:
        lines.append(f"warning: {result['notice']}")
    lines += [f"  {name}: {count}" for name, count in result["dropped"].items()]
    if waiting := result["states"].get(PairState.CHECKING, 0):
        lines.append(f"{waiting} pairs wait for people in the campaign “{result['campaign']}”")
    if result["state"] in (RunState.STOPPED, RunState.BUDGET):
        lines.append(f"go on with: pairs resume --run {result['run']}")
    return "\n".join(lines)


def _second(services: Services, judge: JudgeSpec, wish: str, endpoint: str | None) -> JudgeSpec | None:
    if wish == NOBODY:
        return None
    return again(judge) if wish == AGAIN else services.scoring.catalog.resolve(wish, endpoint)


def _numbers(given: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in given.split(","))
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7,1.0.",
            "温度请写成用逗号隔开的数，例如 0.7,1.0。",
        ) from error
