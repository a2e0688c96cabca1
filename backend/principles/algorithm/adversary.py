"""The adversarial phase, its confirmation, and self-reflection: where advice comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.enums import FLAW_DESCRIPTIONS, FlawConfirmer, GamePhase, Role
from backend.core.errors import UserError
from backend.judges.base import Judgment, Sample
from backend.principles.algorithm import draws
from backend.principles.algorithm.game_run import GameRun, StepResult, VerdictValues, label_sample
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.state import Advice, FlawConfirmation
from backend.principles.algorithm.steps import AttackStep, ConfirmStep, JudgedFlaw, ReflectedLabel, ReflectStep


class AwaitingConfirmation(UserError):
    """The run goes on when people have confirmed the planted flaws."""


@dataclass(frozen=True)
class Minibatch:
    """What inspired a proposal: samples with their true label, the parent's verdicts on them, and advice by role."""

    samples: tuple[Sample, ...]
    labels: tuple[GameLabel, ...]
    parent_values: VerdictValues
    advice_by_role: dict[Role, list[Advice]]


async def prepare_minibatch(game_run: GameRun, round_number: int) -> Minibatch:
    """The phases of a round (from 1) up to the optimiser: attack, confirmation, reflection."""
    attack = await game_run.run_step(
        round_number, GamePhase.ADVERSARY, AttackStep, lambda: _attack_step(game_run, round_number)
    )
    confirmations = await confirm_flaws(game_run, round_number, GamePhase.ADVERSARY, GamePhase.CONFIRM, attack.cases)
    reflection = await game_run.run_step(
        round_number, GamePhase.REFLECT, ReflectStep, lambda: _reflect_step(game_run, round_number)
    )
    # Drawn once more instead of kept: draws go by hash, so a resumed run has the labels that were reflected
    # on.
    drawn_labels = draws.draw_labels(
        game_run.partitions.play, game_run.settings.seed, round_number, game_run.settings.labelled
    )
    confirmed_cases = [
        flaw_case for flaw_case, confirmation in zip(attack.cases, confirmations, strict=True) if confirmation.there
    ]
    # A flaw that is really there makes the greeting a bad one, whoever wrote it.
    minibatch_labels = [
        *drawn_labels,
        *(
            # Numbers below 0: what the Generator wrote is no greeting of the database and must not be taken
            # for one.
            GameLabel(-1 - case_index, flaw_case.prompt, flaw_case.greeting, False)
            for case_index, flaw_case in enumerate(confirmed_cases)
        ),
    ]
    return Minibatch(
        tuple(map(label_sample, minibatch_labels)),
        tuple(minibatch_labels),
        # Only cases that fooled the present Detector are confirmed, so its verdict on each of them was 1.
        [*(reflected_label.value for reflected_label in reflection.items), *(1.0 for _ in confirmed_cases)],
        {
            Role.DETECTOR: _advice_for_detector(round_number, attack, confirmations, reflection),
            Role.GENERATOR: _advice_for_generator(round_number, attack, confirmations),
        },
    )


async def attack_detector(
    game_run: GameRun, flaw_tasks: Sequence[draws.FlawTask], generator_rules: RuleSet, variant: str
) -> list[JudgedFlaw]:
    """Planted flaws and what the present Detector says of each; nothing where there is nothing to judge."""
    planted_flaws = await game_run.agents.write(flaw_tasks, generator_rules, variant)
    # A refusal or an empty reply costs the Detector no call and teaches it nothing.
    judgeable_cases = [flaw_case for flaw_case in planted_flaws if not flaw_case.fault]
    judgments = iter(
        await game_run.detector_judgments(
            game_run.search_state.detector.rules,
            [Sample(judgeable_case.prompt, judgeable_case.greeting) for judgeable_case in judgeable_cases],
        )
    )
    case_judgments = [None if flaw_case.fault else next(judgments) for flaw_case in planted_flaws]
    return [
        JudgedFlaw.of(flaw_case, judgment) for flaw_case, judgment in zip(planted_flaws, case_judgments, strict=True)
    ]


async def confirm_flaws(
    game_run: GameRun,
    round_number: int,
    attack_phase: GamePhase,
    confirm_phase: GamePhase,
    flaw_cases: Sequence[JudgedFlaw],
) -> list[FlawConfirmation]:
    """For each case whether its flaw is really there: asked where the Detector was fooled, else None.

    Raises AwaitingConfirmation where a person is to answer and has not yet.
    """
    # A flaw that was seen is caught whether or not it is real, so confirming it would only cost calls.
    fooling_indices = [place for place, flaw_case in enumerate(flaw_cases) if flaw_case.value == 1]

    async def ask_confirmations() -> StepResult[ConfirmStep]:
        if game_run.settings.confirm is FlawConfirmer.PERSON:
            confirmations = _confirmations_by_people(game_run, round_number, attack_phase, fooling_indices)
        else:
            confirmations = await game_run.agents.confirm(
                [flaw_cases[case_index].planted_flaw for case_index in fooling_indices]
            )
        claims = {
            # As text, which JSON makes of every key: played and read again must be the same.
            str(case_index): (confirmation.there, confirmation.reason)
            for case_index, confirmation in zip(fooling_indices, confirmations, strict=True)
        }
        return ConfirmStep(claims=claims, by=game_run.settings.confirm.value), None, ()

    confirm_step = await game_run.run_step(round_number, confirm_phase, ConfirmStep, ask_confirmations)
    return [confirm_step.confirmation(case_index) for case_index in range(len(flaw_cases))]


def _confirmations_by_people(
    game_run: GameRun, round_number: int, attack_phase: GamePhase, fooling_indices: Sequence[int]
) -> list[FlawConfirmation]:
    person_answers = game_run.game_record.person_answers(round_number, attack_phase)
    open_count = sum(case_index not in person_answers for case_index in fooling_indices)
    if open_count:
        # Raised inside the step, so nothing of it is stored and the resumed run asks for the answers again.
        raise AwaitingConfirmation(
            f"{open_count} planted flaws wait for a person to confirm them; do so, then resume the run.",
            f"有 {open_count} 处藏起来的缺陷等人确认，确认后继续运行。",
        )
    return [FlawConfirmation(person_answers[case_index]) for case_index in fooling_indices]


async def _attack_step(game_run: GameRun, round_number: int) -> StepResult[AttackStep]:
    flaw_tasks = draws.draw_tasks(
        game_run.partitions.play, game_run.settings.seed, round_number, game_run.settings.attacks, "attack"
    )
    generator_version = game_run.search_state.generator
    flaw_cases = await attack_detector(
        game_run, flaw_tasks, generator_version.rules, game_run.variant(round_number, GamePhase.ADVERSARY)
    )
    detector_id = game_run.search_state.detector.id
    return AttackStep(cases=flaw_cases, detector=detector_id, generator=generator_version.id), None, ()


async def _reflect_step(game_run: GameRun, round_number: int) -> StepResult[ReflectStep]:
    drawn_labels = draws.draw_labels(
        game_run.partitions.play, game_run.settings.seed, round_number, game_run.settings.labelled
    )
    rule_set = game_run.search_state.detector.rules
    judgments = await game_run.detector_judgments(rule_set, list(map(label_sample, drawn_labels)))
    wrong_indices = [
        label_index
        for label_index, judgment in enumerate(judgments)
        if _is_misjudged(drawn_labels[label_index], judgment)
    ]
    advice_texts = await game_run.agents.reflect(
        [(drawn_labels[label_index], judgments[label_index]) for label_index in wrong_indices], rule_set
    )
    advice_by_index = dict(zip(wrong_indices, advice_texts, strict=True))
    reflected_items = [
        ReflectedLabel(
            id=drawn_label.id,
            prompt=drawn_label.prompt,
            greeting=drawn_label.greeting,
            good=drawn_label.good,
            value=judgment.value,
            reason=judgment.reason,
            advice=advice_by_index.get(label_index, ""),
        )
        for label_index, (drawn_label, judgment) in enumerate(zip(drawn_labels, judgments, strict=True))
    ]
    return ReflectStep(items=reflected_items, detector=game_run.search_state.detector.id), None, ()


def _is_misjudged(human_label: GameLabel, judgment: Judgment) -> bool:
    # Unscored is neither right nor wrong, so nobody reflects on it.
    return judgment.value is not None and (judgment.value == 1) != human_label.good


def _advice_for_detector(
    round_number: int, attack: AttackStep, confirmations: Sequence[FlawConfirmation], reflection: ReflectStep
) -> list[Advice]:
    # Only confirmed flaws: a Generator that fails to plant one would teach the Detector something false.
    fooled_advice = [
        Advice(
            f"漏看了“{_flaw_title(flaw_case)}”：{flaw_case.explanation or flaw_case.place or confirmation.reason}",
            f"r{round_number}.a{case_index}",
        )
        for case_index, (flaw_case, confirmation) in enumerate(zip(attack.cases, confirmations, strict=True))
        if confirmation.there
    ]
    missed_advice = [
        Advice(reflected_label.advice, f"r{round_number}.l{label_index}")
        for label_index, reflected_label in enumerate(reflection.items)
        if reflected_label.advice
    ]
    return [*fooled_advice, *missed_advice]


def _advice_for_generator(
    round_number: int, attack: AttackStep, confirmations: Sequence[FlawConfirmation]
) -> list[Advice]:
    advice_pieces = []
    for case_index, (flaw_case, confirmation) in enumerate(zip(attack.cases, confirmations, strict=True)):
        source = f"r{round_number}.a{case_index}"
        if flaw_case.value == 0:
            advice_pieces.append(Advice(f"“{_flaw_title(flaw_case)}”被看出来了：{flaw_case.reason}", source))
        # Where nobody could say (None) there is nothing to learn, unlike where the flaw is missing (False).
        elif flaw_case.value == 1 and confirmation.there is False:
            advice_pieces.append(
                Advice(f"“{_flaw_title(flaw_case)}”没藏成，缺陷并不存在：{confirmation.reason}", source)
            )
    return advice_pieces


def _flaw_title(flaw_case: JudgedFlaw) -> str:
    return FLAW_DESCRIPTIONS[flaw_case.flaw].split("：")[0]
