"""What becomes of a run: list, pause, table, one pair in full, answers, decisions, and the ablations."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.board import flat
from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.jobs.seat import Playing
from backend.pairs.ablation import AblationRow
from backend.pairs.records import Again, PairDetail, PairFilter, PairRunInfo, Side
from backend.pairs.vocabulary import PairState, Stage
from backend.scoring.records import RunEstimate
from backend.scoring.targets import Target, TargetKind
from backend.services import open_services

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the pair.")]
Run = Annotated[str, typer.Option(help="The run, by number or name.")]


def add(pairs: typer.Typer) -> None:
    """Add the commands to the group."""
    pairs.command("list")(listing)
    pairs.command("pause")(pause)
    pairs.command("table")(table)
    pairs.command("show")(show)
    pairs.command("settle")(settle)
    pairs.command("ablate")(ablate)
    pairs.command("accept")(_deciding("accept", "Keep a pair as the judge decided it."))
    pairs.command("flip")(_deciding("flip", "Turn a pair: the refused greeting is the better one."))
    pairs.command("discard")(_deciding("discard", "Take a pair out of the run's data set."))


def listing(as_json: Json = False) -> None:
    """Every run, the newest first."""
    with open_services() as services:
        result = {"runs": [_summary(run) for run in services.pairs.runs()]}
    emit(result, as_json, lambda r: "\n".join(_run_line(run) for run in r["runs"]) or "There are no runs.")


def pause(run: Run, as_json: Json = False) -> None:
    """Let a run stop after the calls in flight, whether a job plays it or a command."""
    with open_services() as services:
        result = _summary(services.pairs.pause(services.pairs.one(run).id))
    emit(result, as_json, _run_line)


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
    emit(result, as_json, _debate_lines)


def settle(run: Run, as_json: Json = False) -> None:
    """Let people's complete answers decide the pairs that wait for them."""
    with open_services() as services:
        found = services.pairs.one(run)
        moved = services.pairs.settle(found.id)
        result = {"run": found.id, "moved": moved, "states": services.pairs.funnel(found.id).states}
    emit(result, as_json, lambda r: f"{r['moved']} pairs decided; now: {r['states']}")


def ablate(
    dataset: Annotated[str | None, typer.Option(help="Labelled data set to compare on.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Validate campaign to compare on.")] = None,
    judge: Annotated[str, typer.Option(help="A stored panel, or the kind itself.")] = "panel",
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Cap on the cost of each variant.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Queue one job a variant.")] = False,
    as_json: Json = False,
) -> None:
    """The panel without each of its agents, beside human labels. What is scored is not asked again."""
    if (dataset is None) == (campaign is None):
        raise UserError(
            "Name exactly one of --dataset and --campaign.", "请在 --dataset 和 --campaign 中恰好指定一个。"
        )
    kind = TargetKind.DATASET if campaign is None else TargetKind.CAMPAIGN
    target = Target(kind, dataset or campaign or "")
    with open_services() as services:
        spec = services.scoring.catalog.resolve(judge, endpoint)
        if estimate:
            result = _ablation_estimate(target, services.ablation.estimate(spec, target))
            emit(result, as_json, lambda r: f"about {r['calls']} calls, cost {r['cost']:.4f}")
        elif background:
            jobs = [job.id for job in services.ablation.submit(spec, target, max_cost)]
            emit({"reference": target.name, "jobs": jobs}, as_json, lambda r: f"jobs {r['jobs']}")
        else:
            done = services.ablation.run(spec, target, max_cost)
            rows = services.ablation.table(spec, target.name)
            result = {
                "reference": target.name,
                "judge": spec.name,
                "states": [one.state.value for one in done],
                "calls": sum(one.calls for one in done),
                "cost": sum(one.cost for one in done),
                "rows": [{"off": row.off or None, **flat(row.figures)} for row in rows],
            }
            emit(result, as_json, lambda _: "\n".join(map(_ablation_line, rows)))


def _ablation_estimate(target: Target, rough: list[RunEstimate]) -> dict[str, Any]:
    return {
        "reference": target.name,
        "estimate": True,
        "calls": sum(one.calls for one in rough),
        "tokens": sum(one.tokens for one in rough),
        "cost": sum(one.cost for one in rough),
        "seconds": sum(one.seconds for one in rough),
    }


def _ablation_line(row: AblationRow) -> str:
    figures = row.figures
    shown = [
        f"{name} – ({figure.why.en if figure.why else ''})"
        if figure.value is None
        else f"{name} {figure.value:.3f}" + (f" (n {figure.n})" if figure.n != figures.n else "")
        for name in ("accuracy", "kappa", "auc", "matched_auc")
        for figure in [getattr(figures, name)]
    ]
    who = f"without {row.off}" if row.off else "whole panel"
    counts = f"n {figures.n:>6}  unscored {figures.unscored:>5} (never asked {figures.never_asked})"
    return f"{who:<17}  {counts}  {'  '.join(shown)}"


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


def _summary(run: PairRunInfo) -> dict[str, Any]:
    after = run.report.after if run.report else None
    return {
        "run": run.id,
        "name": run.name,
        "stage": run.stage.value,
        "job": run.job,
        "playing": _playing(run.playing),
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


def _playing(who: Playing | None) -> dict[str, Any] | None:
    return asdict(who) if who else None


def _run_line(run: dict[str, Any]) -> str:
    pairs = f"{run['pairs']} pairs" if run["stage"] == Stage.DONE else run["stage"]
    return f"{run['run']:>4}  {run['name']:<24}  {pairs}{_player_line(run['playing'])}"


def _player_line(who: dict[str, Any] | None) -> str:
    if who is None:
        return ""
    stopping = ", asked to stop" if who["stopping"] else ""
    return f"  (played by process {who['pid']} on {who['host']}{stopping})"


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
        "playing": _playing(pair.playing),
        "prompt": pair.prompt,
        "state": pair.state.value,
        "difference": pair.difference,
        "judge": pair.judge,
        "version": pair.judge_version,
        "second_judge": pair.second_judge or None,
        "second_version": pair.second_version or None,
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
        "again": _again(side.again) if side.again else None,
    }


def _debate_lines(pair: dict[str, Any]) -> str:
    run = f"run {pair['run']}{_player_line(pair['playing'])}"
    lines = [f"pair {pair['pair']} of {run}: {pair['state']}", f"request: {pair['prompt']}"]
    for name in ("chosen", "rejected"):
        lines += ["", f"{name}: {pair[name]['text']}", *_talk_lines(pair[name])]
    judges = [f"judge {pair['judge']} {pair['version']}"]
    judges += (
        [f"second judge {pair['second_judge']} {pair['second_version']}"] if pair["second_judge"] else []
    )
    history = [
        f"  {one['at'][:16]} {one['by']} {one['name']}: {one['state']} {one['note']}"
        for one in pair["decisions"]
    ]
    return "\n".join([*lines, "", "; ".join(judges), *history])


def _talk_lines(side: dict[str, Any]) -> list[str]:
    said, recipe = side["details"], side["recipe"]
    asked = ", ".join(f"{key} {value}" for key, value in recipe.items())
    lines = [f"  written by {side['generator']} ({asked}), call {side['call']}"]
    lines += [f"  {key}: {one}" for key in ("merits", "faults") for one in said.get(key, ())]
    for key in ("first", "final"):
        if key in said:
            lines.append(f"  {key} verdict: {said[key]['verdict']} {said[key].get('explanation', '')}")
    lines.append(f"  verdict: {side['value']}" + (", overturned" if said.get("overturned") else ""))
    if side["again"]:
        lines.append(f"  second opinion: {side['again']['value']} {side['again']['reason']}")
    if side["people"]:
        lines.append(f"  people: {side['people']}")
    return lines


def _again(said: Again) -> dict[str, Any]:
    return {"value": said.value, "reason": said.reason, "calls": list(said.details.get("calls", ()))}
