"""The game in a simulated world: what gets in, what does not, and what it is worth on locked labels."""

from collections.abc import Sequence

import pytest

from backend.core.enums import DecisionReason, GamePhase, Proposer, Role
from backend.core.errors import UserError
from backend.judges.base import Sample
from backend.judges.scoring.run import run_blocking
from backend.principles.algorithm import draws
from backend.principles.algorithm.adversary import AwaitingConfirmation
from backend.principles.algorithm.labels import GameLabel
from backend.principles.algorithm.rules import RuleSet, rules_from_texts
from tests.principles_world import (
    HARSH,
    LENIENT,
    NAMES,
    Played,
    World,
    WorldBook,
    WorldJudge,
    labels,
    play,
    table_of,
    verdict,
)

RUNS = 6
"""Seeded runs here; `python -m bench.principles_world` plays a hundred of each kind."""
SIZE = 1_200
ALL = [f"看有没有{name}。" for name in NAMES.values()]


def right(rules: Sequence[str], given: Sequence[GameLabel]) -> float:
    """Accuracy of the world's Detector under these rules."""
    return sum(verdict(rules, one.greeting) == one.good for one in given) / len(given)


def sound(played: Played, given: Sequence[GameLabel]) -> bool:
    """Whether every proposal that helps the world got in and every one that harms it was kept out."""
    known = {id_: new.rules.texts for id_, new in played.book.versions.items()}
    for new, outcome in played.book.decided(Role.DETECTOR):
        if outcome.why in (DecisionReason.BASELINE, DecisionReason.UNCHANGED, DecisionReason.TOO_MANY):
            continue
        assert new.parent is not None
        gain = right(new.rules.texts, given) - right(known[new.parent], given)
        if (gain > 0.02 and outcome.why is DecisionReason.GATE) or (gain < 0 and outcome.accepted):
            return False
    return True


@pytest.fixture(scope="module")
def runs() -> list[tuple[Played, list[GameLabel]]]:
    """Seeded runs over worlds of their own."""
    made = [(World(seed), labels(SIZE, seed)) for seed in range(RUNS)]
    return [(play(world, given, evolve_generator=world.seed < 3), given) for world, given in made]


def test_what_helps_gets_in_and_what_harms_does_not(runs: list[tuple[Played, list[GameLabel]]]) -> None:
    assert sum(sound(played, given) for played, given in runs) > 0.95 * (RUNS - 1)
    accepted = [o for played, _ in runs for _, o in played.book.decided(Role.DETECTOR) if o.accepted]
    harmful = [
        outcome
        for played, _ in runs
        for new, outcome in played.book.decided(Role.DETECTOR)
        if {HARSH, LENIENT} & set(new.rules.texts)
    ]
    assert len(accepted) > RUNS and len(harmful) > RUNS, "the world must have offered both"
    assert not any(outcome.accepted for outcome in harmful)


def test_locked_accuracy_comes_within_two_points_of_the_ceiling(
    runs: list[tuple[Played, list[GameLabel]]],
) -> None:
    ceilings = [right(ALL, played.table.partitions.locked) for played, _ in runs]
    ends = [played.accuracy("best") for played, _ in runs]
    starts = [played.accuracy("start") for played, _ in runs]
    assert sum(end >= top - 0.02 for end, top in zip(ends, ceilings, strict=True)) > 0.95 * (RUNS - 1)
    assert sum(ends) / RUNS - sum(starts) / RUNS > 0.15
    assert all(played.accuracy("rewrite") < end for (played, _), end in zip(runs, ends, strict=True))


def test_the_ungated_loop_ends_lower(runs: list[tuple[Played, list[GameLabel]]]) -> None:
    ungated = [
        right(ungated_loop(played, World(seed)), played.table.partitions.locked)
        for seed, (played, _) in enumerate(runs)
    ]
    gated = [played.accuracy("best") for played, _ in runs]
    assert sum(ungated) / RUNS < sum(gated) / RUNS - 0.05


def ungated_loop(played: Played, world: World) -> tuple[str, ...]:
    """The published loop: every fooled case and every wrong verdict rewrites S_D at once, and stays."""
    table = table_of(world, labels(SIZE, world.seed), WorldBook(first=3))
    agents, rules = table.agents, table.first_version.rules
    settings = table.settings

    async def rewritten(rules: RuleSet, advice: str, name: str) -> RuleSet:
        said = await agents.optimise(rules, [advice], [], name)
        return rules_from_texts(Role.DETECTOR, said.rules[:10]) if said.rules else rules

    async def loop() -> RuleSet:
        now = rules
        for number in range(1, settings.rounds + 1):
            tasks = draws.draw_tasks(table.partitions.play, settings.seed, number, settings.attacks, "attack")
            for case in await agents.write(tasks, table.search_state.generator.rules, str(number)):
                if verdict(now.texts, case.greeting):
                    now = await rewritten(now, case.explanation, case.greeting)
            for label in draws.draw_labels(table.partitions.play, settings.seed, number, settings.labelled):
                (draft,) = await WorldJudge(now).score([Sample(label.prompt, label.greeting)])
                if (draft.value == 1) != label.good:
                    (advice,) = await agents.reflect([(label, draft)], now)
                    now = await rewritten(now, advice, label.greeting)
        return now

    return run_blocking(loop()).texts


def test_a_harmful_rule_does_not_ride_in_on_a_helpful_one() -> None:
    for seed in range(3):
        played = play(World(seed, harmful=0.0, mixed=1.0), labels(SIZE, seed), evolve_generator=False)
        decided = played.book.decided(Role.DETECTOR)
        trimmed = [outcome for _, outcome in decided if outcome.why is DecisionReason.TRIMMED]
        assert trimmed and all(outcome.facts["undone"] >= 1 for outcome in trimmed)
        accepted = [new for new, outcome in decided if outcome.accepted]
        assert accepted and not any({HARSH, LENIENT} & set(new.rules.texts) for new in accepted)
        assert played.accuracy("best") > played.accuracy("start") + 0.15
    whole = play(World(0, harmful=0.0, mixed=1.0), labels(SIZE, 0), evolve_generator=False, trim=0)
    assert not any(phase is GamePhase.TRIM for _, phase in whole.book.steps)


def test_labels_that_mean_nothing_let_nothing_in() -> None:
    accepted, looks = 0, 0
    for seed in range(RUNS):
        played = play(World(seed), labels(SIZE, seed, shuffled=True), evolve_generator=False)
        accepted += any(outcome.accepted for _, outcome in played.book.decided(Role.DETECTOR))
        looks += sum(phase is GamePhase.GATE_D for _, phase in played.book.steps)
    assert accepted <= 1 and looks > RUNS, "the gate must have been asked"


@pytest.mark.parametrize("gullible", [False, True])
def test_a_generator_that_writes_good_greetings_does_not_lower_the_detector(gullible: bool) -> None:
    for seed in range(2):
        given = labels(SIZE, seed)
        played = play(World(seed, honest=False, gullible=gullible), given, evolve_generator=False)
        assert played.accuracy("best") >= played.accuracy("start")
        if not gullible:
            taught = [step["claims"] for (_, phase), step in played.book.steps.items() if phase is GamePhase.CONFIRM]
            assert taught and not any(there for claims in taught for there, _ in claims.values())


def test_a_generator_gets_in_only_with_flaws_that_are_there(
    runs: list[tuple[Played, list[GameLabel]]],
) -> None:
    duels = [pair for played, _ in runs[:3] for pair in played.book.decided(Role.GENERATOR)]
    given_up = [outcome for new, outcome in duels if any("干脆" in text for text in new.rules.texts)]
    assert given_up and not any(outcome.accepted for outcome in given_up)


def test_the_same_seed_gives_the_same_run_and_a_broken_off_one_goes_on() -> None:
    given = labels(400, 5)
    whole = play(World(5), given, rounds=2).book
    assert {phase for _, phase in whole.steps} >= set(GamePhase) - {GamePhase.GATE_D, GamePhase.TRIM}
    for cut in range(len(whole.steps)):
        book = StoppedBook(after=cut)
        with pytest.raises(Stopped):
            play(World(5), given, book, rounds=2)
        book.after = None
        assert play(World(5), given, book, rounds=2).book.steps == whole.steps
        assert book.outcomes == whole.outcomes and list(book.versions) == list(whole.versions)


class Stopped(Exception):
    """The machine went away."""


class StoppedBook(WorldBook):
    """Goes away before it keeps its n-th step."""

    def __init__(self, after: int) -> None:
        super().__init__(first=3)
        self.after: int | None = after

    def store_step(self, *given, **more):  # type: ignore[no-untyped-def]
        if self.after is not None and len(self.steps) >= self.after:
            raise Stopped
        return super().store_step(*given, **more)


def test_an_optimiser_that_gives_fourteen_rules_none_or_the_same() -> None:
    given = labels(SIZE, 6)
    fourteen = [f"规则第{number}条。" for number in "一二三四五六七八九十甲乙丙丁"]
    for said, why in (
        (fourteen, DecisionReason.TOO_MANY),
        ([], DecisionReason.NO_RULES),
        (ALL[:5], DecisionReason.UNCHANGED),
    ):
        played = play(World(6, rules_said=said), given, rounds=2, evolve_generator=False)
        decided = [
            outcome for new, outcome in played.book.decided(Role.DETECTOR) if outcome.why is not DecisionReason.BASELINE
        ]
        assert [outcome.why for outcome in decided] == [why, why]
        assert not any(phase is GamePhase.GATE_D for _, phase in played.book.steps), "no look was spent on it"
        assert played.accuracy("best") == played.accuracy("start")


@pytest.mark.parametrize("said", ["抱歉，我不能写有缺陷的祝福。", "", None])
def test_a_generator_that_refuses_or_returns_the_request_teaches_nothing(said: str | None) -> None:
    world = World(7)
    world.written = said if said is not None else "REQUEST"
    played = play(world, labels(SIZE, 7), rounds=2, evolve_generator=False)
    cases = played.book.steps[1, GamePhase.ADVERSARY]["cases"]
    expected = {"抱歉，我不能写有缺陷的祝福。": {"refused"}, "": {"unreadable"}, None: {"repeats_prompt"}}[said]
    assert {case["fault"] for case in cases} == expected
    assert all(case["value"] is None for case in cases)
    assert played.book.steps[1, GamePhase.CONFIRM]["claims"] == {}


def test_early_stop_and_the_best_is_kept() -> None:
    given = labels(SIZE, 8)
    played = play(World(8, harmful=1.0), given, rounds=10, patience=2, evolve_generator=False)
    assert max(number for number, _ in played.book.steps) == 2
    assert played.table.search_state.best.id == played.table.first_version.id


def test_people_confirm_where_that_is_wished() -> None:
    given, book = labels(SIZE, 9), WorldBook(first=3)
    with pytest.raises(AwaitingConfirmation, match="wait for a person"):
        play(World(9), given, book, rounds=1, confirm="person", evolve_generator=False)
    cases = book.steps[1, GamePhase.ADVERSARY]["cases"]
    fooled = [place for place, case in enumerate(cases) if case["value"] == 1]
    book.stored_answers[1, GamePhase.ADVERSARY] = {place: place == fooled[0] for place in fooled}
    play(World(9), given, book, rounds=1, confirm="person", evolve_generator=False)
    claims = book.steps[1, GamePhase.CONFIRM]["claims"]
    assert {int(place) for place, (there, _) in claims.items() if there} == {fooled[0]}
    taught = [source for source, _ in book.steps[1, GamePhase.PROPOSE_D]["advice"] if ".a" in source]
    assert taught == [f"r1.a{fooled[0]}"]


def test_gepa_searches_behind_the_same_gate() -> None:
    given = labels(SIZE, 1)
    played = [play(World(1), given, search="gepa", rounds=2) for _ in range(2)]
    assert played[0].book.steps == played[1].book.steps, "the same seed, the same search"
    decided = played[0].book.decided(Role.DETECTOR)
    assert {new.proposer for new, _ in decided} == {Proposer.GEPA, Proposer.REWRITE}
    accepted = [(new, outcome) for new, outcome in decided if outcome.accepted]
    assert accepted and all(one.evidence for new, _ in accepted for one in new.rules.rules[-1:])
    assert played[0].accuracy("best") > played[0].accuracy("start") + 0.1
    held = {one.id for one in (*played[0].table.partitions.gate, *played[0].table.partitions.locked)}
    sources = [int(s[1:]) for _, step in played[0].book.steps.items() for s, _ in step.get("advice", ())]
    assert sources and not set(sources) & held, "it learnt from played labels alone"
    nothing = play(World(2, harmful=1.0), labels(SIZE, 2, shuffled=True), search="gepa", rounds=2)
    assert not any(outcome.accepted for _, outcome in nothing.book.decided(Role.DETECTOR))


def test_settings_that_cannot_be_are_one_sentence() -> None:
    for wrong in ({"rounds": 0}, {"alpha": 2}, {"confirm": "nobody"}, {"rounds": True}, {"rewrite": "no"}):
        with pytest.raises(UserError):
            play(World(0), labels(100), **wrong)
