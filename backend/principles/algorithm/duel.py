"""Two S_G on the same requests: the new one is in if it fools the Detector more often with real flaws."""

from dataclasses import asdict

from backend.agreement.statistics.paired import PairedTest, sign_flip_test
from backend.core.enums import DecisionReason, GamePhase, Role
from backend.principles.algorithm import draws
from backend.principles.algorithm.adversary import attack_detector, confirm_flaws
from backend.principles.algorithm.decisions import Proposal
from backend.principles.algorithm.game_run import GameRun, StepResult
from backend.principles.algorithm.gate import Ruling
from backend.principles.algorithm.state import FlawConfirmation, RulesVersion
from backend.principles.algorithm.steps import DuelRulingStep, DuelStep, JudgedFlaw


async def decide_duel(game_run: GameRun, round_number: int, proposal: Proposal) -> bool:
    """Whether the proposed S_G is in. A duel costs no look at the gate: labels play no part in it."""
    challenger, defender = proposal.version, game_run.search_state.generator
    accepted = False
    duel_step = await game_run.run_step(
        round_number, GamePhase.DUEL, DuelStep, lambda: _duel_step(game_run, round_number, proposal, defender)
    )
    if duel_step.cases:
        confirmations = await confirm_flaws(
            game_run, round_number, GamePhase.DUEL, GamePhase.DUEL_CONFIRM, duel_step.cases
        )
        # A step of its own: confirmation may wait for people for days, and the duel must not be fought again.
        ruling_step = await game_run.run_step(
            round_number,
            GamePhase.GATE_G,
            DuelRulingStep,
            lambda: _ruling_step(game_run, challenger, duel_step.cases, confirmations),
        )
        accepted = ruling_step.accepted
        if accepted:
            game_run.search_state.generator = challenger
        game_run.search_state.remember_result(Role.GENERATOR, challenger.rules, accepted=accepted)
    return accepted


async def _duel_step(
    game_run: GameRun, round_number: int, proposal: Proposal, defender: RulesVersion
) -> StepResult[DuelStep]:
    """Cases of the old S_G first, then the new one's on the same requests in the same order."""
    if proposal.refused is not None:
        ruling = Ruling(False, proposal.refused, {})
        return DuelStep(cases=[]), None, (game_run.version_outcome(proposal.version.id, ruling),)
    settings = game_run.settings
    flaw_tasks = draws.draw_tasks(game_run.partitions.play, settings.seed, round_number, settings.duels, "duel")
    variant = game_run.variant(round_number, GamePhase.DUEL)
    # The same requests and the same variant: only their rules tell the two apart.
    defender_cases = await attack_detector(game_run, flaw_tasks, defender.rules, variant)
    challenger_cases = await attack_detector(game_run, flaw_tasks, proposal.version.rules, variant)
    return (
        DuelStep(cases=[*defender_cases, *challenger_cases], old=defender.id, new=proposal.version.id),
        None,
        (),
    )


async def _ruling_step(
    game_run: GameRun,
    challenger: RulesVersion,
    duel_cases: list[JudgedFlaw],
    confirmations: list[FlawConfirmation],
) -> StepResult[DuelRulingStep]:
    fooling_results = [
        _fooled_detector(duel_case, confirmation)
        for duel_case, confirmation in zip(duel_cases, confirmations, strict=True)
    ]
    # Old cases come first and both halves have the same requests in the same order, which pairs them.
    half_count = len(fooling_results) // 2
    paired_test = _compare_wins(fooling_results[:half_count], fooling_results[half_count:])
    # The level of the gate, though no label is used up here: a run tests one S_G a round at most.
    significance_level = game_run.settings.alpha_per_round
    ruling_facts = {
        **asdict(paired_test),
        "level": significance_level,
        "before": sum(was_fooled is True for was_fooled in fooling_results[:half_count]),
        "after": sum(was_fooled is True for was_fooled in fooling_results[half_count:]),
    }
    # More fooling is asked for beyond noise: the Detector's verdicts on fresh texts vary by themselves.
    is_better = paired_test.gain > 0 and paired_test.p <= significance_level
    ruling = Ruling(is_better, DecisionReason.BETTER if is_better else DecisionReason.NOT_FOOLING, ruling_facts)
    ruling_step = DuelRulingStep(accepted=is_better, why=ruling.why.value, facts=ruling_facts)
    return ruling_step, None, (game_run.version_outcome(challenger.id, ruling),)


def _fooled_detector(duel_case: JudgedFlaw, confirmation: FlawConfirmation) -> bool | None:
    """Whether the Detector was fooled by a flaw that is there; None where nobody can decide that.

    A Generator that refuses or returns the request fools nobody.
    """
    # Counted as a defeat, or refusing the hard requests would raise the share of the rest.
    if duel_case.fault:
        return False
    if duel_case.value is None or (duel_case.value == 1 and confirmation.there is None):
        return None
    return duel_case.value == 1 and confirmation.there is True


def _compare_wins(defender_wins: list[bool | None], challenger_wins: list[bool | None]) -> PairedTest:
    # A pair counts only where both cases are decided; the others are counted as unscored.
    scored_pairs = [
        (defender_won, challenger_won)
        for defender_won, challenger_won in zip(defender_wins, challenger_wins, strict=True)
        if defender_won is not None and challenger_won is not None
    ]
    differences = [int(challenger_won) - int(defender_won) for defender_won, challenger_won in scored_pairs]
    return PairedTest(
        n=len(scored_pairs),
        unscored=len(defender_wins) - len(scored_pairs),
        fixed=differences.count(1),
        broken=differences.count(-1),
        # Each request is fought over once, so this is McNemar's test in its exact form.
        p=sign_flip_test(differences),
    )
