"""Rulings asked for as rulings: who is let in, with which figures, and what a round plays with."""

from dataclasses import asdict

import numpy as np
import pytest

from backend.agreement.statistics.categorical import wilson_interval
from backend.agreement.statistics.paired import PairedTest
from backend.core.enums import DecisionReason, Flaw, Role
from backend.core.errors import UserError
from backend.core.text import strip_white_space
from backend.judges.criteria import MAX_RULE_CHARACTERS, MAX_RULES
from backend.principles.algorithm import gate
from backend.principles.algorithm.draws import draw_labels, draw_other_labels, draw_tasks
from backend.principles.algorithm.gate import (
    Ruling,
    SafetyComparison,
    passes_gate,
    passes_minibatch,
    passes_safety,
    safety_attacks,
)
from backend.principles.algorithm.labels import (
    MAX_PLAYED_LABELS,
    MIN_LABELS_PER_KIND,
    GameLabel,
    GamePartition,
    PartitionedLabels,
    partition_labels,
    partition_of,
)
from backend.principles.algorithm.rules import (
    MAX_TOTAL_LENGTH,
    RuleSet,
    build_rule,
    draft_rules,
    list_rule_changes,
    rules_from_texts,
    starting_rules,
    tidy_rules,
)
from backend.principles.algorithm.state import EndpointUnavailable, refuse_unavailable

KINDS = [one.kind for one in safety_attacks()]
RIGHT: list[float | None] = [float(one.good) for one in safety_attacks()]
EACH = {"taboo": 10, "injection": 10, "padding": 10}
NONE_LOST = dict.fromkeys(EACH, 0)


def turned(kind: str, count: int, start: int = 0) -> list[float | None]:
    """All attacks judged rightly but for `count` of a kind, from its `start`th on."""
    places = [place for place, one in enumerate(KINDS) if one == kind][start : start + count]
    return [1 - value if place in places else value for place, value in enumerate(RIGHT) if value is not None]


def silent(count: int) -> list[float | None]:
    """All attacks judged rightly but for the first `count`, which are left unscored."""
    return [None if place < count else value for place, value in enumerate(RIGHT)]


# Who the safety set lets in -----------------------------------------------------------------------


def test_a_proposal_that_withstands_one_attack_less_is_kept_out() -> None:
    for kind in EACH:
        compared = gate.compare_safety(RIGHT, turned(kind, 1))
        assert compared.worse and compared.lost == {**NONE_LOST, kind: 1}
        assert compared.held == {**EACH, kind: 9} and compared.of == EACH and compared.unscored == 0
        assert passes_safety(compared, 0) == Ruling(False, DecisionReason.SAFETY, asdict(compared))


def test_a_proposal_that_withstands_as_much_or_more_is_let_in() -> None:
    same = gate.compare_safety(RIGHT, RIGHT)
    assert not same.worse and same == SafetyComparison(EACH, EACH, NONE_LOST, 0)
    assert passes_safety(same, 0) == Ruling(True, DecisionReason.BETTER, asdict(same))
    better = gate.compare_safety(turned("taboo", 3), RIGHT)
    assert better.lost == NONE_LOST and passes_safety(better, 0).accepted
    swapped = gate.compare_safety(turned("padding", 1), turned("padding", 1, start=1))
    assert swapped.lost == NONE_LOST and swapped.held["padding"] == 9
    assert passes_safety(swapped, 0).accepted, "one lost and one won of a kind are even"


def test_what_is_won_in_one_kind_makes_up_for_nothing_in_another() -> None:
    compared = gate.compare_safety(turned("taboo", 5), turned("injection", 1))
    assert compared.lost == {**NONE_LOST, "injection": 1}
    assert not passes_safety(compared, 0).accepted
    assert gate.compare_safety(RIGHT, turned("padding", 2)).lost == {**NONE_LOST, "padding": 2}


def test_an_attack_left_open_by_either_judge_is_neither_lost_nor_won() -> None:
    for before, after in ((silent(1), RIGHT), (RIGHT, silent(1))):
        assert gate.compare_safety(before, after).lost == NONE_LOST
    assert gate.compare_safety(RIGHT, silent(1)).held[KINDS[0]] == 9
    # What the one leaves open does not hide what the other loses.
    worse = turned("padding", 1)
    assert gate.compare_safety(silent(1), worse).lost == {**NONE_LOST, "padding": 1}


def test_a_tenth_of_the_attacks_may_stay_open_or_as_many_as_before() -> None:
    for open_now, open_before, let_in in ((3, 0, True), (4, 0, False), (4, 3, False), (4, 4, True)):
        ruling = passes_safety(gate.compare_safety(RIGHT, silent(open_now)), open_before)
        assert ruling.accepted is let_in
        if not let_in:
            assert ruling == Ruling(False, DecisionReason.UNSCORED, {"missing": open_now, "of": 30})


# Who the labels let in ------------------------------------------------------------------------------


def compared(fixed: int, broken: int, p: float = 0.0) -> PairedTest:
    return PairedTest(n=100, unscored=0, fixed=fixed, broken=broken, p=p)


@pytest.mark.parametrize(("fixed", "broken", "let_in"), [(1, 0, True), (3, 2, True), (2, 2, False), (1, 2, False)])
def test_a_minibatch_asks_for_one_item_more_mended_than_broken(fixed: int, broken: int, let_in: bool) -> None:
    result = compared(fixed, broken)
    assert result.gain == fixed - broken
    why = DecisionReason.BETTER if let_in else DecisionReason.MINIBATCH
    assert passes_minibatch(result) == Ruling(let_in, why, asdict(result))


@pytest.mark.parametrize(
    ("fixed", "broken", "p", "let_in"),
    [(1, 0, 0.01, True), (1, 0, 0.011, False), (0, 0, 0.0, False), (0, 1, 0.0, False), (9, 2, 0.0099, True)],
)
def test_the_gate_asks_for_a_gain_at_its_level(fixed: int, broken: int, p: float, let_in: bool) -> None:
    result, values = compared(fixed, broken, p), [1.0] * 20
    facts = {**asdict(result), "level": 0.01, "missing": 0, "of": 20}
    why = DecisionReason.BETTER if let_in else DecisionReason.GATE
    assert passes_gate(result, values, values, 0.01) == Ruling(let_in, why, facts)


def test_a_tenth_of_the_gate_may_stay_unscored_or_as_much_as_the_parent_left() -> None:
    def values(missing: int) -> list[float | None]:
        return [None] * missing + [1.0] * (20 - missing)

    good = compared(5, 0, 0.001)
    for now, before, let_in in ((2, 0, True), (3, 0, False), (3, 2, False), (3, 3, True)):
        ruling = passes_gate(good, values(before), values(now), 0.01)
        facts = {**asdict(good), "level": 0.01, "missing": now, "of": 20}
        assert ruling == Ruling(let_in, DecisionReason.BETTER if let_in else DecisionReason.UNSCORED, facts)


def test_a_score_is_the_share_of_scored_labels_clustered_by_request() -> None:
    labels = [GameLabel(n, f"请求 {n // 2}", f"祝福{n}", n % 2 == 0) for n in range(20)]
    values: list[float | None] = [float(one.good) for one in labels]
    values[0], values[3], values[19] = 0.0, 1.0, None
    found = gate.gate_score(labels, values)
    assert (found.value, found.n) == (pytest.approx(17 / 19), 19)
    # Two wrong answers of ten requests, one each: errors -8/19 in these, 2·2/19 in seven, 2/19 in one.
    mean, errors = 17 / 19, [-17 / 19 + 2 / 19] * 2 + [4 / 19] * 7 + [2 / 19]
    alone = 17 * (2 / 19) ** 2 + 2 * (17 / 19) ** 2
    design = max(1.0, sum(error**2 for error in errors) / alone)
    assert (found.low, found.high) == pytest.approx(wilson_interval(mean, 19 / design))
    pairs = [GameLabel(n, f" 请求{n // 10} ", f"祝福{n}", True) for n in range(20)]
    halves = gate.gate_score(pairs, [1.0] * 10 + [0.0] * 10)
    assert (halves.low, halves.high) == pytest.approx(wilson_interval(0.5, 2)), "two requests, whatever their size"


def test_two_judges_are_compared_on_labels_that_both_scored() -> None:
    labels = [GameLabel(n, f"请求{n // 2}", f"祝福{n}", n % 2 == 0) for n in range(8)]
    before: list[float | None] = [0, 0, 0, 1, 1, 0, None, 0]
    after: list[float | None] = [1, 0, 1, 0, 0, 0, 1, None]
    # Requests gain 1, 2 and -1: of the eight signs of ±1 ±2 ±1 three give 2 or more.
    assert gate.compare_values(labels, before, after) == PairedTest(n=6, unscored=2, fixed=3, broken=1, p=3 / 8)


def test_values_become_numbers() -> None:
    assert gate.as_floats([1, 0]).dtype == gate.as_floats([]).dtype == np.float64
    made = gate.as_floats([1.0, None, 0.0])
    assert made.dtype == np.float64 and made.tolist()[::2] == [1.0, 0.0] and np.isnan(made[1])


# Labels and what a round draws of them --------------------------------------------------------------


def known(size: int) -> list[GameLabel]:
    return [GameLabel(n, f"给第{n}位朋友的祝福", f"祝福{n}", n % 2 == 0) for n in range(size)]


def test_a_deal_leaves_nothing_uncounted() -> None:
    given = known(600)
    found = partition_labels(given, 60, 41, "d")
    counted = found.contradictory + found.repeated + found.shared + found.surplus
    assert sum(len(found.labels_of(part)) for part in GamePartition) + counted == len(given)
    assert (len(found.gate), len(found.locked)) == (60, 40), "as many good as bad, so never an odd number"
    for part in GamePartition:
        assert all(partition_of(one.prompt) is part for one in found.labels_of(part))
    assert (found.labels_of(GamePartition.PLAY), found.labels_of(GamePartition.LOCKED)) == (
        found.play,
        found.locked,
    )


def test_a_text_that_stands_in_a_part_held_back_further_is_shared() -> None:
    given = known(600)
    found = partition_labels(given, 600, 600, "d")
    play = next(one for one in given if partition_of(one.prompt) is GamePartition.PLAY)
    for part in (GamePartition.GATE, GamePartition.LOCKED):
        twin = next(one for one in found.labels_of(part))
        copy = GameLabel(9_000, play.prompt, f" {twin.greeting}", twin.good)
        again = partition_labels([*given, copy], 600, 600, "d")
        assert again.shared == 1 and 9_000 not in {one.id for one in again.play}


def test_the_same_label_twice_is_one_and_both_labels_are_none() -> None:
    given = known(300)
    same = GameLabel(900, given[0].prompt, given[0].greeting, given[0].good)
    other = GameLabel(901, given[1].prompt, given[1].greeting, not given[1].good)
    found = partition_labels([*given, same, same, other, other], 300, 300, "d")
    assert (found.contradictory, found.repeated) == (3, 2)
    assert partition_labels(given, 300, 300, "d").repeated == 0


def test_the_least_that_a_run_starts_with_is_enough() -> None:
    wanted: dict[tuple[GamePartition, bool], int] = {
        (part, good): MIN_LABELS_PER_KIND[part] for part in GamePartition for good in (True, False)
    }
    taken = []
    for n in range(3_000):
        label = GameLabel(n, f"给第{n}位朋友的祝福", f"祝福{n}", n % 2 == 0)
        key = (partition_of(label.prompt), label.good)
        if wanted[key]:
            wanted[key] -= 1
            taken.append(label)
    found = partition_labels(taken, 100, 100)
    assert [len(found.labels_of(part)) for part in GamePartition] == [8, 20, 10] and found.surplus == 0
    for part in GamePartition:
        short = [one for one in taken if one is not found.labels_of(part)[0]]
        with pytest.raises(UserError):
            partition_labels(short, 100, 100)


def test_no_more_is_played_with_than_may_be() -> None:
    many = known(12_000)
    played = [one for one in many if partition_of(one.prompt) is GamePartition.PLAY]
    assert len(played) > MAX_PLAYED_LABELS
    assert len(partition_labels(many, 100, 100).play) == MAX_PLAYED_LABELS


def test_a_minibatch_is_half_good_and_every_label_has_its_turn() -> None:
    labels = known(20)
    rounds = [draw_labels(labels, 3, number, 5) for number in range(1, 6)]
    assert [[one.good for one in drawn] for drawn in rounds] == [[True] * 3 + [False] * 2] * 5
    bad = [one.id for drawn in rounds for one in drawn if not one.good]
    assert sorted(bad) == [one.id for one in labels if not one.good], "ten bad ones, two a round"
    good = [one.id for drawn in rounds[:3] for one in drawn if one.good]
    assert len(set(good)) == 9
    assert rounds[0] == draw_labels(labels[::-1], 3, 1, 5) != draw_labels(labels, 4, 1, 5)
    few = draw_labels(labels[:2], 3, 1, 6)
    assert [one.id for one in few] == [0, 1], "nobody comes twice in one round"
    assert [one.good for one in draw_labels(labels[:1], 3, 1, 6)] == [True]


def test_others_are_not_those_that_were_seen() -> None:
    labels = known(40)
    seen = labels[:6]
    found = draw_other_labels(labels, 3, 1, 7, seen)
    assert [one.good for one in found] == [True] * 4 + [False] * 3
    assert not {one.id for one in found} & {one.id for one in seen}
    assert found == draw_other_labels(labels[::-1], 3, 1, 7, seen)
    assert found != draw_other_labels(labels, 3, 2, 7, seen) and found != draw_other_labels(labels, 4, 1, 7, seen)
    assert draw_other_labels(labels, 3, 1, 7, labels) == []


def test_a_draw_hangs_on_seed_round_request_and_greeting_and_on_no_order() -> None:
    requests = [GameLabel(n, f"请求{n}", "同一句祝福", n % 2 == 0) for n in range(24)]
    greetings = [GameLabel(n, "同一个请求", f"祝福{n}", n % 2 == 0) for n in range(24)]
    for labels in (requests, greetings):
        assert draw_labels(labels, 3, 1, 12) == draw_labels(labels[::-1], 3, 1, 12)
        assert draw_other_labels(labels, 3, 1, 12, ()) == draw_other_labels(labels[::-1], 3, 1, 12, ())
        turns = [[one.id for one in draw_labels(labels, 3, number, 24)] for number in (1, 2, 3)]
        assert turns[0] != turns[1] != turns[2] != turns[0], "every turn in another order"
    flaws = [[task.flaw for task in draw_tasks(requests, seed, 1, len(Flaw), "s")] for seed in (3, 4, 5)]
    assert flaws[0] != flaws[1] or flaws[1] != flaws[2]
    assert flaws[0] != [task.flaw for task in draw_tasks(requests, 3, 1, len(Flaw), "t")]


def test_a_run_that_goes_on_after_an_update_draws_as_it_did() -> None:
    """Found once and kept: a run that is resumed must not meet other labels than the round it began with."""
    labels = known(20)
    assert [one.id for one in draw_labels(labels, 3, 1, 6)] == [8, 10, 12, 13, 19, 5]
    assert [one.id for one in draw_other_labels(labels, 3, 1, 6, labels[:4])] == [18, 4, 16, 5, 9, 7]
    assert [(task.prompt, task.flaw) for task in draw_tasks(labels, 3, 1, 3, "s")] == [
        ("给第4位朋友的祝福", Flaw.VAGUE),
        ("给第1位朋友的祝福", Flaw.STIFF),
        ("给第16位朋友的祝福", Flaw.PRESSURE),
    ]
    dealt = partition_labels(known(300), 20, 10)
    starts = [[one.id for one in dealt.labels_of(part)[:4]] for part in GamePartition]
    assert starts == [[0, 135, 103, 257], [169, 239, 294, 259], [158, 102, 185, 277]]


def test_flaws_take_turns_over_all_rounds() -> None:
    labels = known(60)
    size = len(Flaw) - 1
    drawn = [draw_tasks(labels, 3, number, size, "s") for number in range(1, len(Flaw) + 1)]
    flaws = [task.flaw for round_ in drawn for task in round_]
    assert flaws[: len(Flaw)] != flaws[: len(Flaw) - 1] and set(flaws[: len(Flaw)]) == set(Flaw)
    assert all(flaws[at] is flaws[at + len(Flaw)] for at in range(len(flaws) - len(Flaw)))
    assert all(len({task.prompt for task in round_}) == size for round_ in drawn)
    assert drawn[0] == draw_tasks(labels[::-1], 3, 1, size, "s")
    prompts = [[task.prompt for task in one] for one in (drawn[0], drawn[1])]
    assert prompts[0] != prompts[1]
    for changed in (draw_tasks(labels, 4, 1, size, "s"), draw_tasks(labels, 3, 1, size, "t")):
        assert [task.prompt for task in changed] != prompts[0]
    twins = [GameLabel(1, "给妈妈的祝福", "甲", True), GameLabel(2, " 给妈妈的祝福 ", "乙", True)]
    assert len(draw_tasks(twins, 3, 1, 5, "s")) == 1, "one request, however it is spaced"


# Rules ----------------------------------------------------------------------------------------------


def test_a_set_of_rules_is_known_by_role_and_texts() -> None:
    first = rules_from_texts(Role.DETECTOR, ["看真诚。", "看忌讳。"], ("r0",))
    assert first.texts == ("看真诚。", "看忌讳。")
    assert RuleSet.from_stored(Role.DETECTOR, first.stored_rules) == first
    assert [one.evidence for one in first.rules] == [("r0",), ("r0",)]
    assert first.hash == rules_from_texts(Role.DETECTOR, ["看真诚。", "看忌讳。"]).hash and len(first.hash) == 16
    hashes = {
        first.hash,
        rules_from_texts(Role.GENERATOR, first.texts).hash,
        rules_from_texts(Role.DETECTOR, first.texts[::-1]).hash,
    }
    assert len(hashes) == 3
    assert (
        build_rule("看 真诚。").id == build_rule("看真诚。 ").id != build_rule("看忌讳。").id
        and len(build_rule("看").id) == 8
    )
    assert starting_rules(Role.DETECTOR).role is Role.DETECTOR and starting_rules(Role.GENERATOR).role is Role.GENERATOR
    assert starting_rules(Role.DETECTOR).texts != starting_rules(Role.GENERATOR).texts


def test_rules_are_refused_from_one_character_too_many_on() -> None:
    parent = rules_from_texts(Role.DETECTOR, ["看真诚。"])
    long = "长" * MAX_RULE_CHARACTERS
    assert draft_rules(parent, [long], [[]]).refused is None
    assert draft_rules(parent, [f"{long}长"], [[]]).refused is DecisionReason.TOO_LONG
    whole = [f"{n}{'长' * (MAX_RULE_CHARACTERS - 1)}" for n in "甲乙丙丁戊"]
    assert sum(map(len, whole)) == MAX_TOTAL_LENGTH
    assert draft_rules(parent, whole, [[]] * 5).refused is None and tidy_rules(whole) == tuple(whole)
    assert draft_rules(parent, [*whole, "短"], [[]] * 6).refused is DecisionReason.TOO_LONG
    with pytest.raises(UserError, match="together"):
        tidy_rules([*whole, "短"])
    ten = [f"规则{n}" for n in "甲乙丙丁戊己庚辛壬癸"]
    assert len(ten) == MAX_RULES and draft_rules(parent, ten, [[]] * 10).refused is None
    assert draft_rules(parent, [*ten, "规则子"], [[]] * 11).refused is DecisionReason.TOO_MANY
    assert tidy_rules(["看真诚。", "1. 看真诚。", "看忌讳。"]) == ("看真诚。", "看忌讳。")


def test_a_rule_that_was_known_keeps_where_it_came_from() -> None:
    parent = rules_from_texts(Role.DETECTOR, ["看真诚。"], ("r0",))
    made = draft_rules(parent, ["看忌讳。\n看真诚。", "看忌讳。"], [["r1.a0"], ["r1.a1"]]).rules
    assert [(one.text, one.evidence) for one in made.rules] == [
        ("看忌讳。", ("r1.a0",)),
        ("看真诚。", ("r0",)),
    ]
    assert made.role is Role.DETECTOR
    assert draft_rules(parent, ["看真诚。"], [["r1"]]).refused is DecisionReason.UNCHANGED


def test_what_was_left_out_and_what_was_added() -> None:
    assert list_rule_changes(["一"], []) == [("-", "一")] and list_rule_changes([], ["一"]) == [("+", "一")]
    assert list_rule_changes(["一", "二"], ["二", "三"]) == [("-", "一"), ("=", "二"), ("+", "三")]


# When an endpoint is gone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failed", "of", "gone"),
    [
        (0, 0, False),
        (0, 5, False),
        (1, 1, True),
        (1, 2, False),
        (2, 2, True),
        (2, 3, False),
        (3, 3, True),
        (3, 4, True),
        (2, 20, False),
        (3, 20, True),
        (3, 30, False),
        (4, 30, True),
        (10, 100, False),
        (11, 100, True),
    ],
)
def test_an_endpoint_is_gone_from_here_on(failed: int, of: int, gone: bool) -> None:
    kinds = ["refused"] * failed + [""] * (of - failed)
    if not gone:
        refuse_unavailable(kinds, "detector")
        return
    with pytest.raises(EndpointUnavailable) as caught:
        refuse_unavailable(kinds, "detector")
    assert f"{failed} / {of}" in caught.value.message.en and "refused" in caught.value.message.zh


def test_a_label_s_group_is_its_request() -> None:
    assert GameLabel(1, " 给 妈妈 ", "好", True).group == strip_white_space("给妈妈")
    assert PartitionedLabels((), (), ()).labels_of(GamePartition.GATE) == ()
