"""What a run takes at most, from its numbers alone."""

from collections.abc import Mapping
from typing import Any

from backend.evolution.labels import counted, plain_deal
from backend.evolution.records import Rough
from backend.llm.endpoint import Endpoint
from backend.principles.labels import Deal
from backend.principles.safety import attacks
from backend.principles.settings import GameSettings
from backend.principles.trimming import MOST_CHANGES
from backend.principles.vocabulary import Agent, Search

TOKENS = {
    Agent.DETECTOR: (1_200, 120),
    Agent.GENERATOR: (900, 250),
    Agent.CONFIRMER: (700, 100),
    Agent.REFLECTOR: (1_100, 150),
    Agent.OPTIMISER: (3_500, 1_000),
}
"""Tokens in and out of one call, roughly."""
LATENCY_S = 2.0


def rough(settings: GameSettings, found: Deal, endpoints: Mapping[Agent, Endpoint]) -> Rough:
    """The most calls, and what they cost at the prices of the endpoints."""
    calls = most_calls(settings, found)
    tokens = {agent: count * sum(TOKENS[agent]) for agent, count in calls.items()}
    cost = sum(
        endpoints[agent].cost(count * TOKENS[agent][0], count * TOKENS[agent][1])
        for agent, count in calls.items()
    )
    seconds = sum(count * LATENCY_S / endpoints[agent].concurrency for agent, count in calls.items())
    labels: dict[str, Any] = counted(plain_deal(found))
    return Rough(sum(calls.values()), sum(tokens.values()), cost, seconds, labels)


def most_calls(settings: GameSettings, found: Deal) -> dict[Agent, int]:
    """Calls by agent, were no proposal to fall before its last test and every verdict wrong."""
    rounds, game = settings.rounds, settings.search is Search.GAME
    held, minibatch = len(found.gate) + len(attacks()), settings.labelled + settings.attacks
    trials = (MOST_CHANGES + 1) * settings.trim
    readings = 3 if settings.rewrite else 2
    calls = dict.fromkeys(Agent, 0)
    calls[Agent.DETECTOR] = held + readings * len(found.locked) + rounds * (2 * minibatch + trials + held)
    calls[Agent.REFLECTOR] = rounds * settings.labelled
    calls[Agent.OPTIMISER] = 2 * rounds + settings.rewrite
    if not game:
        # Each candidate takes a minibatch read twice and the labels to choose by.
        candidates = settings.gepa_calls // (2 * settings.labelled) + 1
        calls[Agent.DETECTOR] += rounds * (settings.gepa_calls + 3 * settings.gepa_labels + settings.labelled)
        calls[Agent.REFLECTOR] = rounds * candidates * settings.labelled
        calls[Agent.OPTIMISER] += 2 * rounds * candidates
    if game:
        calls[Agent.GENERATOR] = calls[Agent.CONFIRMER] = rounds * settings.attacks
    if game and settings.evolve_generator:
        for agent in (Agent.GENERATOR, Agent.DETECTOR, Agent.CONFIRMER):
            calls[agent] += rounds * 2 * settings.duels
        calls[Agent.OPTIMISER] += 2 * rounds
    return calls
