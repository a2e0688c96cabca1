"""From a run's row to the table it is played at: models for the agents, the judge, labels, versions."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Protocol

from sqlalchemy.orm import Session

from backend.db.principle_tables import PrincipleRun, Principles
from backend.errors import UserError
from backend.evolution.labels import read_partitions
from backend.judges.asking import JudgeModel, JudgeSampling
from backend.judges.base import Judge, PairJudge
from backend.judges.registry import JudgeContext, build_judge
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.principles.agents import GameAgents
from backend.principles.book import GameRecord, RulesVersion
from backend.principles.planting import InstructedGenerator, PolicyGenerator
from backend.principles.rules import RuleSet
from backend.principles.settings import GameSettings
from backend.principles.table import GameRun, SearchState
from backend.principles.vocabulary import Agent, GamePhase
from backend.writing.generators import is_policy_name
from backend.writing.writer import GreetingWriter

AGENT_SAMPLING = {
    Agent.GENERATOR: JudgeSampling(temperature=0.9, max_tokens=1024),
    Agent.CONFIRMER: JudgeSampling(max_tokens=1024),
    Agent.REFLECTOR: JudgeSampling(max_tokens=1024),
    Agent.OPTIMISER: JudgeSampling(temperature=0.7, max_tokens=4096),
}


class PlayerContext(JudgeContext, Protocol):
    """What players are made from: the game's house, or its likeness that replays."""

    async def writer(self, policy_name: str) -> GreetingWriter:
        """A policy trained here, awake. Raises UserError where it cannot be woken."""


def refuse_baseline(judge_name: str) -> Judge:
    """The game is played by language models. Raises UserError for a judge that only counts."""
    raise UserError(
        f"“{judge_name}” is a baseline, and the game is played by language models; choose an endpoint.",
        f"“{judge_name}”是对照基线，对局要由语言模型来进行，请选一个模型端点。",
    )


def principle_spec(rule_set: RuleSet, endpoint_name: str, judge_name: str = "principle") -> JudgeSpec:
    """The `principle` judge with these rules: playing Detector and being published, it is the same."""
    return JudgeSpec(JudgeKind.PRINCIPLE, judge_name, endpoint_name, {"principles": list(rule_set.texts)})


def detector_builder(context: JudgeContext, endpoint_name: str) -> Callable[[RuleSet], Judge]:
    """Makes the Detector of a set of rules, one for each."""

    @cache
    def build_detector(rule_set: RuleSet) -> Judge:
        detector_judge = build_judge(principle_spec(rule_set, endpoint_name), context)
        assert not isinstance(detector_judge, PairJudge)
        return detector_judge

    return build_detector


def build_agents(context: PlayerContext, endpoints: Mapping[str, Mapping[str, str]]) -> GameAgents:
    """The agents that are no judge, each at its endpoint."""

    def build_model(agent: Agent) -> JudgeModel:
        agent_endpoint = context.endpoint(endpoints[agent]["name"])
        llm_client = context.client(agent_endpoint, f"principles:{agent}")
        return JudgeModel(
            agent_endpoint.base_url,
            agent_endpoint.model,
            AGENT_SAMPLING[agent],
            context.fence_key(),
            llm_client,
        )

    generator_endpoint = endpoints[Agent.GENERATOR]
    is_own_policy = is_policy_name(generator_endpoint["name"])
    flaw_generator = (
        PolicyGenerator(partial(context.writer, generator_endpoint["name"]))
        if is_own_policy
        else InstructedGenerator(build_model(Agent.GENERATOR))
    )
    return GameAgents(flaw_generator, *map(build_model, (Agent.CONFIRMER, Agent.REFLECTOR, Agent.OPTIMISER)))


def build_game_run(
    session: Session,
    run_row: PrincipleRun,
    context: PlayerContext,
    game_record: GameRecord,
    on_phase: Callable[[int, GamePhase], None],
) -> GameRun:
    """Everything for the run. Raises UserError where an endpoint or a greeting is gone or has changed."""
    check_endpoints(context, run_row.endpoints)
    detector_version, generator_version = (
        load_version(session, version_id) for version_id in (run_row.detector_id, run_row.generator_id)
    )
    return GameRun(
        agents=build_agents(context, run_row.endpoints),
        build_judge=detector_builder(context, run_row.endpoints[Agent.DETECTOR]["name"]),
        partitions=read_partitions(session, run_row.labels),
        settings=GameSettings.read(run_row.settings),
        game_record=game_record,
        search_state=SearchState(detector_version, generator_version, detector_version),
        on_phase=on_phase,
    )


def load_version(session: Session, version_id: int) -> RulesVersion:
    """A version as the game takes it."""
    version_row = session.get_one(Principles, version_id)
    return RulesVersion(version_row.id, RuleSet.read(version_row.role, version_row.rules))


def check_endpoints(context: JudgeContext, endpoints: Mapping[str, Mapping[str, str]]) -> None:
    """Raise UserError where an endpoint of a run is no longer what it was: its scores would not compare."""
    for agent, run_endpoint in endpoints.items():
        if is_policy_name(run_endpoint["name"]):
            continue  # an artifact never changes
        current_endpoint = context.endpoint(run_endpoint["name"])
        if (current_endpoint.base_url, current_endpoint.model) != (
            run_endpoint["base_url"],
            run_endpoint["model"],
        ):
            raise UserError(
                f"The endpoint “{run_endpoint['name']}” of the {agent} has changed since the run began "
                f"(it was {run_endpoint['model']} at {run_endpoint['base_url']}); start a new run.",
                f"{agent} 的端点“{run_endpoint['name']}”在运行开始后改过"
                f"（原为 {run_endpoint['base_url']} 的 {run_endpoint['model']}），请另开一次运行。",
            )
