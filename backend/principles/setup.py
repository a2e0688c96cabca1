"""From a run's row to what it is played with (models for the agents, judge, labels), and what it takes at most."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any

from sqlalchemy.orm import Session

from backend.core.enums import Agent, GamePhase, SearchMethod
from backend.core.errors import UserError
from backend.core.stored_records import read_record
from backend.db.principle_tables import PrincipleRun, Principles
from backend.generation.generators import GeneratorService, is_policy_name
from backend.generation.writer import GreetingWriter
from backend.judges.asking import JudgeModel, JudgeSampling
from backend.judges.base import Judge, JudgeKind, JudgeSpec
from backend.judges.context import JudgeContext
from backend.judges.pairwise import PairwiseJudge
from backend.judges.registry import JudgeSources, build_judge
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import Endpoint
from backend.principles.algorithm.agents import GameAgents
from backend.principles.algorithm.decisions import MAX_CHANGES
from backend.principles.algorithm.game import GameSearch, Searcher
from backend.principles.algorithm.game_run import GameRun, SearchState
from backend.principles.algorithm.gate import safety_attacks
from backend.principles.algorithm.gepa_search import GepaSearch
from backend.principles.algorithm.labels import PartitionedLabels
from backend.principles.algorithm.planting import InstructedGenerator, PolicyGenerator
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import GameRecord, RulesVersion
from backend.principles.dealing import count_labels, plain_partitions, read_partitions
from backend.principles.records import RunCostEstimate

SEARCHERS: dict[SearchMethod, Callable[[], Searcher]] = {
    SearchMethod.GAME: GameSearch,
    SearchMethod.GEPA: GepaSearch,
}


def scope_of(agent: Agent) -> str:
    """What the calls of an agent stand under in the ledger."""
    return f"principles:{agent}"


GENERATOR_SCOPE = scope_of(Agent.GENERATOR)
# The Detector is missing: it is the `principle` judge with that judge's sampling, so that what is published
# has the version it was accepted with. Those who write are sampled, since the same text again teaches
# nothing.
AGENT_SAMPLING = {
    Agent.GENERATOR: JudgeSampling(temperature=0.9, max_tokens=1024),
    Agent.CONFIRMER: JudgeSampling(max_tokens=1024),
    Agent.REFLECTOR: JudgeSampling(max_tokens=1024),
    # It writes a whole set of ten rules with their evidence, hence the room.
    Agent.OPTIMISER: JudgeSampling(temperature=0.7, max_tokens=4096),
}


# Opens a policy trained here by its name. Raises UserError where it cannot be woken.
PolicyOpener = Callable[[str], Awaitable[GreetingWriter]]


def refuse_baseline(judge_name: str) -> Judge:
    """The game is played by language models. Raises UserError for a judge that only counts."""
    raise UserError(
        f"“{judge_name}” is a baseline, and the game is played by language models; choose an endpoint.",
        f"“{judge_name}”是对照基线，对局要由语言模型来进行，请选一个模型端点。",
    )


def principle_spec(rule_set: RuleSet, endpoint_name: str, judge_name: str = "principle") -> JudgeSpec:
    """The `principle` judge with these rules: playing Detector and being published, it is the same."""
    return JudgeSpec(JudgeKind.PRINCIPLE, judge_name, endpoint_name, {"principles": list(rule_set.texts)})


def detector_builder(context: JudgeSources, endpoint_name: str) -> Callable[[RuleSet], Judge]:
    """Makes the Detector of a set of rules, one for each."""

    # Within the closure, so that judges and their clients go when the run's context goes.
    @cache
    def build_detector(rule_set: RuleSet) -> Judge:
        detector_judge = build_judge(principle_spec(rule_set, endpoint_name), context)
        assert not isinstance(detector_judge, PairwiseJudge)
        return detector_judge

    return build_detector


def build_agents(
    context: JudgeSources, open_policy: PolicyOpener, endpoints: Mapping[str, Mapping[str, str]]
) -> GameAgents:
    """The agents that are no judge, each at its endpoint."""

    def build_model(agent: Agent) -> JudgeModel:
        agent_endpoint = context.endpoint(endpoints[agent]["name"])
        llm_client = context.client(agent_endpoint, scope_of(agent))
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
        PolicyGenerator(partial(open_policy, generator_endpoint["name"]))
        if is_own_policy
        else InstructedGenerator(build_model(Agent.GENERATOR))
    )
    return GameAgents(flaw_generator, *map(build_model, (Agent.CONFIRMER, Agent.REFLECTOR, Agent.OPTIMISER)))


def build_game_run(
    session: Session,
    run_row: PrincipleRun,
    context: JudgeSources,
    open_policy: PolicyOpener,
    game_record: GameRecord,
    on_phase: Callable[[int, GamePhase], None],
) -> GameRun:
    """Everything for the run. Raises UserError where an endpoint or a greeting is gone or has changed."""
    check_endpoints(context, run_row.endpoints)
    detector_version, generator_version = (
        load_version(session, version_id) for version_id in (run_row.detector_id, run_row.generator_id)
    )
    return GameRun(
        agents=build_agents(context, open_policy, run_row.endpoints),
        build_judge=detector_builder(context, run_row.endpoints[Agent.DETECTOR]["name"]),
        partitions=read_partitions(session, run_row.labels),
        settings=read_record(GameSettings, run_row.settings),
        game_record=game_record,
        search_state=SearchState(detector_version, generator_version, detector_version),
        on_phase=on_phase,
    )


def load_version(session: Session, version_id: int) -> RulesVersion:
    """A version as the game takes it."""
    version_row = session.get_one(Principles, version_id)
    return RulesVersion(version_row.id, RuleSet.from_stored(version_row.role, version_row.rules))


def check_endpoints(context: JudgeSources, endpoints: Mapping[str, Mapping[str, str]]) -> None:
    """Raise UserError where an endpoint of a run is no longer what it was: its scores would not compare."""
    for agent, run_endpoint in endpoints.items():
        if is_policy_name(run_endpoint["name"]):
            continue  # an artifact never changes
        current_endpoint = context.endpoint(run_endpoint["name"])
        # Another model under the same name would score the gate differently, and a change would pass for
        # progress.
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


POLL_SECONDS = 0.5


async def wake_policy(generators: GeneratorService, context: JudgeContext, policy_name: str) -> GreetingWriter:
    """The policy, woken and waited for; its client is stopped and closed with those of the context.

    Raises UserError where it cannot be woken, LLMError where the run is stopped meanwhile.
    """
    open_writer = generators.open(
        policy_name, GENERATOR_SCOPE, run_budget=context.budget, retry_policy=context.retry_policy
    )
    wake_task = asyncio.ensure_future(open_writer)
    try:
        # Waking takes minutes: whoever stops the run must not wait for it.
        while not (await asyncio.wait([wake_task], timeout=POLL_SECONDS))[0]:
            if context.is_stopped:
                raise LLMError(LLMErrorKind.CANCELLED)
        policy_writer = await wake_task
    finally:
        wake_task.cancel()
    # Stopping and closing the context then reach this client as well.
    context.adopt(policy_writer.client)
    return policy_writer


# Tokens in and out of one call, roughly.
TOKENS_PER_CALL = {
    Agent.DETECTOR: (1_200, 120),
    Agent.GENERATOR: (900, 250),
    Agent.CONFIRMER: (700, 100),
    Agent.REFLECTOR: (1_100, 150),
    Agent.OPTIMISER: (3_500, 1_000),
}
LATENCY_SECONDS = 2.0


def estimate_run(
    settings: GameSettings, partitions: PartitionedLabels, endpoints: Mapping[Agent, Endpoint]
) -> RunCostEstimate:
    """The most calls, and what they cost at the prices of the endpoints."""
    calls_by_agent = max_calls_by_agent(settings, partitions)
    tokens_by_agent = {agent: call_count * sum(TOKENS_PER_CALL[agent]) for agent, call_count in calls_by_agent.items()}
    total_cost = sum(
        endpoints[agent].cost_of_tokens(call_count * TOKENS_PER_CALL[agent][0], call_count * TOKENS_PER_CALL[agent][1])
        for agent, call_count in calls_by_agent.items()
    )
    total_seconds = sum(
        call_count * LATENCY_SECONDS / endpoints[agent].concurrency for agent, call_count in calls_by_agent.items()
    )
    label_counts: dict[str, Any] = count_labels(plain_partitions(partitions))
    return RunCostEstimate(
        sum(calls_by_agent.values()), sum(tokens_by_agent.values()), total_cost, total_seconds, label_counts
    )


def max_calls_by_agent(settings: GameSettings, partitions: PartitionedLabels) -> dict[Agent, int]:
    """Calls by agent, were no proposal to fall before its last test and every verdict wrong."""
    round_count, is_game = settings.rounds, settings.search is SearchMethod.GAME
    # The safety set is read with the gate set: at the start, and by each proposal that is better.
    held_count, minibatch_size = (
        len(partitions.gate) + len(safety_attacks()),
        settings.labelled + settings.attacks,
    )
    # The proposal as a whole, and once without each of its changes.
    trial_readings = (MAX_CHANGES + 1) * settings.trim
    # Where the run began, what it found, and the rewriting.
    locked_readings = 3 if settings.rewrite else 2
    calls_by_agent = dict.fromkeys(Agent, 0)
    calls_by_agent[Agent.DETECTOR] = (
        held_count
        + locked_readings * len(partitions.locked)
        # Twice: the minibatch is read by the present Detector when it is drawn, and then by the proposal.
        + round_count * (2 * minibatch_size + trial_readings + held_count)
    )
    calls_by_agent[Agent.REFLECTOR] = round_count * settings.labelled
    # An optimiser that gives too many rules is asked once more.
    calls_by_agent[Agent.OPTIMISER] = 2 * round_count + settings.rewrite
    if not is_game:
        # Each candidate takes a minibatch read twice and the labels to choose by.
        candidate_count = settings.gepa_calls // (2 * settings.labelled) + 1
        calls_by_agent[Agent.DETECTOR] += round_count * (
            settings.gepa_calls + 3 * settings.gepa_labels + settings.labelled
        )
        calls_by_agent[Agent.REFLECTOR] = round_count * candidate_count * settings.labelled
        calls_by_agent[Agent.OPTIMISER] += 2 * round_count * candidate_count
    if is_game:
        calls_by_agent[Agent.GENERATOR] = calls_by_agent[Agent.CONFIRMER] = round_count * settings.attacks
    if is_game and settings.evolve_generator:
        for agent in (Agent.GENERATOR, Agent.DETECTOR, Agent.CONFIRMER):
            # Two S_G write for the same requests, and at worst every flaw fools and is confirmed.
            calls_by_agent[agent] += round_count * 2 * settings.duels
        calls_by_agent[Agent.OPTIMISER] += 2 * round_count
    return calls_by_agent
