"""Whether a proposed S_D gets in: the minibatch that inspired it, each change by itself, gate, safety."""

from backend.principles import gate, safety
from backend.principles.adversary import Minibatch, StepResult
from backend.principles.book import RulesVersion, StepData
from backend.principles.gate import Ruling
from backend.principles.proposals import Proposal
from backend.principles.table import GameRun
from backend.principles.trimming import trim_proposal
from backend.principles.vocabulary import DecisionReason, GamePhase, Role


async def decide_proposal(game_run: GameRun, round_number: int, proposal: Proposal, minibatch: Minibatch) -> bool:
    """Whether the proposed S_D is in; the standing is brought up to date."""
    trial_data = await game_run.run_step(
        round_number, GamePhase.TRY_D, lambda: _minibatch_step(game_run, proposal, minibatch)
    )
    trimmed_version = (
        await trim_proposal(game_run, round_number, proposal, minibatch.labels) if trial_data["passed"] else None
    )
    if trimmed_version is None:
        return False
    gate_data = await game_run.run_step(round_number, GamePhase.GATE_D, lambda: _gate_step(game_run, trimmed_version))
    accepted = bool(gate_data["accepted"])
    if accepted:
        game_run.search_state.adopt_detector(trimmed_version, gate_data)
    game_run.search_state.remember_result(Role.DETECTOR, trimmed_version.rules, accepted=accepted)
    return accepted


async def _minibatch_step(game_run: GameRun, proposal: Proposal, minibatch: Minibatch) -> StepResult:
    if proposal.refused is not None:
        ruling, new_values = Ruling(False, proposal.refused, {}), None
    else:
        new_values = await game_run.detector_values(proposal.version.rules, minibatch.labels)
        paired_test = gate.compare_values(minibatch.labels, minibatch.parent_values, new_values)
        ruling = gate.passes_minibatch(paired_test)
    outcomes = () if ruling.accepted else (game_run.version_outcome(proposal.version.id, ruling),)
    step_data = {
        "passed": ruling.accepted,
        "why": ruling.why.value,
        "facts": ruling.facts,
        "values": new_values,
    }
    return step_data, None, outcomes


async def _gate_step(game_run: GameRun, new_version: RulesVersion) -> StepResult:
    gate_labels, search_state = game_run.partitions.gate, game_run.search_state
    new_values = await game_run.detector_values(new_version.rules, gate_labels)
    paired_test = gate.compare_values(gate_labels, search_state.gate, new_values)
    ruling = gate.passes_gate(paired_test, search_state.gate, new_values, game_run.settings.alpha_per_round)
    safety_values = None
    if ruling.accepted:
        safety_values = await game_run.safety_values(new_version.rules)
        unscored_count = sum(safety_value is None for safety_value in search_state.safety)
        safety_ruling = gate.passes_safety(safety.compare_safety(search_state.safety, safety_values), unscored_count)
        ruling_facts = {**ruling.facts, "safety": safety_ruling.facts}
        if safety_ruling.why is DecisionReason.UNSCORED:
            ruling_facts |= safety_ruling.facts
        ruling = Ruling(safety_ruling.accepted, safety_ruling.why, ruling_facts)
    gate_figure = gate.gate_score(gate_labels, new_values)
    gate_outcome = game_run.version_outcome(new_version.id, ruling, gate_figure)
    step_data: StepData = {
        "values": new_values,
        "safety": safety_values,
        "accepted": ruling.accepted,
        "why": ruling.why.value,
        "facts": ruling.facts,
        "score": gate_figure.value,
    }
    return step_data, None, (gate_outcome,)
