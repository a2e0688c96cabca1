"""GEPA as the search for a better S_D: its population and Pareto choice, our agents, labels and gate.

GEPA sees played labels only, one half to reflect on and one to choose by; what it likes best comes to the
same minibatch test, gate and safety set as any other proposal.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from backend.core.enums import GamePhase, Proposer, Role
from backend.judges.base import Judgment
from backend.principles.algorithm import draws
from backend.principles.algorithm.adversary import Minibatch
from backend.principles.algorithm.agents import ProposedRules
from backend.principles.algorithm.decisions import Proposal, read_proposal
from backend.principles.algorithm.game_run import GameRun, StepResult, label_sample
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.rules import RuleSet, draft_rules
from backend.principles.algorithm.state import Advice, NewVersion, RulesVersion
from backend.principles.algorithm.steps import ProposalStep

ResultT = TypeVar("ResultT")
COMPONENT_NAME = Role.DETECTOR.value
# What an unscored label is worth to GEPA, which needs a number: neither right nor wrong.
UNSCORED_CREDIT = 0.5


class GepaSearch:
    """One short GEPA run a round, from the present S_D."""

    async def search(self, game_run: GameRun, round_number: int) -> tuple[Proposal | None, Minibatch]:
        """GEPA's best candidate, None where that is the present S_D."""
        drawn_labels = draws.draw_labels(
            game_run.partitions.play, game_run.settings.seed, round_number, 2 * game_run.settings.gepa_labels
        )
        # A draw has its good labels first and then the bad ones; every second one leaves both halves
        # balanced.
        train_labels, choice_labels = drawn_labels[::2], drawn_labels[1::2]
        proposal_step = await game_run.run_step(
            round_number,
            GamePhase.PROPOSE_D,
            ProposalStep,
            lambda: _search_step(game_run, round_number, train_labels, choice_labels),
        )
        minibatch = Minibatch(tuple(map(label_sample, choice_labels)), tuple(choice_labels), proposal_step.before, {})
        return read_proposal(game_run, Role.DETECTOR, proposal_step), minibatch


async def _search_step(
    game_run: GameRun,
    round_number: int,
    train_labels: Sequence[GameLabel],
    choice_labels: Sequence[GameLabel],
) -> StepResult[ProposalStep]:
    parent_version = game_run.search_state.detector
    parent_values = await game_run.detector_values(parent_version.rules, choice_labels)
    rules_adapter = RulesAdapter(game_run, parent_version.rules, asyncio.get_running_loop(), round_number)
    # GEPA is synchronous; in the loop's own thread its callbacks would wait for a loop that waits for them.
    gepa_result = await asyncio.to_thread(_run_gepa, rules_adapter, game_run, round_number, train_labels, choice_labels)
    return _proposal_step(parent_version, rules_adapter, gepa_result, parent_values)


def _run_gepa(
    rules_adapter: "RulesAdapter",
    game_run: GameRun,
    round_number: int,
    train_labels: Sequence[GameLabel],
    choice_labels: Sequence[GameLabel],
) -> Any:
    from gepa.api import optimize  # a slow import, needed for this search alone

    settings = game_run.settings
    return optimize(
        seed_candidate={COMPONENT_NAME: _rules_text(rules_adapter.first_rules)},
        trainset=list(train_labels),
        valset=list(choice_labels),
        adapter=cast(Any, rules_adapter),
        reflection_minibatch_size=settings.labelled,
        max_metric_calls=settings.gepa_calls,
        # A verdict that GEPA has already is not asked for again and does not count against its budget.
        cache_evaluation=True,
        logger=_SilentLogger(),
        # With the same seed every round would reflect on the same minibatches in the same order.
        seed=settings.seed + round_number,
    )


def _proposal_step(
    parent_version: RulesVersion,
    rules_adapter: "RulesAdapter",
    gepa_result: Any,
    parent_values: Sequence[float | None],
) -> StepResult[ProposalStep]:
    search_figures: dict[str, Any] = {
        # The minibatch test of the proposal compares with these, on the labels that GEPA chose by.
        "before": list(parent_values),
        "candidates": len(gepa_result.candidates),
        "scores": [float(candidate_score) for candidate_score in gepa_result.val_aggregate_scores],
        "metric_calls": gepa_result.total_metric_calls,
    }
    best_rules: RuleSet = rules_adapter.rules_of(gepa_result.best_candidate)
    if best_rules.hash == parent_version.rules.hash:
        return ProposalStep(**search_figures, version=None), None, ()
    advice = [
        (advice_piece.source, advice_piece.text)
        for advice_piece in rules_adapter.advice_by_hash.get(best_rules.hash, ())
    ]
    proposal_step = ProposalStep(**search_figures, rules=list(best_rules.rules), refused=None, advice=advice)
    return proposal_step, NewVersion(best_rules, parent_version.id, Proposer.GEPA), ()


@dataclass
class RulesAdapter:
    """What GEPA asks of a system, answered by the table in its own event loop; runs in GEPA's thread.

    `rules_by_text` holds every set of rules by the text that GEPA carries, `advice_by_hash` what each comes from.
    """

    game_run: GameRun
    first_rules: RuleSet
    event_loop: asyncio.AbstractEventLoop
    round_number: int
    rules_by_text: dict[str, RuleSet] = field(default_factory=dict)
    advice_by_hash: dict[str, tuple[Advice, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules_by_text[_rules_text(self.first_rules)] = self.first_rules

    def rules_of(self, candidate: Mapping[str, str]) -> RuleSet:
        """The rules that a candidate stands for."""
        return self.rules_by_text[candidate[COMPONENT_NAME]]

    def evaluate(self, batch: list[GameLabel], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """1 for each label that the Detector gets right, 0 for a wrong one."""
        from gepa.core.adapter import EvaluationBatch

        rule_set = self.rules_of(candidate)
        judgments = self._await_result(self.game_run.detector_judgments(rule_set, list(map(label_sample, batch))))
        scores = [_label_score(label, judgment) for label, judgment in zip(batch, judgments, strict=True)]
        trajectories = list(zip(batch, judgments, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=judgments, scores=scores, trajectories=trajectories)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The labels that the candidate got wrong, each with the Reflector's advice."""
        # Exactly 0: an unscored label is worth .5 and gives the Reflector nothing to explain.
        wrong_pairs = [trajectory for trajectory in eval_batch.trajectories or () if _label_score(*trajectory) == 0]
        advice_texts = (
            self._await_result(self.game_run.agents.reflect(wrong_pairs, self.rules_of(candidate)))
            if wrong_pairs
            else []
        )
        feedback_records = [
            {"source": f"g{label.id}", "Feedback": advice_text}
            for (label, _), advice_text in zip(wrong_pairs, advice_texts, strict=True)
            if advice_text
        ]
        return dict.fromkeys(components_to_update, feedback_records)

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The optimiser's new rules; the old ones where it gave none that can be tried."""
        return {
            component_name: self._proposed_text(candidate, reflective_dataset[component_name])
            for component_name in components_to_update
        }

    def _proposed_text(self, candidate: dict[str, str], feedback_records: Sequence[Mapping[str, Any]]) -> str:
        parent_rules = self.rules_of(candidate)
        advice_pieces = tuple(Advice(entry["Feedback"], entry["source"]) for entry in feedback_records)
        if not advice_pieces:
            return candidate[COMPONENT_NAME]
        call_variant = f"{self.game_run.variant(self.round_number, GamePhase.PROPOSE_D)}-gepa"
        proposed_rules: ProposedRules = self._await_result(
            self.game_run.agents.optimise(parent_rules, [entry.text for entry in advice_pieces], [], call_variant)
        )
        evidence = [
            [advice_pieces[entry].source for entry in cited_indices] for cited_indices in proposed_rules.evidence
        ]
        rules_draft = draft_rules(parent_rules, proposed_rules.rules, evidence)
        # GEPA takes the unchanged text for a failed attempt and goes on; raising would end its search.
        if rules_draft.refused is not None:
            return candidate[COMPONENT_NAME]
        rules_text = _rules_text(rules_draft.rules)
        # The first set with these texts stays, and with it the evidence that earlier candidates refer to.
        self.rules_by_text.setdefault(rules_text, rules_draft.rules)
        self.advice_by_hash[rules_draft.rules.hash] = (
            *self.advice_by_hash.get(parent_rules.hash, ()),
            *advice_pieces,
        )
        return rules_text

    def _await_result(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        # Clients and limiter belong to the run's loop; a loop of this thread's own would not share their
        # bounds.
        return asyncio.run_coroutine_threadsafe(coroutine, self.event_loop).result()


class _SilentLogger:
    """GEPA's log goes nowhere: the step keeps what matters of it."""

    def log(self, message: str) -> None:
        """Drop the message."""


def _rules_text(rule_set: RuleSet) -> str:
    return "\n".join(rule_set.texts)


def _label_score(label: GameLabel, judgment: Judgment) -> float:
    return UNSCORED_CREDIT if judgment.value is None else float((judgment.value == 1) == label.good)
