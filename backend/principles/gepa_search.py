"""GEPA as the search for a better S_D: its population and Pareto choice, our agents, labels and gate.

GEPA sees played labels only, one half to reflect on and one to choose by; what it likes best comes to the
same minibatch test, gate and safety set as any other proposal.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from backend.judges.base import Draft
from backend.principles import draws
from backend.principles.adversary import Kept, Minibatch
from backend.principles.agents import Proposed
from backend.principles.book import Data, New, Version
from backend.principles.cases import Advice
from backend.principles.labels import Label
from backend.principles.proposals import Proposal, proposal_in
from backend.principles.rules import RuleSet, draft
from backend.principles.table import Table, sample_of
from backend.principles.vocabulary import Phase, Proposer, Role

T = TypeVar("T")
NAME = Role.DETECTOR.value
UNSCORED = 0.5
"""What an unscored label is worth to GEPA, which needs a number: neither right nor wrong."""


class GepaSearch:
    """One short GEPA run a round, from the present S_D."""

    async def search(self, table: Table, number: int) -> tuple[Proposal | None, Minibatch]:
        """GEPA's best candidate, None where that is the present S_D."""
        chosen = draws.labelled(table.deal.play, table.settings.seed, number, 2 * table.settings.gepa_labels)
        train, choose = chosen[::2], chosen[1::2]
        kept = await table.once(number, Phase.PROPOSE_D, lambda: _search(table, number, train, choose))
        minibatch = Minibatch(tuple(map(sample_of, choose)), tuple(choose), kept["before"], {})
        return proposal_in(table, Role.DETECTOR, kept), minibatch


async def _search(table: Table, number: int, train: Sequence[Label], choose: Sequence[Label]) -> Kept:
    parent = table.standing.detector
    before = await table.read(parent.rules, choose)
    adapter = RulesAdapter(table, parent.rules, asyncio.get_running_loop(), number)
    found = await asyncio.to_thread(_optimised, adapter, table, number, train, choose)
    return _kept(parent, adapter, found, before)


def _optimised(
    adapter: "RulesAdapter", table: Table, number: int, train: Sequence[Label], choose: Sequence[Label]
) -> Any:
    from gepa.api import optimize  # a slow import, needed for this search alone

    settings = table.settings
    return optimize(
        seed_candidate={NAME: _text(adapter.first)},
        trainset=list(train),
        valset=list(choose),
        adapter=cast(Any, adapter),
        reflection_minibatch_size=settings.labelled,
        max_metric_calls=settings.gepa_calls,
        cache_evaluation=True,
        logger=_Quiet(),
        seed=settings.seed + number,
    )


def _kept(parent: Version, adapter: "RulesAdapter", found: Any, before: Sequence[float | None]) -> Kept:
    data: Data = {
        "before": list(before),
        "candidates": len(found.candidates),
        "scores": [float(score) for score in found.val_aggregate_scores],
        "metric_calls": found.total_metric_calls,
    }
    best: RuleSet = adapter.rules_of(found.best_candidate)
    if best.hash == parent.rules.hash:
        return {**data, "version": None}, None, ()
    advice = [[one.source, one.text] for one in adapter.advice.get(best.hash, ())]
    data |= {"rules": best.plain(), "refused": None, "advice": advice}
    return data, New(best, parent.id, Proposer.GEPA), ()


@dataclass
class RulesAdapter:
    """What GEPA asks of a system, answered by the table in its own event loop; runs in GEPA's thread.

    `made` holds every set of rules by the text that GEPA carries, `advice` what each was made from.
    """

    table: Table
    first: RuleSet
    loop: asyncio.AbstractEventLoop
    number: int
    made: dict[str, RuleSet] = field(default_factory=dict)
    advice: dict[str, tuple[Advice, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made[_text(self.first)] = self.first

    def rules_of(self, candidate: Mapping[str, str]) -> RuleSet:
        """The rules that a candidate stands for."""
        return self.made[candidate[NAME]]

    def evaluate(self, batch: list[Label], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """1 for each label that the Detector gets right, 0 for a wrong one."""
        from gepa.core.adapter import EvaluationBatch

        rules = self.rules_of(candidate)
        drafts = self._await(self.table.detect(rules, list(map(sample_of, batch))))
        scores = [_score(label, said) for label, said in zip(batch, drafts, strict=True)]
        traces = list(zip(batch, drafts, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=drafts, scores=scores, trajectories=traces)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The labels that the candidate got wrong, each with the Reflector's advice."""
        wrong = [pair for pair in eval_batch.trajectories or () if _score(*pair) == 0]
        told = self._await(self.table.agents.reflect(wrong, self.rules_of(candidate))) if wrong else []
        records = [
            {"source": f"g{label.id}", "Feedback": advice}
            for (label, _), advice in zip(wrong, told, strict=True)
            if advice
        ]
        return dict.fromkeys(components_to_update, records)

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The optimiser's new rules; the old ones where it gave none that can be tried."""
        return {name: self._proposed(candidate, reflective_dataset[name]) for name in components_to_update}

    def _proposed(self, candidate: dict[str, str], records: Sequence[Mapping[str, Any]]) -> str:
        parent = self.rules_of(candidate)
        advice = tuple(Advice(one["Feedback"], one["source"]) for one in records)
        if not advice:
            return candidate[NAME]
        variant = f"{self.table.variant(self.number, Phase.PROPOSE_D)}-gepa"
        said: Proposed = self._await(
            self.table.agents.optimise(parent, [one.text for one in advice], [], variant)
        )
        evidence = [[advice[one].source for one in numbers] for numbers in said.evidence]
        made = draft(parent, said.rules, evidence)
        if made.refused is not None:
            return candidate[NAME]
        text = _text(made.rules)
        self.made.setdefault(text, made.rules)
        self.advice[made.rules.hash] = (*self.advice.get(parent.hash, ()), *advice)
        return text

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


class _Quiet:
    """GEPA's log goes nowhere: the step keeps what matters of it."""

    def log(self, message: str) -> None:
        """Nothing."""


def _text(rules: RuleSet) -> str:
    return "\n".join(rules.texts)


def _score(label: Label, said: Draft) -> float:
    return UNSCORED if said.value is None else float((said.value == 1) == label.good)
