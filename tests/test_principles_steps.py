"""Each step of a round with scripted agents: what it keeps, word for word, and whom it lets in."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from backend.agreement.statistics.paired import PairedTest
from backend.core.enums import DecisionReason, Flaw, FlawConfirmer, GamePhase, Proposer, Role, SearchMethod
from backend.core.stored_records import read_record
from backend.judges.base import Judgment, Sample
from backend.principles.algorithm import decisions as proposals
from backend.principles.algorithm import duel, game, gate, locked
from backend.principles.algorithm.adversary import AwaitingConfirmation, Minibatch
from backend.principles.algorithm.agents import ProposedRules
from backend.principles.algorithm.decisions import (
    MAX_CHANGES,
    Proposal,
    RuleChange,
    draft_proposal,
    proposal_changes,
    read_proposal,
    trim_proposal,
)
from backend.principles.algorithm.draws import FlawTask, draw_other_labels, draw_tasks
from backend.principles.algorithm.game_run import GameRun, SearchState
from backend.principles.algorithm.gate import safety_attacks
from backend.principles.algorithm.labels import GameLabel, PartitionedLabels
from backend.principles.algorithm.rules import MAX_TOTAL_LENGTH, PrincipleRule, RuleSet, rules_from_texts
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import (
    Advice,
    FlawConfirmation,
    InMemoryGameRecord,
    NewVersion,
    PlantedFlaw,
    RulesVersion,
    VersionOutcome,
)
from backend.principles.algorithm.steps import JudgedFlaw, ProposalStep

Value = float | None
Says = Callable[[RuleSet, Sample], Value]
OLD = rules_from_texts(Role.DETECTOR, ["看真诚。", "看忌讳。"])
NEW = rules_from_texts(Role.DETECTOR, ["看真诚。", "看忌讳。", "看称呼。"])
GEN = rules_from_texts(Role.GENERATOR, ["藏得深一点。"])


class Scripted:
    """Agents that write one flaw a task and say what they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fault: Callable[[FlawTask], str] = lambda _task: ""
        self.there: Callable[[PlantedFlaw], bool | None] = lambda _case: True
        self.said = ProposedRules(("看真诚。", "看称呼。"), ((0,), (1, 0)), "raw", "因为")

    async def write(self, given: Sequence[FlawTask], rules: RuleSet, variant: str) -> list[PlantedFlaw]:
        self.asked.append(("write", list(given), rules, variant))
        return [
            PlantedFlaw(one.prompt, one.flaw, f"{rules.hash}祝{one.prompt}", fault=self.fault(one)) for one in given
        ]

    async def confirm(self, cases: Sequence[PlantedFlaw]) -> list[FlawConfirmation]:
        return [FlawConfirmation(self.there(case), "理由") for case in cases]

    async def optimise(self, rules: RuleSet, advice: list[str], rejected: list[str], variant: str) -> ProposedRules:
        self.asked.append(("optimise", rules, advice, list(rejected), variant))
        return self.said

    async def rewrite(self, rules: RuleSet, examples: Sequence[GameLabel], variant: str) -> ProposedRules:
        self.asked.append(("rewrite", rules, list(examples), variant))
        return ProposedRules(("看称呼。",), ((),), "raw", "改写")


class Judge:
    """A Detector that says of a sample what a function says."""

    def __init__(self, rules: RuleSet, says: Says) -> None:
        self._rules, self._says = rules, says

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        return [Judgment(self._says(self._rules, sample), "看过") for sample in samples]


def labels(size: int, start: int = 0) -> tuple[GameLabel, ...]:
    return tuple(GameLabel(n, f"请求{n}", f"祝福{n}", n % 2 == 0) for n in range(start, start + size))


GOOD = {one.greeting: one.good for one in labels(400)}
SAFE = {one.sample.greeting: one.good for one in safety_attacks()}


def truth(sample: Sample) -> float:
    return float({**GOOD, **SAFE}.get(sample.greeting, False))


def better(rules: RuleSet, sample: Sample) -> Value:
    """Right with the third rule; without it a yes to everything but the safety set."""
    if "看称呼。" in rules.texts or sample.greeting in SAFE:
        return truth(sample)
    return 1.0


def table(says: Says = better, **settings: Any) -> GameRun:
    standing = SearchState(RulesVersion(1, OLD), RulesVersion(2, GEN), RulesVersion(1, OLD), 0.5)
    deal = PartitionedLabels(labels(40), labels(40, 100), labels(40, 200))
    given = read_record(GameSettings, {"rounds": 2, "alpha": 0.1, **settings})
    made = GameRun(Scripted(), lambda rules: Judge(rules, says), deal, given, InMemoryGameRecord(10), standing)  # type: ignore[arg-type, return-value]
    standing.gate = [says(OLD, Sample(one.prompt, one.greeting)) for one in deal.gate]
    standing.safety = [says(OLD, one.sample) for one in safety_attacks()]
    return made


def agents(of: GameRun) -> Scripted:
    assert isinstance(of.agents, Scripted)
    return of.agents


def book(of: GameRun) -> InMemoryGameRecord:
    assert isinstance(of.game_record, InMemoryGameRecord)
    return of.game_record


def proposal(rules: RuleSet = NEW, refused: DecisionReason | None = None) -> Proposal:
    return Proposal(RulesVersion(7, rules), refused)


def batch(of: GameRun, size: int = 8) -> Minibatch:
    chosen = of.partitions.play[:size]
    samples = tuple(Sample(one.prompt, one.greeting) for one in chosen)
    return Minibatch(samples, chosen, [1.0] * size, {role: [] for role in Role})


# The gate -----------------------------------------------------------------------------------------------


def test_a_better_proposal_is_in_with_all_its_figures() -> None:
    at = table()
    assert asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at)))
    found = gate.compare_values(at.partitions.gate, [1.0] * 40, [float(one.good) for one in at.partitions.gate])
    assert found == PairedTest(40, 0, 20, 0, pytest.approx(2.0**-20))
    same = asdict(gate.compare_safety(at.search_state.safety, at.search_state.safety))
    facts = {**asdict(found), "level": at.settings.alpha_per_round, "missing": 0, "of": 40, "safety": same}
    kept = book(at).steps[1, GamePhase.GATE_D]
    assert kept == {
        "values": [float(one.good) for one in at.partitions.gate],
        "safety": [float(one.good) for one in safety_attacks()],
        "accepted": True,
        "why": "better",
        "facts": facts,
        "score": 1.0,
    }
    score = gate.gate_score(at.partitions.gate, kept["values"])
    assert book(at).outcomes == [VersionOutcome(7, True, DecisionReason.BETTER, facts, 1.0, score.low, score.high)]
    tried = book(at).steps[1, GamePhase.TRY_D]
    result = gate.compare_values(at.partitions.play[:8], [1.0] * 8, tried["values"])
    assert tried == {
        "passed": True,
        "why": "better",
        "facts": asdict(result),
        "values": [float(one.good) for one in at.partitions.play[:8]],
    }
    standing = at.search_state
    assert (standing.detector.id, standing.best.id, standing.best_score) == (7, 7, 1.0)
    assert standing.gate == kept["values"] and standing.safety == kept["safety"]
    assert standing.tried_hashes == {NEW.hash} and standing.rejected == {role: [] for role in Role}


def test_a_proposal_that_helps_nobody_falls_at_the_minibatch() -> None:
    at = table(lambda _rules, _sample: 1.0)
    assert not asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at)))
    assert set(book(at).steps) == {(1, GamePhase.TRY_D)} and at.search_state.tried_hashes == set()
    (outcome,) = book(at).outcomes
    assert (outcome.version, outcome.accepted, outcome.why, outcome.score) == (
        7,
        False,
        DecisionReason.MINIBATCH,
        None,
    )
    assert book(at).steps[1, GamePhase.TRY_D]["passed"] is False


def test_a_refused_proposal_is_read_by_nobody() -> None:
    at = table()
    at.build_judge = lambda _rules: pytest.fail("nobody is asked")
    assert not asyncio.run(game.decide_proposal(at, 1, proposal(refused=DecisionReason.SEEN), batch(at)))
    assert book(at).steps[1, GamePhase.TRY_D] == {"passed": False, "why": "seen", "facts": {}, "values": None}
    assert book(at).outcomes == [VersionOutcome(7, False, DecisionReason.SEEN, {})]


def unsafe(lost: int, silent: int = 0) -> Says:
    """Better on labels; with the new rule the first attacks are lost, or left open."""
    first = [one.sample.greeting for one in safety_attacks()]

    def says(rules: RuleSet, sample: Sample) -> Value:
        if "看称呼。" in rules.texts and sample.greeting in first[:lost]:
            return 1 - truth(sample)
        if "看称呼。" in rules.texts and sample.greeting in first[:silent]:
            return None
        return better(rules, sample)

    return says


def test_what_is_better_and_less_safe_stays_out() -> None:
    at = table(unsafe(lost=1))
    assert not asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at)))
    kept = book(at).steps[1, GamePhase.GATE_D]
    assert (kept["accepted"], kept["why"], kept["score"]) == (False, "safety", 1.0)
    assert sum(kept["facts"]["safety"]["lost"].values()) == 1 and kept["facts"]["fixed"] == 20
    assert kept["safety"] is not None and at.search_state.detector.id == 1
    assert at.search_state.rejected[Role.DETECTOR] == ["看称呼。"], "its new rule is remembered"
    (outcome,) = book(at).outcomes
    assert (outcome.accepted, outcome.why, outcome.score) == (False, DecisionReason.SAFETY, 1.0)


def test_what_leaves_the_safety_set_open_stays_out_and_says_of_how_many() -> None:
    at = table(unsafe(lost=0, silent=4))
    assert not asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at)))
    facts = book(at).steps[1, GamePhase.GATE_D]["facts"]
    assert book(at).steps[1, GamePhase.GATE_D]["why"] == "unscored"
    assert (facts["missing"], facts["of"], facts["fixed"]) == (4, 30, 20)
    assert facts["safety"] == {"missing": 4, "of": 30} and facts["level"] == at.settings.alpha_per_round
    at.search_state.safety[:4] = [None] * 4
    book(at).steps.clear()
    assert asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at))), "its parent left as many open"


def test_what_is_no_better_never_sees_the_safety_set() -> None:
    def says(rules: RuleSet, sample: Sample) -> Value:
        assert sample.greeting not in SAFE or "看称呼。" not in rules.texts
        return better(rules, sample) if sample.greeting in {one.greeting for one in labels(40)} else 1.0

    at = table(says)
    assert not asyncio.run(game.decide_proposal(at, 1, proposal(), batch(at)))
    kept = book(at).steps[1, GamePhase.GATE_D]
    assert (kept["why"], kept["safety"], kept["score"]) == ("gate", None, 0.5)


# The duel -----------------------------------------------------------------------------------------------


HARDER = rules_from_texts(Role.GENERATOR, ["藏得更深。"])


def fooled_by(*rules: RuleSet) -> Says:
    """Fooled by what these Generators write, which begins with the hash of their rules."""
    return lambda _rules, sample: float(any(sample.greeting.startswith(one.hash) for one in rules))


def test_a_generator_that_fools_with_real_flaws_is_in() -> None:
    at = table(fooled_by(HARDER), duels=10)
    assert asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    fight, ruled = book(at).steps[1, GamePhase.DUEL], book(at).steps[1, GamePhase.GATE_G]
    drawn = draw_tasks(at.partitions.play, at.settings.seed, 1, 10, "duel")
    assert [(one["prompt"], one["flaw"]) for one in fight["cases"]] == [(t.prompt, t.flaw) for t in drawn] * 2
    assert (fight["old"], fight["new"]) == (2, 7)
    assert [one["value"] for one in fight["cases"]] == [0.0] * 10 + [1.0] * 10
    variant = at.variant(1, GamePhase.DUEL)
    assert agents(at).asked == [("write", drawn, GEN, variant), ("write", drawn, HARDER, variant)]
    facts = {
        **asdict(PairedTest(10, 0, 10, 0, 2.0**-10)),
        "level": at.settings.alpha_per_round,
        "before": 0,
        "after": 10,
    }
    assert ruled == {"accepted": True, "why": "better", "facts": facts}
    assert book(at).outcomes == [VersionOutcome(7, True, DecisionReason.BETTER, facts)]
    assert at.search_state.generator.id == 7 and at.search_state.tried_hashes == {HARDER.hash}


def test_a_generator_that_fools_no_more_stays_out() -> None:
    for says in (fooled_by(), fooled_by(GEN), fooled_by(GEN, HARDER)):
        at = table(says, duels=10)
        assert not asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
        ruled = book(at).steps[1, GamePhase.GATE_G]
        assert (ruled["accepted"], ruled["why"]) == (False, "not_fooling")
        assert at.search_state.generator.id == 2 and at.search_state.rejected[Role.GENERATOR] == ["藏得更深。"]


def test_flaws_that_are_not_there_fool_nobody() -> None:
    at = table(fooled_by(HARDER), duels=10)
    agents(at).there = lambda _case: False
    assert not asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    facts = book(at).steps[1, GamePhase.GATE_G]["facts"]
    assert (facts["fixed"], facts["before"], facts["after"], facts["unscored"]) == (0, 0, 0, 0)
    nobody = table(fooled_by(HARDER), duels=10)
    agents(nobody).there = lambda _case: None
    asyncio.run(duel.decide_duel(nobody, 1, proposal(HARDER)))
    assert book(nobody).steps[1, GamePhase.GATE_G]["facts"]["unscored"] == 10, "that cannot be told"


def test_a_generator_that_refuses_loses_where_the_other_one_fooled() -> None:
    at = table(fooled_by(GEN, HARDER), duels=8)
    place = iter([*[""] * 8, *["refused"] * 3, *[""] * 5])
    agents(at).fault = lambda _task: next(place)
    assert not asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    facts = book(at).steps[1, GamePhase.GATE_G]["facts"]
    assert (facts["n"], facts["fixed"], facts["broken"], facts["before"], facts["after"]) == (8, 0, 3, 8, 5)
    assert facts["p"] == 1.0


def test_a_refused_generator_does_not_fight() -> None:
    at = table()
    assert not asyncio.run(duel.decide_duel(at, 1, proposal(HARDER, DecisionReason.UNCHANGED)))
    assert book(at).steps == {(1, GamePhase.DUEL): {"cases": []}} and at.search_state.tried_hashes == set()
    assert book(at).outcomes == [VersionOutcome(7, False, DecisionReason.UNCHANGED, {})]


def test_people_confirm_a_duel_under_its_own_name() -> None:
    at = table(fooled_by(HARDER), duels=8, confirm=FlawConfirmer.PERSON.value)
    with pytest.raises(AwaitingConfirmation, match="8 planted"):
        asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    book(at).stored_answers[1, GamePhase.ADVERSARY] = dict.fromkeys(range(16), True)
    with pytest.raises(AwaitingConfirmation):
        asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    book(at).stored_answers[1, GamePhase.DUEL] = {place: place != 9 for place in range(8, 16)}
    asyncio.run(duel.decide_duel(at, 1, proposal(HARDER)))
    assert book(at).steps[1, GamePhase.GATE_G]["facts"]["after"] == 7
    assert book(at).steps[1, GamePhase.DUEL_CONFIRM]["by"] == "person"


@pytest.mark.parametrize(
    ("case", "there", "won"),
    [
        ({"fault": "refused", "value": None}, None, False),
        ({"fault": "", "value": None}, True, None),
        ({"fault": "", "value": 0}, None, False),
        ({"fault": "", "value": 0}, True, False),
        ({"fault": "", "value": 1}, None, None),
        ({"fault": "", "value": 1}, True, True),
        ({"fault": "", "value": 1}, False, False),
    ],
)
def test_who_won_a_case(case: dict[str, Any], there: bool | None, won: bool | None) -> None:
    judged = JudgedFlaw(prompt="请求", flaw=Flaw.CLICHE, reason="", **case)
    assert duel._fooled_detector(judged, FlawConfirmation(there)) is won


# Trimming -----------------------------------------------------------------------------------------------


TWO = rules_from_texts(Role.DETECTOR, ["看真诚。", "看忌讳。", "看称呼。", "看长短。"])


def harmful(rules: RuleSet, sample: Sample) -> Value:
    """看称呼 mends everything, 看长短 spoils a part of it."""
    if "看长短。" in rules.texts and sample.greeting.endswith("1"):
        return 1 - truth(sample)
    return truth(sample) if "看称呼。" in rules.texts else 1.0


def test_changes_are_rules_added_and_left_out() -> None:
    other = rules_from_texts(Role.DETECTOR, ["看称呼。", "看真诚。"])
    assert proposal_changes(OLD, other) == [RuleChange(other.rules[0], True), RuleChange(OLD.rules[1], False)]
    assert proposal_changes(OLD, OLD) == []
    added, gone = proposal_changes(OLD, other)
    assert added.without_change(other).texts == ("看真诚。",) and gone.without_change(other).texts == (
        *other.texts,
        "看忌讳。",
    )
    assert added.without_change(other).role is gone.without_change(other).role is Role.DETECTOR


def test_a_rule_that_harms_is_trimmed_away() -> None:
    at = table(harmful)
    left = asyncio.run(trim_proposal(at, 1, proposal(TWO), at.partitions.play[:8]))
    assert left == RulesVersion(10, NEW)
    kept = book(at).steps[1, GamePhase.TRIM]
    rest = draw_other_labels(at.partitions.play, at.settings.seed, 1, at.settings.trim, at.partitions.play[:8])
    spoilt = sum(one.greeting.endswith("1") for one in rest)
    wrong = sum(not one.good and not one.greeting.endswith("1") for one in rest)
    assert kept["changes"] == [
        {"added": True, "text": "看称呼。", "undone": False, "change": [0, wrong]},
        {"added": True, "text": "看长短。", "undone": True, "change": [spoilt, 0]},
    ]
    assert (kept["left"], kept["rules"], kept["version"]) == ("less", NEW.stored_rules, 10)
    assert book(at).versions[10] == NewVersion(NEW, 1, Proposer.OPTIMISER, "v7")
    assert book(at).outcomes == [VersionOutcome(7, False, DecisionReason.TRIMMED, {"undone": 1, "of": 2})]
    assert asyncio.run(trim_proposal(at, 1, proposal(TWO), at.partitions.play[:8])) == RulesVersion(10, NEW), (
        "as it was kept"
    )


def test_a_proposal_in_which_nothing_harms_goes_as_it_is() -> None:
    at = table(lambda rules, sample: truth(sample) if "看称呼。" in rules.texts else 1.0)
    assert asyncio.run(trim_proposal(at, 1, proposal(TWO), at.partitions.play[:8])) == RulesVersion(7, TWO)
    kept = book(at).steps[1, GamePhase.TRIM]
    assert kept["left"] == "same" and not book(at).outcomes and not book(at).versions
    assert [one["undone"] for one in kept["changes"]] == [False, False]


@pytest.mark.parametrize(("known", "why", "undone"), [(NEW, DecisionReason.SEEN, 1), (OLD, DecisionReason.USELESS, 2)])
def test_what_is_left_may_have_been_there_before(known: RuleSet, why: DecisionReason, undone: int) -> None:
    def says(rules: RuleSet, sample: Sample) -> Value:
        extra = len(set(rules.texts) - set(known.texts))
        wrong = sample.greeting not in SAFE and int(sample.greeting.removeprefix("祝福")) % 3 < extra
        return 1 - truth(sample) if wrong else truth(sample)

    at = table(says)
    at.search_state.tried_hashes = {known.hash}
    assert asyncio.run(trim_proposal(at, 1, proposal(TWO), at.partitions.play[:8])) is None
    assert book(at).outcomes == [VersionOutcome(7, False, why, {"undone": undone, "of": 2})]
    assert book(at).steps[1, GamePhase.TRIM]["left"] is None and not book(at).versions


@pytest.mark.parametrize(("added", "asked"), [(1, False), (2, True), (MAX_CHANGES, True), (MAX_CHANGES + 1, False)])
def test_how_many_changes_are_tried_one_by_one(added: int, asked: bool) -> None:
    at = table()
    rules = rules_from_texts(Role.DETECTOR, [*OLD.texts, *(f"新规则{'甲乙丙丁戊己庚辛'[n]}" for n in range(added))])
    assert asyncio.run(trim_proposal(at, 1, proposal(rules), at.partitions.play[:8])) == RulesVersion(7, rules)
    assert ((1, GamePhase.TRIM) in book(at).steps) is asked
    nothing_left = table()
    asyncio.run(trim_proposal(nothing_left, 1, proposal(TWO), nothing_left.partitions.play))
    assert not book(nothing_left).steps, "no label is left to try them on"


def test_no_more_rules_than_a_judge_takes() -> None:
    ten = rules_from_texts(Role.DETECTOR, [f"规则{n}。" for n in "甲乙丙丁戊己庚辛壬癸"])
    assert proposals._is_allowed_size(ten) and not proposals._is_allowed_size(RuleSet(Role.DETECTOR, ()))
    assert not proposals._is_allowed_size(RuleSet(Role.DETECTOR, (*ten.rules, PrincipleRule("x", "再一条"))))
    assert proposals._is_allowed_size(RuleSet(Role.DETECTOR, (PrincipleRule("x", "长" * MAX_TOTAL_LENGTH),)))
    assert not proposals._is_allowed_size(RuleSet(Role.DETECTOR, (PrincipleRule("x", "长" * (MAX_TOTAL_LENGTH + 1)),)))


# Proposals ----------------------------------------------------------------------------------------------


def test_advice_becomes_a_proposal_with_its_evidence() -> None:
    at = table()
    at.search_state.rejected[Role.DETECTOR] = ["旧规则"]
    advice = [Advice("甲", "r1.a0"), Advice("乙", "r1.l2")]
    found = asyncio.run(proposals.propose_rules(at, 1, GamePhase.PROPOSE_D, Role.DETECTOR, advice))
    assert found is not None and (found.version.id, found.refused) == (10, None)
    assert agents(at).asked == [("optimise", OLD, ["甲", "乙"], ["旧规则"], at.variant(1, GamePhase.PROPOSE_D))]
    texts = [(one.text, one.evidence) for one in found.version.rules.rules]
    assert texts == [("看真诚。", ()), ("看称呼。", ("r1.l2", "r1.a0"))]
    kept = book(at).steps[1, GamePhase.PROPOSE_D]
    assert kept["advice"] == [["r1.a0", "甲"], ["r1.l2", "乙"]] and kept["refused"] is None
    assert kept["rules"] == found.version.rules.stored_rules
    assert book(at).versions[10] == NewVersion(found.version.rules, 1, Proposer.OPTIMISER, "因为")


def test_without_advice_nobody_is_asked() -> None:
    at = table()
    assert asyncio.run(proposals.propose_rules(at, 1, GamePhase.PROPOSE_G, Role.GENERATOR, [])) is None
    assert book(at).steps == {(1, GamePhase.PROPOSE_G): {"version": None}} and not agents(at).asked


def test_a_set_that_was_tried_is_refused_for_a_detector_only() -> None:
    at = table()
    at.search_state.tried_hashes = {NEW.hash, HARDER.hash}
    for role, rules, refused in ((Role.DETECTOR, NEW, DecisionReason.SEEN), (Role.GENERATOR, HARDER, None)):
        found = read_proposal(at, role, ProposalStep(version=4, rules=list(rules.rules), refused=None))
        assert found == Proposal(RulesVersion(4, rules), refused)
    kept = ProposalStep(version=4, rules=list(NEW.rules), refused="too_many")
    assert read_proposal(at, Role.DETECTOR, kept) == Proposal(RulesVersion(4, NEW), DecisionReason.TOO_MANY)
    step, new, outcomes = draft_proposal(RulesVersion(1, OLD), ProposedRules((), (), "raw", "x"), (), Proposer.GEPA)
    assert (step.refused, step.rules, step.advice, outcomes) == ("no_rules", [], [], ())
    assert new == NewVersion(RuleSet(Role.DETECTOR, ()), 1, Proposer.GEPA, "x")


# The locked set -----------------------------------------------------------------------------------------


def test_the_locked_set_reads_start_rewriting_best_and_length() -> None:
    at = table(rewrite=True)
    at.search_state.best = RulesVersion(7, NEW)
    asyncio.run(locked.report_locked_set(at))
    kept = book(at).steps[0, GamePhase.LOCKED]
    right = [float(one.good) for one in at.partitions.locked]
    assert kept["values"] == {"start": [1.0] * 40, "rewrite": right, "best": right} and kept["best"] == 7
    assert [(row["name"], row["n"], row["unscored"]) for row in kept["rows"]] == [
        ("start", 40, 0),
        ("rewrite", 40, 0),
        ("best", 40, 0),
        ("length", 40, 0),
    ]
    assert kept["change"] == asdict(gate.compare_values(at.partitions.locked, [1.0] * 40, right))
    accuracy = [row["accuracy"]["value"] for row in kept["rows"][:3]]
    assert accuracy == [0.5, 1.0, 1.0]
    best = kept["rows"][2]
    score = gate.gate_score(at.partitions.locked, right)
    assert best["accuracy"] == {"value": 1.0, "low": score.low, "high": score.high, "why": None, "n": 40}
    assert set(best) == {"name", "n", "unscored", *locked.FIGURE_NAMES}
    assert kept["rows"][0]["auc"]["value"] == 0.5 and best["matched_auc"]["n"] == 40
    assert kept["rows"][3]["auc"]["n"] == 40
    assert book(at).outcomes == [VersionOutcome(10, False, DecisionReason.BASELINE, {})]
    assert book(at).versions[10].proposer is Proposer.REWRITE and book(at).versions[10].note == "改写"
    (_, rules, examples, variant) = agents(at).asked[0]
    assert rules == OLD and len(examples) == locked.EXAMPLE_COUNT and variant == at.variant(0, GamePhase.REWRITE)
    assert sum(one.good for one in examples) == locked.EXAMPLE_COUNT / 2


def test_the_length_of_greetings_is_a_judge_whose_threshold_is_learnt() -> None:
    at = table(rewrite=False)
    at.partitions = replace(
        at.partitions,
        locked=tuple(GameLabel(n, f"请求{n}", "祝福" * (2 + n % 2), n % 2 == 1) for n in range(40)),
    )
    asyncio.run(locked.report_locked_set(at))
    row = book(at).steps[0, GamePhase.LOCKED]["rows"][-1]
    assert row["name"] == "length" and row["accuracy"]["value"] == row["auc"]["value"] == 1.0


def test_without_a_rewriting_and_without_a_better_version() -> None:
    at = table(rewrite=False)
    asyncio.run(locked.report_locked_set(at))
    kept = book(at).steps[0, GamePhase.LOCKED]
    assert list(kept["values"]) == ["start", "best"] and kept["best"] == 1 and not book(at).outcomes
    assert kept["change"]["fixed"] == kept["change"]["broken"] == 0
    silent = table(lambda _rules, _sample: None, rewrite=False)
    asyncio.run(locked.report_locked_set(silent))
    row = book(silent).steps[0, GamePhase.LOCKED]["rows"][0]
    assert (row["n"], row["unscored"], row["accuracy"]["value"]) == (0, 40, None)
    assert len(row["accuracy"]["why"]) == 2


def test_a_rewriting_that_cannot_be_used_is_only_told() -> None:
    at = table(rewrite=True)

    async def none(*_: Any) -> ProposedRules:
        return ProposedRules((), (), "raw", "x")

    agents(at).rewrite = none  # type: ignore[method-assign]
    asyncio.run(locked.report_locked_set(at))
    assert list(book(at).steps[0, GamePhase.LOCKED]["values"]) == ["start", "best"]
    assert book(at).outcomes == [VersionOutcome(10, False, DecisionReason.NO_RULES, {})]
    seen = table(rewrite=True)
    seen.search_state.tried_hashes = {rules_from_texts(Role.DETECTOR, ["看称呼。"]).hash}
    asyncio.run(locked.report_locked_set(seen))
    assert book(seen).outcomes == [VersionOutcome(10, False, DecisionReason.BASELINE, {})]
    assert "rewrite" in book(seen).steps[0, GamePhase.LOCKED]["values"]


def test_flaws_of_a_duel_are_drawn_by_seed_and_round() -> None:
    def drawn(seed: int, number: int) -> list[FlawTask]:
        at = table(seed=seed, duels=8)
        asyncio.run(duel.decide_duel(at, number, proposal(HARDER)))
        found: list[FlawTask] = agents(at).asked[0][1]
        return found

    assert drawn(1, 1) == drawn(1, 1) and len(drawn(1, 1)) == 8
    assert drawn(1, 1) != drawn(2, 1) and drawn(1, 1) != drawn(1, 2)
    assert {type(one.flaw) for one in drawn(1, 1)} == {Flaw}


# A run --------------------------------------------------------------------------------------------------


class Searching:
    """Proposes what it is given, round by round, with advice for the Generator."""

    def __init__(self, *given: Proposal | None) -> None:
        self._given, self.rounds = list(given), 0

    async def search(self, at: GameRun, number: int) -> tuple[Proposal | None, Minibatch]:
        self.rounds = number
        found = batch(at)
        found.advice_by_role[Role.GENERATOR] = [Advice("藏好", f"r{number}.a0")]
        return (self._given.pop(0) if self._given else None), found


def run(at: GameRun, searcher: Searching) -> None:
    at.search_state.gate, at.search_state.safety, at.search_state.best_score = [], [], 0.0
    asyncio.run(game.run_game(at, {SearchMethod.GAME: lambda: searcher, SearchMethod.GEPA: lambda: searcher}))


def test_a_run_begins_with_a_reading_of_gate_and_safety_set() -> None:
    at = table(rewrite=False, evolve_generator=False, patience=1)
    run(at, Searching())
    values = [1.0] * 40
    assert book(at).steps[0, GamePhase.START] == {
        "values": values,
        "safety": [float(one.good) for one in safety_attacks()],
        "score": 0.5,
    }
    score = gate.gate_score(at.partitions.gate, values)
    assert book(at).outcomes[:2] == [
        VersionOutcome(1, True, DecisionReason.START, {"missing": 0, "of": 40}, 0.5, score.low, score.high),
        VersionOutcome(2, True, DecisionReason.START, {}),
    ]
    standing = at.search_state
    assert (standing.gate, standing.best_score, standing.best.id) == (values, 0.5, 1)
    assert standing.tried_hashes == {OLD.hash, GEN.hash} and (0, GamePhase.LOCKED) in book(at).steps
    silent = table(lambda _rules, _sample: None, rewrite=False, evolve_generator=False, patience=1)
    run(silent, Searching())
    assert book(silent).outcomes[0].facts == {"missing": 40, "of": 40}


def test_a_run_ends_after_rounds_in_which_nothing_is_accepted() -> None:
    for patience, rounds, played in ((1, 5, 1), (2, 5, 2), (9, 3, 3)):
        at, searcher = (
            table(rewrite=False, evolve_generator=False, patience=patience, rounds=rounds),
            Searching(),
        )
        run(at, searcher)
        assert searcher.rounds == played == at.search_state.idle_rounds
    at, searcher = (
        table(rewrite=False, evolve_generator=False, patience=2, rounds=6),
        Searching(None, proposal()),
    )
    run(at, searcher)
    assert searcher.rounds == 4 and at.search_state.idle_rounds == 2 and at.search_state.detector.id == 7


def test_a_generator_evolves_in_the_game_where_that_is_wished() -> None:
    for settings, asked in (({}, True), ({"evolve_generator": False}, False), ({"search": "gepa"}, False)):
        at = table(rewrite=False, patience=1, duels=8, **settings)
        agents(at).said = ProposedRules(("藏得更深。",), ((0,),), "raw", "x")
        run(at, Searching())
        assert ((1, GamePhase.PROPOSE_G) in book(at).steps) is ((1, GamePhase.DUEL) in book(at).steps) is asked
        if asked:
            assert book(at).steps[1, GamePhase.PROPOSE_G]["advice"] == [["r1.a0", "藏好"]]
            assert ("optimise", GEN, ["藏好"], [], at.variant(1, GamePhase.PROPOSE_G)) in agents(at).asked


def test_an_accepted_generator_alone_keeps_a_run_going() -> None:
    deeper = iter(["藏得更深。", "再深一点。"])

    def fooled(_rules: RuleSet, sample: Sample) -> Value:
        return float(not sample.greeting.startswith((GEN.hash, "祝福")) and sample.greeting not in SAFE)

    at = table(fooled, rewrite=False, patience=1, duels=40, rounds=2, alpha=0.4)

    async def optimise(*_: Any) -> ProposedRules:
        return ProposedRules((next(deeper),), ((0,),), "raw", "x")

    agents(at).optimise = optimise  # type: ignore[method-assign]
    searcher = Searching()
    run(at, searcher)
    assert searcher.rounds == 2 and at.search_state.generator.rules.texts == ("藏得更深。",)
    assert at.search_state.idle_rounds == 1, "the second one fools no more often than the first"
