"""What a run takes at most, from its numbers alone."""

from collections.abc import Mapping
from typing import Any

from backend.evolution.labels import count_labels, plain_partitions
from backend.evolution.records import RunCostEstimate
from backend.llm.endpoint import Endpoint
from backend.principles.labels import PartitionedLabels
from backend.principles.safety import safety_attacks
from backend.principles.settings import GameSettings
from backend.principles.trimming import MAX_CHANGES
from backend.principles.vocabulary import Agent, SearchMethod

TOKENS_PER_CALL = {
    Agent.DETECTOR: (1_200, 120),
    Agent.GENERATOR: (900, 250),
    Agent.CONFIRMER: (700, 100),
    Agent.REFLECTOR: (1_100, 150),
    Agent.OPTIMISER: (3_500, 1_000),
}
"""Tokens in and out of one call, roughly."""
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
    held_count, minibatch_size = (
        len(partitions.gate) + len(safety_attacks()),
        settings.labelled + settings.attacks,
    )
    trial_readings = (MAX_CHANGES + 1) * settings.trim
    locked_readings = 3 if settings.rewrite else 2
    calls_by_agent = dict.fromkeys(Agent, 0)
    calls_by_agent[Agent.DETECTOR] = (
        held_count
        + locked_readings * len(partitions.locked)
        + round_count * (2 * minibatch_size + trial_readings + held_count)
    )
    calls_by_agent[Agent.REFLECTOR] = round_count * settings.labelled
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
            calls_by_agent[agent] += round_count * 2 * settings.duels
        calls_by_agent[Agent.OPTIMISER] += 2 * round_count
    return calls_by_agent
