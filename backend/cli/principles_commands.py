"""`principles`: play the game, go on with it, replay it, here or as the job of that number."""

import json
import sys
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import typer

from backend.cli import principles_archive
from backend.cli.option_groups import RunMode, with_option_groups
from backend.cli.output import JsonOption, print_result, throttled_printer
from backend.cli.principles_output import format_run, run_to_dict, uses_to_dict
from backend.core.enums import Agent, Role, RunState, SearchMethod
from backend.core.errors import UserError
from backend.core.stored_records import read_record
from backend.judges.scoring.records import format_duration
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunInfo, RunRequest
from backend.principles.rulings import constant_detector
from backend.principles.service import status_line
from backend.runs.attempt import run_job
from backend.services import Services, open_services

# The two that are left out have options of their own; two ways to say one thing could contradict each other.
SETTING_NAMES = tuple(
    setting_field.name for setting_field in fields(GameSettings) if setting_field.name not in ("rounds", "search")
)
_CapOption = typer.Option(min=0, help="End cleanly when this much is used.")


@dataclass(frozen=True)
class GameOptions:
    """What is played: labels, rounds, who searches, who asks which endpoint, where it begins, other settings."""

    dataset: Annotated[str | None, typer.Option(help="Labels: a data set or a campaign of verdicts.")] = None
    rounds: Annotated[int | None, typer.Option(help="The most rounds.")] = None
    optimizer: Annotated[SearchMethod, typer.Option(help="What searches for a better S_D.")] = SearchMethod.GAME
    endpoint: Annotated[str | None, typer.Option(help="Endpoint of every agent, by name.")] = None
    agent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AGENT=ENDPOINT",
            help=f"One agent asks its own: {', '.join(Agent)}. The generator may be artifact:N.",
        ),
    ] = None
    start_versions: Annotated[
        list[int] | None, typer.Option("--from", metavar="VERSION", help="Begin with this S_D or S_G.")
    ] = None
    setting_options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help=f"May be repeated; keys: {', '.join(SETTING_NAMES)}."),
    ] = None


@dataclass(frozen=True)
class GameCaps:
    """What a game may use."""

    max_calls: Annotated[int | None, _CapOption] = None
    max_tokens: Annotated[int | None, _CapOption] = None
    max_cost: Annotated[float | None, _CapOption] = None


@dataclass(frozen=True)
class EarlierRun:
    """A run to go on with or to play again, and the name under which the best S_D is published."""

    resume: Annotated[int | None, typer.Option(metavar="RUN", help="Go on with a run.")] = None
    replay: Annotated[
        int | None, typer.Option(metavar="RUN", help="Play a run again from the ledger; asks nothing.")
    ] = None
    publish: Annotated[str | None, typer.Option(help="Keep the best S_D as a judge of that name.")] = None


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    principles_group = typer.Typer(help="Principles that evolve: play the game over S_D and S_G, and its archive.")
    principles_group.callback(invoke_without_command=True)(with_option_groups(play_principles))
    principles_archive.register(principles_group)
    cli_app.add_typer(principles_group, name="principles")


def play_principles(
    cli_context: typer.Context,
    game: GameOptions,
    caps: GameCaps,
    earlier: EarlierRun,
    mode: RunMode,
    as_json: JsonOption = False,
) -> None:
    """Play the adversarial game; a new S_D stays only if labels that it never saw confirm it."""
    # The callback of a group runs before every command of it as well.
    if cli_context.invoked_subcommand is not None:
        return
    with open_services() as services:
        if mode.job is not None:
            sys.exit(run_job(services.database, mode.job, services.evolution.play_job))
        if earlier.replay is not None:
            _replay_run(services, earlier.replay, as_json)
            return
        if earlier.resume is not None:
            run_id = _resume_run(services, earlier.resume, asdict(caps), mode.in_background)
        else:
            request = _read_request(services, game, caps)
            if mode.only_estimate:
                _print_estimate(services, request, as_json)
                return
            create_run = services.evolution.submit if mode.in_background else services.evolution.create
            run_id = create_run(request).id
        if not mode.in_background:
            _play_run(services, run_id)
        _print_run(services, run_id, earlier.publish, as_json)


def _read_request(services: Services, game: GameOptions, caps: GameCaps) -> RunRequest:
    game_settings = _parse_settings(game.rounds, game.optimizer, game.setting_options or [])
    agent_endpoints = _parse_agent_endpoints(game.endpoint, game.agent or [])
    start_by_role = _versions_by_role(services, game.start_versions)
    return RunRequest(_require_dataset(game.dataset), game_settings, agent_endpoints, **asdict(caps), **start_by_role)


def _require_dataset(dataset: str | None) -> str:
    if dataset is None:
        raise UserError("Name labels with --dataset.", "请用 --dataset 指定带标签的数据集。")
    return dataset


def _parse_settings(rounds: int | None, search_method: SearchMethod, setting_options: list[str]) -> GameSettings:
    setting_values: dict[str, Any] = {"rounds": rounds, "search": search_method}
    for assignment in setting_options:
        setting_name, _, setting_text = assignment.partition("=")
        if setting_name not in SETTING_NAMES:
            raise UserError(
                f"--set knows no “{setting_name}”; keys: {', '.join(SETTING_NAMES)}.",
                f"--set 没有“{setting_name}”，可用：{'、'.join(SETTING_NAMES)}。",
            )
        try:
            # As JSON, so that numbers and true are what they look like; names need no quotes.
            setting_values[setting_name] = json.loads(setting_text)
        except ValueError:
            setting_values[setting_name] = setting_text
    return read_record(GameSettings, setting_values)


def _parse_agent_endpoints(default_endpoint: str | None, agent_options: list[str]) -> dict[Agent, str | None]:
    endpoints_by_agent: dict[Agent, str | None] = dict.fromkeys(Agent, default_endpoint)
    for assignment in agent_options:
        agent_name, _, endpoint_name = assignment.partition("=")
        if agent_name not in set(Agent) or not endpoint_name:
            raise UserError(
                f"--agent takes AGENT=ENDPOINT; agents: {', '.join(Agent)}.",
                f"--agent 的写法是 角色=端点，角色有：{'、'.join(Agent)}。",
            )
        endpoints_by_agent[Agent(agent_name)] = endpoint_name
    return endpoints_by_agent


def _versions_by_role(services: Services, version_ids: list[int] | None) -> dict[str, int]:
    role_names = {Role.DETECTOR: "detector", Role.GENERATOR: "generator"}
    return {
        role_names[services.evolution.archive.version(version_id).role]: version_id for version_id in version_ids or []
    }


def _resume_run(services: Services, run_id: int, budget_caps: dict[str, Any], in_background: bool) -> int:
    if in_background:
        return services.evolution.resume(run_id, **budget_caps).id
    # Not queued: this process plays it, and a worker that took it first would shut the command out.
    services.evolution.raise_caps(run_id, **budget_caps)
    return run_id


def _play_run(services: Services, run_id: int) -> None:
    def describe_progress(run_info: RunInfo) -> str:
        return f"run {run_info.id}: {status_line(run_info)}"

    services.database.wait_patiently()
    try:
        services.evolution.play(run_id, throttled_printer(describe_progress))
    # The run has noted its error and can go on; what it reached until then is printed all the same.
    except UserError as error:
        print(f"error: run {run_id}: {error}", file=sys.stderr)


def _print_run(services: Services, run_id: int, judge_name: str | None, as_json: bool) -> None:
    run_info = services.evolution.run(run_id)
    run_fields = run_to_dict(run_info, services.evolution.archive.versions(run_id))
    # A run that stopped early may still find a better version, and its locked set is not open yet.
    if judge_name is not None and run_info.best is not None and run_info.state is RunState.DONE:
        run_fields["published"] = _publish_version(services, run_info.best, judge_name, run_fields)
    if run_info.locked is not None:
        run_fields["locked"]["uses"] = uses_to_dict(services.evolution.uses(run_id))
    notice_message = constant_detector(services.evolution.steps(run_id))
    run_fields["notice"] = notice_message.en if notice_message else None
    print_result(run_fields, as_json, format_run)
    if run_fields["error"] and run_info.state in (RunState.FAILED, RunState.DONE):
        sys.exit(1)


def _publish_version(
    services: Services, version_id: int, judge_name: str, run_fields: dict[str, Any]
) -> dict[str, str] | None:
    try:
        judge = services.evolution.archive.publish(version_id, judge_name)
    except UserError as error:
        # A name that is taken must not cost the report of a game that has been paid for.
        run_fields["error"] = str(error)
        return None
    return {"judge": judge.name, "version": judge.version}


def _replay_run(services: Services, run_id: int, as_json: bool) -> None:
    replay_outcome = services.evolution.replay(run_id)
    replay_fields = {
        "run": run_id,
        "steps": replay_outcome.steps,
        "same": replay_outcome.same,
        "differs": replay_outcome.differs or None,
    }
    print_result(replay_fields, as_json, lambda r: "the same" if r["same"] else f"differs from step {r['differs']} on")
    if not replay_outcome.same:
        sys.exit(1)


def _print_estimate(services: Services, request: RunRequest, as_json: bool) -> None:
    run_estimate = services.evolution.estimate(request)
    estimate_fields: dict[str, Any] = {
        "dataset": request.dataset,
        "estimate": True,
        "labels": dict(run_estimate.labels),
        "calls": run_estimate.calls,
        "tokens": run_estimate.tokens,
        "cost": run_estimate.cost,
        "seconds": run_estimate.seconds,
        "locked_uses": uses_to_dict(run_estimate.uses),
    }
    print_result(
        estimate_fields,
        as_json,
        lambda r: (
            f"at most {r['calls']} calls, {r['tokens']} tokens, cost {r['cost']:.4f}, {format_duration(r['seconds'])}"
        ),
    )
