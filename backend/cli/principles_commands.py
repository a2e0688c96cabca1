"""`principles`: play the game, go on with it, replay it, here or as the job of that number."""

import json
import sys
from dataclasses import fields
from typing import Annotated, Any

import typer

from backend.cli import principles_archive
from backend.cli.output import Json, emit, now_and_then
from backend.cli.principles_plain import plain_run, plain_uses, run_lines
from backend.errors import UserError
from backend.evolution.job import line, run_job
from backend.evolution.records import RunInfo, RunRequest
from backend.evolution.told import constant_detector
from backend.principles.settings import GameSettings
from backend.principles.vocabulary import Agent, Role, RunState, Search
from backend.scoring.records import clock
from backend.services import Services, open_services

KEYS = tuple(one.name for one in fields(GameSettings) if one.name not in ("rounds", "search"))
Cap = typer.Option(min=0, help="End cleanly when this much is used.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(help="Principles that evolve: play the game over S_D and S_G, and its archive.")
    group.callback(invoke_without_command=True)(principles)
    principles_archive.register(group)
    app.add_typer(group, name="principles")


def principles(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Labels: a data set or a campaign of verdicts.")] = None,
    rounds: Annotated[int | None, typer.Option(help="The most rounds.")] = None,
    optimizer: Annotated[Search, typer.Option(help="What searches for a better S_D.")] = Search.GAME,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint of every agent, by name.")] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AGENT=ENDPOINT",
            help=f"One agent asks its own: {', '.join(Agent)}. The generator may be artifact:N.",
        ),
    ] = None,
    start: Annotated[
        list[int] | None, typer.Option("--from", metavar="VERSION", help="Begin with this S_D or S_G.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help=f"May be repeated; keys: {', '.join(KEYS)}."),
    ] = None,
    max_calls: Annotated[int | None, Cap] = None,
    max_tokens: Annotated[int | None, Cap] = None,
    max_cost: Annotated[float | None, Cap] = None,
    resume: Annotated[int | None, typer.Option(metavar="RUN", help="Go on with a run.")] = None,
    replay: Annotated[
        int | None, typer.Option(metavar="RUN", help="Play a run again from the ledger; asks nothing.")
    ] = None,
    publish: Annotated[str | None, typer.Option(help="Keep the best S_D as a judge of that name.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    background: Annotated[bool, typer.Option("--background", help="Queue it as a job.")] = False,
    job: Annotated[int | None, typer.Option(help="Run this queued job (for workers).")] = None,
    as_json: Json = False,
) -> None:
    """Play the adversarial game; a new S_D stays only if labels that it never saw confirm it."""
    if context.invoked_subcommand is not None:
        return
    with open_services() as services:
        if job is not None:
            sys.exit(run_job(services.database, services.jobs, services.evolution, job))
        if replay is not None:
            _replay(services, replay, as_json)
            return
        if resume is not None:
            raised = {"max_calls": max_calls, "max_tokens": max_tokens, "max_cost": max_cost}
            run_id = _resumed(services, resume, raised, background)
        else:
            settings = _settings(rounds, optimizer, values or [])
            asked = _endpoints(endpoint, agent or [])
            first = _first(services, start)
            caps = (max_calls, max_tokens, max_cost)
            request = RunRequest(_needed(dataset), settings, asked, *caps, **first)
            if estimate:
                _estimate(services, request, as_json)
                return
            made = services.evolution.submit(request) if background else services.evolution.create(request)
            run_id = made.id
        if not background:
            _play(services, run_id)
        _tell(services, run_id, publish, as_json)


def _needed(dataset: str | None) -> str:
    if dataset is None:
        raise UserError("Name labels with --dataset.", "请用 --dataset 指定带标签的数据集。")
    return dataset


def _settings(rounds: int | None, search: Search, given: list[str]) -> GameSettings:
    values: dict[str, Any] = {"rounds": rounds, "search": search}
    for part in given:
        name, _, value = part.partition("=")
        if name not in KEYS:
            raise UserError(
                f"--set knows no “{name}”; keys: {', '.join(KEYS)}.",
                f"--set 没有“{name}”，可用：{'、'.join(KEYS)}。",
            )
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return GameSettings.read(values)


def _endpoints(endpoint: str | None, given: list[str]) -> dict[Agent, str | None]:
    named: dict[Agent, str | None] = dict.fromkeys(Agent, endpoint)
    for part in given:
        name, _, own = part.partition("=")
        if name not in set(Agent) or not own:
            raise UserError(
                f"--agent takes AGENT=ENDPOINT; agents: {', '.join(Agent)}.",
                f"--agent 的写法是 角色=端点，角色有：{'、'.join(Agent)}。",
            )
        named[Agent(name)] = own
    return named


def _first(services: Services, versions: list[int] | None) -> dict[str, int]:
    roles = {Role.DETECTOR: "detector", Role.GENERATOR: "generator"}
    return {roles[services.evolution.archive.version(one).role]: one for one in versions or []}


def _resumed(services: Services, run_id: int, caps: dict[str, Any], background: bool) -> int:
    if background:
        return services.evolution.resume(run_id, **caps).id
    services.evolution.raise_caps(run_id, **caps)
    return run_id


def _play(services: Services, run_id: int) -> None:
    def words(info: RunInfo) -> str:
        return f"run {info.id}: {line(info)}"

    services.database.be_patient()
    try:
        services.evolution.play(run_id, now_and_then(words))
    except UserError as error:
        print(f"error: run {run_id}: {error}", file=sys.stderr)


def _tell(services: Services, run_id: int, publish: str | None, as_json: bool) -> None:
    info = services.evolution.run(run_id)
    result = plain_run(info, services.evolution.archive.versions(run_id))
    if publish is not None and info.best is not None and info.state is RunState.DONE:
        result["published"] = _published(services, info.best, publish, result)
    if info.locked is not None:
        result["locked"]["uses"] = plain_uses(services.evolution.uses(run_id))
    notice = constant_detector(services.evolution.steps(run_id))
    result["notice"] = notice.en if notice else None
    emit(result, as_json, run_lines)
    if result["error"] and info.state in (RunState.FAILED, RunState.DONE):
        sys.exit(1)


def _published(services: Services, version: int, name: str, result: dict[str, Any]) -> dict[str, str] | None:
    try:
        judge = services.evolution.archive.publish(version, name)
    except UserError as error:
        result["error"] = str(error)
        return None
    return {"judge": judge.name, "version": judge.version}


def _replay(services: Services, run_id: int, as_json: bool) -> None:
    again = services.evolution.replay(run_id)
    result = {"run": run_id, "steps": again.steps, "same": again.same, "differs": again.differs or None}
    emit(result, as_json, lambda r: "the same" if r["same"] else f"differs from step {r['differs']} on")
    if not again.same:
        sys.exit(1)


def _estimate(services: Services, request: RunRequest, as_json: bool) -> None:
    rough = services.evolution.estimate(request)
    result: dict[str, Any] = {
        "dataset": request.dataset,
        "estimate": True,
        "labels": dict(rough.labels),
        "calls": rough.calls,
        "tokens": rough.tokens,
        "cost": rough.cost,
        "seconds": rough.seconds,
        "locked_uses": plain_uses(rough.uses),
    }
    emit(
        result,
        as_json,
        lambda r: (
            f"at most {r['calls']} calls, {r['tokens']} tokens, cost {r['cost']:.4f}, {clock(r['seconds'])}"
        ),
    )
