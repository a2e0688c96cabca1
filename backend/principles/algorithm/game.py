"""A run from its first reading of the gate to the locked report: rounds, early stop, best version."""

from collections.abc import Callable
from typing import Protocol

from backend.core.enums import DecisionReason, GamePhase, Role, SearchMethod
from backend.principles.algorithm import adversary, gate
from backend.principles.algorithm.adversary import Minibatch
from backend.principles.algorithm.decisions import Proposal, decide_proposal, propose_rules
from backend.principles.algorithm.duel import decide_duel
from backend.principles.algorithm.game_run import GameRun, StepResult
from backend.principles.algorithm.gate import Ruling
from backend.principles.algorithm.locked import report_locked_set
from backend.principles.algorithm.steps import StartStep


class Searcher(Protocol):
    """Finds a new S_D in one round. Both searches stand behind the same gate."""

    async def search(self, game_run: GameRun, round_number: int) -> tuple[Proposal | None, Minibatch]:
        """A proposal, None where there is nothing to propose, and what inspired it."""


class GameSearch:
    """Adversarial phase, confirmation, self-reflection, optimiser."""

    async def search(self, game_run: GameRun, round_number: int) -> tuple[Proposal | None, Minibatch]:
        """One new S_D from all the advice of a minibatch."""
        minibatch = await adversary.prepare_minibatch(game_run, round_number)
        detector_advice = minibatch.advice_by_role[Role.DETECTOR]
        proposal = await propose_rules(game_run, round_number, GamePhase.PROPOSE_D, Role.DETECTOR, detector_advice)
        return proposal, minibatch


async def run_game(game_run: GameRun, searchers: dict[SearchMethod, Callable[[], Searcher]]) -> None:
    """Play until the rounds are over or nothing new gets in any more, then open the locked set.

    A kept phase is never played again, so the same call goes on where a run stopped. Raises LLMError
    where the run cannot go on (budget, cancelled, fatal), EndpointUnavailable, and AwaitingConfirmation of people.
    """
    await _start_run(game_run)
    searcher = searchers[game_run.settings.search]()
    for round_number in range(1, game_run.settings.rounds + 1):
        # Counted anew from stored steps when a run is resumed, so it stops where it would have stopped.
        if game_run.search_state.idle_rounds >= game_run.settings.patience:
            break
        await _play_round(game_run, searcher, round_number)
    # Once and after all choices are made: figures on labels that had a say in a choice are too good.
    await report_locked_set(game_run)


async def _start_run(game_run: GameRun) -> None:
    first_version = game_run.search_state.detector

    async def read_start() -> StepResult[StartStep]:
        gate_values = await game_run.detector_values(first_version.rules, game_run.partitions.gate)
        safety_values = await game_run.safety_values(first_version.rules)
        gate_figure = gate.gate_score(game_run.partitions.gate, gate_values)
        start_ruling = Ruling(
            True,
            DecisionReason.START,
            {"missing": sum(gate_value is None for gate_value in gate_values), "of": len(gate_values)},
        )
        outcomes = (
            game_run.version_outcome(first_version.id, start_ruling, gate_figure),
            game_run.version_outcome(game_run.search_state.generator.id, Ruling(True, DecisionReason.START, {})),
        )
        return StartStep(values=gate_values, safety=safety_values, score=gate_figure.value), None, outcomes

    # Round 0: the gate's paired test needs the parent's verdicts, and the first Detector is a parent too.
    start_step = await game_run.run_step(0, GamePhase.START, StartStep, read_start)
    game_run.search_state.adopt_detector(first_version, start_step)
    # A proposal that comes back to the first rules is refused without a look at the gate.
    game_run.search_state.tried_hashes |= {
        first_version.rules.hash,
        game_run.search_state.generator.rules.hash,
    }


async def _play_round(game_run: GameRun, searcher: Searcher, round_number: int) -> None:
    proposal, minibatch = await searcher.search(game_run, round_number)
    improved = proposal is not None and await decide_proposal(game_run, round_number, proposal, minibatch)
    # GEPA gathers no advice for a Generator, so with it S_G stays as it is.
    if game_run.settings.evolve_generator and game_run.settings.search is SearchMethod.GAME:
        # After the Detector's turn, so that both S_G of the duel face the Detector in force.
        generator_advice = minibatch.advice_by_role[Role.GENERATOR]
        generator_proposal = await propose_rules(
            game_run, round_number, GamePhase.PROPOSE_G, Role.GENERATOR, generator_advice
        )
        improved |= generator_proposal is not None and await decide_duel(game_run, round_number, generator_proposal)
    game_run.search_state.idle_rounds = 0 if improved else game_run.search_state.idle_rounds + 1
