"""The adversarial phase, its confirmation, and self-reflection: where advice comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.enums import FLAW_DESCRIPTIONS, FlawConfirmer, GamePhase, Role
from backend.core.errors import UserError
from backend.core.stored_records import read_record, stored_json
from backend.judges.base import Judgment, Sample
from backend.principles.algorithm import draws
from backend.principles.algorithm.game_run import GameRun, VerdictValues, label_sample, plain_judgments
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.state import (
    Advice,
    FlawConfirmation,
    NewVersion,
    PlantedFlaw,
    StepData,
    VersionOutcome,
)

StepResult = tuple[StepData, NewVersion | None, Sequence[VersionOutcome]]


class AwaitingConfirmation(UserError):
    """The run goes on when people have confirmed the planted flaws."""


@dataclass(frozen=True)
class Minibatch:
    """What inspired a proposal: samples with their true label, what the parent said, and advice by role."""

    samples: tuple[Sample, ...]
    labels: tuple[GameLabel, ...]
    parent_values: VerdictValues
    advice_by_role: dict[Role, list[Advice]]


async def prepare_minibatch(game_run: GameRun, round_number: int) -> Minibatch:
    """The phases of round `number` up to the optimiser."""
    attack_data = await game_run.run_step(
        round_number, GamePhase.ADVERSARY, lambda: _attack_step(game_run, round_number)
    )
    confirmations = await confirm_flaws(
        game_run, round_number, GamePhase.ADVERSARY, GamePhase.CONFIRM, attack_data["cases"]
    )
    reflect_data = await game_run.run_step(
        round_number, GamePhase.REFLECT, lambda: _reflect_step(game_run, round_number)
    )
    drawn_labels = draws.draw_labels(
        game_run.partitions.play, game_run.settings.seed, round_number, game_run.settings.labelled
    )
    confirmed_indices = [case_index for case_index, confirmation in enumerate(confirmations) if confirmation.there]
    planted_flaws = [read_record(PlantedFlaw, attack_data["cases"][case_index]) for case_index in confirmed_indices]
    # A flaw that is really there makes the greeting a bad one, whoever wrote it.
    minibatch_labels = [
        *drawn_labels,
        *(
            GameLabel(-1 - case_index, planted_flaw.prompt, planted_flaw.greeting, False)
            for case_index, planted_flaw in enumerate(planted_flaws)
        ),
    ]
    return Minibatch(
        tuple(map(label_sample, minibatch_labels)),
        tuple(minibatch_labels),
        [
            *(reflected_item["value"] for reflected_item in reflect_data["items"]),
            *(1.0 for _ in planted_flaws),
        ],
        {
            Role.DETECTOR: _advice_for_detector(round_number, attack_data, confirmations, reflect_data),
            Role.GENERATOR: _advice_for_generator(round_number, attack_data, confirmations),
        },
    )


async def attack_detector(
    game_run: GameRun, flaw_tasks: Sequence[draws.FlawTask], generator_rules: RuleSet, variant: str
) -> list[StepData]:
    """Planted flaws and what the present Detector says of each; nothing where there is nothing to judge."""
    planted_flaws = await game_run.agents.write(flaw_tasks, generator_rules, variant)
    judgeable_cases = [flaw_case for flaw_case in planted_flaws if not flaw_case.fault]
    judgments = iter(
        await game_run.detector_judgments(
            game_run.search_state.detector.rules,
            [Sample(judgeable_case.prompt, judgeable_case.greeting) for judgeable_case in judgeable_cases],
        )
    )
    case_judgments = [None if flaw_case.fault else next(judgments) for flaw_case in planted_flaws]
    return [
        {**stored_json(flaw_case), **_plain_judgment(judgment)}
        for flaw_case, judgment in zip(planted_flaws, case_judgments, strict=True)
    ]


async def confirm_flaws(
    game_run: GameRun,
    round_number: int,
    attack_phase: GamePhase,
    confirm_phase: GamePhase,
    flaw_cases: Sequence[StepData],
) -> list[FlawConfirmation]:
    """For each case whether its flaw is really there: asked where the Detector was fooled, else None.

    Raises Waiting where a person is to say so and has not yet.
    """
    fooling_indices = [place for place, flaw_case in enumerate(flaw_cases) if flaw_case["value"] == 1]

    async def ask_confirmations() -> StepResult:
        if game_run.settings.confirm is FlawConfirmer.PERSON:
            confirmations = _confirmations_by_people(game_run, round_number, attack_phase, fooling_indices)
        else:
            confirmations = await game_run.agents.confirm(
                [read_record(PlantedFlaw, flaw_cases[case_index]) for case_index in fooling_indices]
            )
        plain_claims = {
            str(case_index): [confirmation.there, confirmation.reason]
            for case_index, confirmation in zip(fooling_indices, confirmations, strict=True)
        }
        return {"claims": plain_claims, "by": game_run.settings.confirm.value}, None, ()

    claims_by_index = (await game_run.run_step(round_number, confirm_phase, ask_confirmations))["claims"]
    return [FlawConfirmation(*claims_by_index.get(str(place), (None, ""))) for place in range(len(flaw_cases))]


def _confirmations_by_people(
    game_run: GameRun, round_number: int, attack_phase: GamePhase, fooling_indices: Sequence[int]
) -> list[FlawConfirmation]:
    person_answers = game_run.game_record.person_answers(round_number, attack_phase)
    open_count = sum(case_index not in person_answers for case_index in fooling_indices)
    if open_count:
        raise AwaitingConfirmation(
            f"{open_count} planted flaws wait for a person to confirm them; do so, then resume the run.",
            f"有 {open_count} 处藏起来的缺陷等人确认，确认后继续运行。",
        )
    return [FlawConfirmation(person_answers[case_index]) for case_index in fooling_indices]


async def _attack_step(game_run: GameRun, round_number: int) -> StepResult:
    flaw_tasks = draws.draw_tasks(
        game_run.partitions.play, game_run.settings.seed, round_number, game_run.settings.attacks, "attack"
    )
    generator_version = game_run.search_state.generator
    flaw_cases = await attack_detector(
        game_run, flaw_tasks, generator_version.rules, game_run.variant(round_number, GamePhase.ADVERSARY)
    )
    return (
        {
            "cases": flaw_cases,
            "detector": game_run.search_state.detector.id,
            "generator": generator_version.id,
        },
        None,
        (),
    )


async def _reflect_step(game_run: GameRun, round_number: int) -> StepResult:
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
        {
            "id": drawn_label.id,
            "prompt": drawn_label.prompt,
            "greeting": drawn_label.greeting,
            "good": drawn_label.good,
            **plain_judgment,
            "advice": advice_by_index.get(label_index, ""),
        }
        for label_index, (drawn_label, plain_judgment) in enumerate(
            zip(drawn_labels, plain_judgments(judgments), strict=True)
        )
    ]
    return {"items": reflected_items, "detector": game_run.search_state.detector.id}, None, ()


def _is_misjudged(human_label: GameLabel, judgment: Judgment) -> bool:
    return judgment.value is not None and (judgment.value == 1) != human_label.good


def _plain_judgment(judgment: Judgment | None) -> StepData:
    return {"value": judgment.value if judgment else None, "reason": judgment.reason if judgment else ""}


def _advice_for_detector(
    round_number: int,
    attack_data: StepData,
    confirmations: Sequence[FlawConfirmation],
    reflect_data: StepData,
) -> list[Advice]:
    fooled_advice = [
        Advice(
            f"漏看了“{FLAW_DESCRIPTIONS[planted_flaw.flaw].split('：')[0]}”：{planted_flaw.explanation or planted_flaw.place or confirmation.reason}",
            f"r{round_number}.a{case_index}",
        )
        for case_index, confirmation in enumerate(confirmations)
        if confirmation.there
        for planted_flaw in [read_record(PlantedFlaw, attack_data["cases"][case_index])]
    ]
    missed_advice = [
        Advice(reflected_item["advice"], f"r{round_number}.l{case_index}")
        for case_index, reflected_item in enumerate(reflect_data["items"])
        if reflected_item["advice"]
    ]
    return [*fooled_advice, *missed_advice]


def _advice_for_generator(
    round_number: int, attack_data: StepData, confirmations: Sequence[FlawConfirmation]
) -> list[Advice]:
    advice_pieces = []
    for case_index, (flaw_case, confirmation) in enumerate(zip(attack_data["cases"], confirmations, strict=True)):
        flaw_kind = FLAW_DESCRIPTIONS[read_record(PlantedFlaw, flaw_case).flaw].split("：")[0]
        if flaw_case["value"] == 0:
            advice_pieces.append(
                Advice(f"“{flaw_kind}”被看出来了：{flaw_case['reason']}", f"r{round_number}.a{case_index}")
            )
        elif flaw_case["value"] == 1 and confirmation.there is False:
            advice_pieces.append(
                Advice(
                    f"“{flaw_kind}”没藏成，缺陷并不存在：{confirmation.reason}",
                    f"r{round_number}.a{case_index}",
                )
            )
    return advice_pieces
