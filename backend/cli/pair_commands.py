"""`pairs`: from prompts to preference pairs; here, in the background, or as the job of that number."""

import sys
import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.agents.pairing import Way
from backend.agents.plan import Plan, Wished
from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.pairs.ablation import without
from backend.pairs.intake import source_of
from backend.pairs.job import run_job
from backend.pairs.records import (
    Checking,
    PairDetail,
    PairFilter,
    PairProgress,
    PairRequest,
    PairRunInfo,
    Side,
)
from backend.pairs.vocabulary import PairState, Stage
from backend.scoring.records import RunState, clock
from backend.services import Services, open_services

TOLD_EVERY_S = 5.0
MANY = "--generators"
Number = Annotated[int, typer.Argument(metavar="N", help="Number of the pair.")]
Run = Annotated[str, typer.Option(help="The run, by number or name.")]


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
    pairs.command("list")(listing)
    pairs.command("show")(show)
    pairs.command("table")(table)
    pairs.command("resume")(resume)
    pairs.command("settle")(settle)
    pairs.command("accept")(_deciding("accept", "Keep a pair as the judge decided it."))
    pairs.command("flip")(_deciding("flip", "Turn a pair: the refused greeting is the better one."))
    pairs.command("discard")(_deciding("discard", "Take a pair out of the run's data set."))
    app.add_typer(pairs, name="pairs")


def run(
    context: typer.Context,
    prompts: Annotated[str | None, typer.Option(help="A file of requests, or a data set.")] = None,
    generators: Annotated[
        str | None, typer.Option(metavar="E …", help="Endpoints or artifacts that write, by name.")
    ] = None,
    judge: Annotated[str, typer.Option(help="A stored judge, or a kind such as panel.")] = "panel",
    candidates: Annotated[int, typer.Option(help="Candidates a prompt.")] = 4,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that the judge asks.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run and of its data set.")] = "",
    way: Annotated[Way, typer.Option(help="Which candidates of a prompt become pairs.")] = Way.ALL,
    temperatures: Annotated[str, typer.Option(help="Temperatures to write with, by commas.")] = "0.7,1.0",
    examples: Annotated[
        bool | None, typer.Option("--examples/--no-examples", help="Write with examples only, or without.")
    ] = None,
    free_length: Annotated[
        bool, typer.Option("--free-length", help="Never ask for a shorter or longer greeting.")
    ] = False,
    unbalanced: Annotated[
        bool, typer.Option("--unbalanced", help="Leave length and style as they are.")
    ] = False,
    positive: Annotated[
        bool, typer.Option("--positive/--no-positive", help="The agent that praises.")
    ] = True,
    negative: Annotated[bool, typer.Option("--negative/--no-negative", help="The agent that blames.")] = True,
    judging: Annotated[
        bool, typer.Option("--judging/--no-judging", help="The agent that judges first.")
    ] = True,
    reflect: Annotated[bool, typer.Option("--reflect/--no-reflect", help="The agent that reviews.")] = True,
    check: Annotated[float, typer.Option(help="Share of the pairs that people see before use.")] = 0.05,
    raters: Annotated[int, typer.Option(help="People who see each of their greetings.")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many requests.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of writing and sampling.")] = 0,
    max_cost: Annotated[float | None, typer.Option(min=0, help="End when this much is spent.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="End after so many calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="End after so many tokens.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Queue it as a job.")] = False,
    job: Annotated[int | None, typer.Option(help="Run this queued job (for workers).")] = None,
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
        request = PairRequest(
            source=source_of(prompts, limit),
            plan=Plan(
                tuple(one.strip() for one in generators.split(",") if one.strip()),
                candidates,
                _numbers(temperatures),
                (False, True) if examples is None else (examples,),
                (Wished.FREE,) if free_length else tuple(Wished),
            ),
            judge=without(services.scoring.catalog.resolve(judge, endpoint), off),
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


def listing(as_json: Json = False) -> None:
    """Every run, the newest first."""
    with open_services() as services:
        result = {"runs": [_summary(run) for run in services.pairs.runs()]}
    emit(result, as_json, lambda r: "\n".join(_run_line(run) for run in r["runs"]) or "There are no runs.")


def table(
    run: Run,
    state: Annotated[PairState | None, typer.Option(help="Only pairs in this state.")] = None,
    search: Annotated[str, typer.Option(help="Only pairs with these words.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="After so many.")] = 0,
    as_json: Json = False,
) -> None:
    """Pairs of a run, those that wait for a decision first."""
    with open_services() as services:
        found = services.pairs.one(run)
        page = services.pairs.page(found.id, PairFilter(state=state, search=search), offset, limit)
    rows = [
        {
            "pair": row.id,
            "prompt": row.prompt,
            "chosen": row.chosen,
            "rejected": row.rejected,
            "difference": row.difference,
            "state": row.state.value,
            "by": row.by.value,
            "overturned": row.overturned,
        }
        for row in page.rows
    ]
    emit({"run": found.id, "total": page.total, "pairs": rows}, as_json, _table_lines)


def show(pair: Number, as_json: Json = False) -> None:
    """One pair: where it comes from, both debates, and who decided."""
    with open_services() as services:
        result = _detail(services.pairs.pair(pair))
    emit(result, as_json, lambda r: "\n".join(f"{key}: {value}" for key, value in r.items()))


def settle(run: Run, as_json: Json = False) -> None:
    """Let people's complete answers decide the pairs that wait for them."""
    with open_services() as services:
        found = services.pairs.one(run)
        moved = services.pairs.settle(found.id)
        result = {"run": found.id, "moved": moved, "states": services.pairs.funnel(found.id).states}
    emit(result, as_json, lambda r: f"{r['moved']} pairs decided; now: {r['states']}")


def _deciding(action: str, help_text: str) -> Any:
    def command(
        pair: Number,
        name: Annotated[str, typer.Option(help="Who decides.")] = "",
        note: Annotated[str, typer.Option(help="Why.")] = "",
        as_json: Json = False,
    ) -> None:
        with open_services() as services:
            result = _detail(services.pairs.decide(pair, action, name, note))
        emit(result, as_json, lambda r: f"pair {r['pair']} is {r['state']}")

    command.__doc__ = help_text
    return command


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
    final = services.pairs.run(run.id, _Told())
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
        f"{result['debated']} debated → {result['kept']} kept → {result['pairs']} pairs",
    ]
    if result["length_accuracy"] is not None:
        style = "–" if result["style_accuracy"] is None else f"{result['style_accuracy']:.3f}"
        lines.append(f"length alone tells {result['length_accuracy']:.3f}, style {style}")
    lines += [f"  {name}: {count}" for name, count in result["dropped"].items()]
    if result["state"] in (RunState.STOPPED, RunState.BUDGET):
        lines.append(f"go on with: pairs resume --run {result['run']}")
    return "\n".join(lines)


def _summary(run: PairRunInfo) -> dict[str, Any]:
    after = run.report.after if run.report else None
    return {
        "run": run.id,
        "name": run.name,
        "stage": run.stage.value,
        "job": run.job,
        "judge": run.request.judge.name,
        "version": run.judge_version,
        "generators": list(run.request.plan.generators),
        "pairs": after.pairs if after else None,
        "length_accuracy": after.length if after else None,
        "style_accuracy": after.style if after else None,
        "calls": run.calls,
        "cost": run.cost,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }


def _run_line(run: dict[str, Any]) -> str:
    pairs = f"{run['pairs']} pairs" if run["stage"] == Stage.DONE else run["stage"]
    return f"{run['run']:>4}  {run['name']:<24}  {pairs}"


def _table_lines(result: dict[str, Any]) -> str:
    rows = [
        f"{row['pair']:>6}  {row['state']:<9}  {row['prompt']}  {row['chosen']}  >  {row['rejected']}"
        for row in result["pairs"]
    ]
    return "\n".join([*rows, f"{result['total']} pairs"])


def _detail(pair: PairDetail) -> dict[str, Any]:
    return {
        "pair": pair.id,
        "run": pair.run,
        "prompt": pair.prompt,
        "state": pair.state.value,
        "difference": pair.difference,
        "judge": pair.judge,
        "version": pair.judge_version,
        "prompts": dict(pair.prompts),
        "chosen": _side(pair.chosen),
        "rejected": _side(pair.rejected),
        "decisions": [
            {
                "state": one.state.value,
                "by": one.by.value,
                "name": one.name,
                "note": one.note,
                "at": one.at.isoformat(),
            }
            for one in pair.decisions
        ],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "text": side.text,
        "generator": side.generator,
        "model": side.model,
        "recipe": dict(side.recipe),
        "call": side.call_id,
        "value": side.value,
        "reason": side.reason,
        "details": {key: value for key, value in side.details.items() if key != "raw"},
        "people": list(side.people),
    }


def _numbers(given: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in given.split(","))
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7,1.0.",
            "温度请写成用逗号隔开的数，例如 0.7,1.0。",
        ) from error


class _Told:
    """Prints the progress line now and then."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: PairProgress) -> None:
        if time.monotonic() - self._last >= TOLD_EVERY_S:
            self._last = time.monotonic()
            print(progress.line(), file=sys.stderr, flush=True)
