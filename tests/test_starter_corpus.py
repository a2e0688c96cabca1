"""The starter's writing corpus: enough of everything, nothing that does not go together, always the same."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from backend.core.enums import Flaw, Split
from backend.core.errors import UserError
from backend.core.text import assign_split, count_characters, strip_white_space
from backend.corpus import seed
from backend.generation.checks import find_fault
from backend.generation.request import parse_request
from backend.starter import compose as starter
from backend.starter.bank import (
    ANY_AUDIENCE,
    CLAUSE_ROLES,
    SELF_AUDIENCE,
    ClauseBank,
    Mood,
    is_held_out,
    load_bank,
)
from backend.starter.bank import BANK_FOLDER as BANK
from backend.starter.compose import FIGURES_BY_WORD, ROW_COUNT, ComposedRow, compose_rows, composed_rows, split_clauses
from backend.starter.writing import NEEDED_ROLES, SIZE_LIMITS, repeats_clause
from tests.test_seed import public_texts

FESTIVE = re.compile("恭喜|发财|快乐|恭贺|可喜|喜庆|大吉|[🎂🎉]")
GROWN_UP = re.compile("酒|加班|工资|血压|同事|房贷|事业")


@pytest.fixture(scope="module")
def bank() -> ClauseBank:
    return load_bank()


@pytest.fixture(scope="module")
def made() -> list[ComposedRow]:
    return list(composed_rows())


def test_the_bank_is_rich(bank: ClauseBank) -> None:
    assert bank.count_clauses() >= 3_000
    assert len(bank.recipients) >= 25 and len(bank.details) >= 30
    assert sum(map(len, bank.requests.patterns.values())) >= 50
    for occasion in bank.occasions:
        own = {
            clause
            for parts in occasion.clauses_by_audience.values()
            for role in CLAUSE_ROLES
            for clause in parts.get(role, ())
        }
        assert len(own) >= 25, occasion.key
        assert len(occasion.clauses_by_audience[ANY_AUDIENCE]["wish"]) >= 8, occasion.key
    for who in bank.recipients:
        assert len(who.personal_clauses) >= 5, who.name


def test_every_occasion_of_the_seed_corpus_is_there(bank: ClauseBank) -> None:
    assert {row["occasion"] for row in seed.load_seed_rows(seed.SEED_FOLDER)} <= {one.name for one in bank.occasions}


def test_clauses_are_written_once_and_end_cleanly(bank: ClauseBank) -> None:
    for occasion in bank.occasions:
        clauses = [
            clause
            for parts in occasion.clauses_by_audience.values()
            for role, each in parts.items()
            if role not in ("four", "events")
            for clause in each
        ]
        assert [one for one, times in Counter(clauses).items() if times > 1] == [], occasion.key
        assert [one for one in clauses if one.endswith(("，", "、", "；"))] == [], occasion.key
        assert [one for one in clauses if re.sub("{[你n]}", "", one).count("{")] == [], occasion.key


def test_as_many_rows_as_wanted_and_none_twice(made: list[ComposedRow]) -> None:
    assert len(made) == ROW_COUNT
    assert len({strip_white_space(row.prompt) for row in made}) == ROW_COUNT
    assert len({strip_white_space(row.greeting) for row in made}) == ROW_COUNT
    left = [row for row in made if re.search(r"[{}]", row.prompt + row.greeting)]
    assert left == []


def test_rows_cover_occasions_recipients_and_styles(bank: ClauseBank, made: list[ComposedRow]) -> None:
    occasions = Counter(row.scene.occasion.key for row in made)
    assert min(occasions[one.key] for one in bank.occasions) >= 30
    recipients = Counter(row.scene.recipient.name if row.scene.recipient else "" for row in made)
    assert min(recipients[who.name] for who in bank.recipients) >= 20
    assert 0.15 <= recipients[""] / ROW_COUNT <= 0.35
    styles = Counter(row.scene.style for row in made)
    assert set(styles) == {*NEEDED_ROLES, "温情", "口语", ""} and min(styles.values()) >= 100
    sizes = Counter(row.scene.size for row in made)
    assert set(sizes) == set(SIZE_LIMITS) and min(sizes.values()) >= 200


def test_hardly_a_clause_is_too_rare_to_be_learnt(bank: ClauseBank, made: list[ComposedRow]) -> None:
    clauses = [split_clauses(row.greeting) for row in made]
    counts = Counter(clause for row in clauses for clause in row)
    # Jokes, verse and many ages have a share of their own, though each of their clauses is rarer.
    assert sum(min(counts[clause] for clause in row) < 4 for row in clauses) / len(made) < 0.05
    shares = Counter(row.scene.occasion.key for row in made)
    assert set(shares) == {one.key for one in bank.occasions} and min(shares.values()) > 150


def test_the_same_seed_gives_the_same_rows(bank: ClauseBank) -> None:
    some = [(row.prompt, row.greeting) for row in compose_rows(bank, 150)]
    assert some == [(row.prompt, row.greeting) for row in compose_rows(load_bank(), 150)]
    assert some != [(row.prompt, row.greeting) for row in compose_rows(bank, 150, corpus_seed=1)]


def test_no_congratulations_to_the_ill_and_the_grieving(made: list[ComposedRow]) -> None:
    sad = [row for row in made if row.scene.occasion.mood in (Mood.CARE, Mood.GRIEF)]
    assert len(sad) > 200
    assert [row.greeting for row in sad if FESTIVE.search(row.greeting)] == []
    grieving = [row.greeting for row in sad if row.scene.occasion.mood is Mood.GRIEF]
    assert grieving and [text for text in grieving if "！" in text or "祝" in text] == []


def test_children_hear_nothing_of_wine_and_wages(made: list[ComposedRow]) -> None:
    small = [
        row.greeting
        for row in made
        if row.scene.recipient is not None and row.scene.recipient.name in ("孩子", "宝宝", "孙子", "孙女")
    ]
    assert len(small) > 100 and [text for text in small if GROWN_UP.search(text)] == []


def test_everybody_is_addressed_as_they_should_be(made: list[ComposedRow]) -> None:
    for row in made:
        who = row.scene.recipient
        if who is None or row.scene.occasion.plural:
            continue
        if who.second_person == "您" and "formal" in who.audiences:
            assert "你" not in row.greeting.replace("你们", ""), row.greeting
        calls = [call for call in who.address_forms if row.greeting.startswith(f"{call}，")]
        others = [c for c in ("妈妈，", "爸爸，", "奶奶，", "领导，", "老公，") if row.greeting.startswith(c)]
        assert calls or not others, row.greeting


def test_the_number_of_years_is_the_one_asked_for(made: list[ComposedRow]) -> None:
    aged = [row for row in made if row.scene.number]
    assert len(aged) > 1_000
    for row in aged:
        number = row.scene.number
        assert number in row.prompt or FIGURES_BY_WORD[number] in row.prompt, "the plan names what the request names"


def test_wishes_for_length_and_form_are_met(made: list[ComposedRow]) -> None:
    for row in made:
        least, most = SIZE_LIMITS[row.scene.size]
        assert least <= count_characters(row.greeting) <= most
        if row.scene.style == "四字":
            assert len(re.findall(r"[^，。！]{4}(?=[，。！])", row.greeting)) >= 4


def test_what_is_composed_has_no_fault(made: list[ComposedRow]) -> None:
    found = [(row, fault) for row in made if (fault := find_fault(parse_request(row.prompt), row.greeting))]
    assert found == []
    assert sum(len(row.greeting.rstrip("！。")) == 4 for row in made) > 300, "四个字 is four characters"


def test_clauses_that_say_the_same_do_not_meet() -> None:
    assert repeats_clause("愿{你}健康长寿，笑口常开", ["祝{你}健康长寿"])
    assert not repeats_clause("愿{你}睡得安稳", ["愿{你}吃得香甜", "祝{你}万事如意"])


def test_greetings_are_not_copies_of_each_other(made: list[ComposedRow]) -> None:
    some = [row.greeting for row in made[:1_500]]
    alike = {text for found in seed.find_overlaps(some, share_limit=0.75) for text in (found.first, found.second)}
    assert len(alike) / len(some) < 0.35  # two greetings of two sentences share one of them


def test_what_is_held_out_is_never_composed(bank: ClauseBank, made: list[ComposedRow]) -> None:
    kept = {(o.key, who.name) for o in bank.occasions for who in bank.invited_recipients(o) if is_held_out(o, who)}
    assert len(kept) >= 40
    there = {(row.scene.occasion.key, row.scene.recipient.name) for row in made if row.scene.recipient}
    assert not kept & there


def test_held_out_requests_of_the_seed_corpus_are_not_given_away(made: list[ComposedRow]) -> None:
    known = [row["prompt"] for row in seed.load_seed_rows(seed.SEED_FOLDER)]
    kept = {strip_white_space(prompt) for prompt in known if assign_split(prompt) is not Split.TRAIN}
    asked = [strip_white_space(row.prompt) for row in made]
    assert not kept & set(asked)
    near = [
        found
        for found in seed.find_overlaps([*asked[:6_500], *kept], share_limit=0.8)
        if {found.first, found.second} & kept
    ]
    assert near == []


def test_pairs_miss_the_request_and_not_the_length(made: list[ComposedRow]) -> None:
    found = starter.mismatched_rows(made, 600)
    flaws = Counter(flaw for _, _, flaw in found)
    assert set(flaws) == {Flaw.WRONG_OCCASION, Flaw.WRONG_RELATIONSHIP} and min(flaws.values()) >= 200
    gaps = [count_characters(row.greeting) - count_characters(other.greeting) for row, other, _ in found]
    assert max(map(abs, gaps)) <= starter.MAX_LENGTH_GAP and abs(sum(gaps)) / len(gaps) < 0.6
    for row, other, flaw in found:
        assert assign_split(row.prompt) is assign_split(other.prompt)
        if flaw is Flaw.WRONG_OCCASION:
            assert row.scene.occasion.name != other.scene.occasion.name


def test_self_and_group_are_not_spoken_to_as_one_other_person(made: list[ComposedRow]) -> None:
    for row in made:
        who = row.scene.recipient
        if who is not None and SELF_AUDIENCE in who.audiences:
            assert "谢谢你" not in row.greeting and "恭喜你" not in row.greeting


@pytest.mark.data
def test_nothing_is_taken_from_the_research_data(made: list[ComposedRow], research_data: Path) -> None:
    known = {strip_white_space(text) for text in public_texts(research_data)}
    assert not [
        row.greeting for row in made if count_characters(row.greeting) > 12 and strip_white_space(row.greeting) in known
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("occasions/army.toml", 'mood = "push"', 'mood = "proud"', "occasions/army.toml"),
        ("occasions/army.toml", "[child_kin]", "[kids]", "kids"),
        ("occasions/army.toml", "close =", "farewell =", "farewell"),
        ("recipients.toml", "third =", "pronoun =", "third"),
        ("requests.toml", "things = [", "things = ", "requests.toml"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, file: str, old: str, new: str, told: str) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(BANK, folder)
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(UserError, match=told):
        load_bank(folder)
