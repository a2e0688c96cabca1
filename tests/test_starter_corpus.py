"""The starter's writing corpus: enough of everything, nothing that does not go together, always the same."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from backend.corpus import seed, seed_audit, split_of
from backend.errors import UserError
from backend.starter import rows as starter
from backend.starter.asking import FIGURES
from backend.starter.bank import ANY, ROLES, SELF, Bank, Mood, held_out, load
from backend.starter.bank import FOLDER as BANK
from backend.starter.compose import ROWS, Composed, clauses_of, compose, composed
from backend.starter.writing import NEEDS, SIZES, clash
from backend.text import length, squeeze
from backend.vocabulary import Flaw, Split
from backend.writing.checks import fault_of
from backend.writing.wish import read_wish
from tests.test_seed import public_texts

FESTIVE = re.compile("恭喜|发财|快乐|恭贺|可喜|喜庆|大吉|[🎂🎉]")
GROWN_UP = re.compile("酒|加班|工资|血压|同事|房贷|事业")


@pytest.fixture(scope="module")
def bank() -> Bank:
    return load()


@pytest.fixture(scope="module")
def made() -> list[Composed]:
    return list(composed())


def test_the_bank_is_rich(bank: Bank) -> None:
    assert bank.count() >= 3_000
    assert len(bank.recipients) >= 25 and len(bank.details) >= 30
    assert sum(map(len, bank.requests.patterns.values())) >= 50
    for occasion in bank.occasions:
        own = {
            clause for parts in occasion.parts.values() for role in ROLES for clause in parts.get(role, ())
        }
        assert len(own) >= 25, occasion.key
        assert len(occasion.parts[ANY]["wish"]) >= 8, occasion.key
    for who in bank.recipients:
        assert len(who.line) >= 5, who.name


def test_every_occasion_of_the_seed_corpus_is_there(bank: Bank) -> None:
    assert {row["occasion"] for row in seed_audit.load(seed.FOLDER)} <= {one.name for one in bank.occasions}


def test_clauses_are_written_once_and_end_cleanly(bank: Bank) -> None:
    for occasion in bank.occasions:
        clauses = [
            clause
            for parts in occasion.parts.values()
            for role, each in parts.items()
            if role not in ("four", "events")
            for clause in each
        ]
        assert [one for one, times in Counter(clauses).items() if times > 1] == [], occasion.key
        assert [one for one in clauses if one.endswith(("，", "、", "；"))] == [], occasion.key
        assert [one for one in clauses if re.sub("{[你n]}", "", one).count("{")] == [], occasion.key


def test_as_many_rows_as_wanted_and_none_twice(made: list[Composed]) -> None:
    assert len(made) == ROWS
    assert len({squeeze(row.prompt) for row in made}) == ROWS
    assert len({squeeze(row.greeting) for row in made}) == ROWS
    left = [row for row in made if re.search(r"[{}]", row.prompt + row.greeting)]
    assert left == []


def test_rows_cover_occasions_recipients_and_styles(bank: Bank, made: list[Composed]) -> None:
    occasions = Counter(row.scene.occasion.key for row in made)
    assert min(occasions[one.key] for one in bank.occasions) >= 30
    recipients = Counter(row.scene.recipient.name if row.scene.recipient else "" for row in made)
    assert min(recipients[who.name] for who in bank.recipients) >= 20
    assert 0.15 <= recipients[""] / ROWS <= 0.35
    styles = Counter(row.scene.style for row in made)
    assert set(styles) == {*NEEDS, "温情", "口语", ""} and min(styles.values()) >= 100
    sizes = Counter(row.scene.size for row in made)
    assert set(sizes) == set(SIZES) and min(sizes.values()) >= 200


def test_hardly_a_clause_is_too_rare_to_be_learnt(bank: Bank, made: list[Composed]) -> None:
    clauses = [clauses_of(row.greeting) for row in made]
    counts = Counter(clause for row in clauses for clause in row)
    assert sum(min(counts[clause] for clause in row) < 4 for row in clauses) / len(made) < 0.03
    shares = Counter(row.scene.occasion.key for row in made)
    assert set(shares) == {one.key for one in bank.occasions} and min(shares.values()) > 150


def test_the_same_seed_gives_the_same_rows(bank: Bank) -> None:
    some = [(row.prompt, row.greeting) for row in compose(bank, 150)]
    assert some == [(row.prompt, row.greeting) for row in compose(load(), 150)]
    assert some != [(row.prompt, row.greeting) for row in compose(bank, 150, seed=1)]


def test_no_congratulations_to_the_ill_and_the_grieving(made: list[Composed]) -> None:
    sad = [row for row in made if row.scene.occasion.mood in (Mood.CARE, Mood.GRIEF)]
    assert len(sad) > 200
    assert [row.greeting for row in sad if FESTIVE.search(row.greeting)] == []
    grieving = [row.greeting for row in sad if row.scene.occasion.mood is Mood.GRIEF]
    assert grieving and [text for text in grieving if "！" in text or "祝" in text] == []


def test_children_hear_nothing_of_wine_and_wages(made: list[Composed]) -> None:
    small = [
        row.greeting
        for row in made
        if row.scene.recipient is not None and row.scene.recipient.name in ("孩子", "宝宝", "孙子", "孙女")
    ]
    assert len(small) > 100 and [text for text in small if GROWN_UP.search(text)] == []


def test_everybody_is_addressed_as_they_should_be(made: list[Composed]) -> None:
    for row in made:
        who = row.scene.recipient
        if who is None or row.scene.occasion.plural:
            continue
        if who.you == "您" and "formal" in who.audiences:
            assert "你" not in row.greeting.replace("你们", ""), row.greeting
        calls = [call for call in who.calls if row.greeting.startswith(f"{call}，")]
        others = [c for c in ("妈妈，", "爸爸，", "奶奶，", "领导，", "老公，") if row.greeting.startswith(c)]
        assert calls or not others, row.greeting


def test_the_number_of_years_is_the_one_asked_for(made: list[Composed]) -> None:
    aged = [row for row in made if row.scene.number]
    assert len(aged) > 1_000
    for row in aged:
        number = row.scene.number
        assert number in row.prompt or FIGURES[number] in row.prompt, "the plan names what the request names"


def test_wishes_for_length_and_form_are_met(made: list[Composed]) -> None:
    for row in made:
        least, most = SIZES[row.scene.size]
        assert least <= length(row.greeting) <= most
        if row.scene.style == "四字":
            assert len(re.findall(r"[^，。！]{4}(?=[，。！])", row.greeting)) >= 4


def test_what_is_composed_has_no_fault(made: list[Composed]) -> None:
    found = [(row, fault) for row in made if (fault := fault_of(read_wish(row.prompt), row.greeting))]
    assert found == []
    assert sum(len(row.greeting.rstrip("！。")) == 4 for row in made) > 300, "四个字 is four characters"


def test_clauses_that_say_the_same_do_not_meet() -> None:
    assert clash("愿{你}健康长寿，笑口常开", ["祝{你}健康长寿"])
    assert not clash("愿{你}睡得安稳", ["愿{你}吃得香甜", "祝{你}万事如意"])


def test_greetings_are_not_copies_of_each_other(made: list[Composed]) -> None:
    some = [row.greeting for row in made[:1_500]]
    alike = {text for found in seed_audit.overlaps(some, limit=0.75) for text in (found.one, found.other)}
    assert len(alike) / len(some) < 0.35  # two greetings of two sentences share one of them


def test_what_is_held_out_is_never_composed(bank: Bank, made: list[Composed]) -> None:
    kept = {(o.key, who.name) for o in bank.occasions for who in bank.invited(o) if held_out(o, who)}
    assert len(kept) >= 40
    there = {(row.scene.occasion.key, row.scene.recipient.name) for row in made if row.scene.recipient}
    assert not kept & there


def test_held_out_requests_of_the_seed_corpus_are_not_given_away(made: list[Composed]) -> None:
    known = [row["prompt"] for row in seed_audit.load(seed.FOLDER)]
    kept = {squeeze(prompt) for prompt in known if split_of(prompt) is not Split.TRAIN}
    asked = [squeeze(row.prompt) for row in made]
    assert not kept & set(asked)
    near = [
        found
        for found in seed_audit.overlaps([*asked[:6_500], *kept], limit=0.8)
        if {found.one, found.other} & kept
    ]
    assert near == []


def test_pairs_miss_the_request_and_not_the_length(made: list[Composed]) -> None:
    found = starter.mismatched(made, 600)
    flaws = Counter(flaw for _, _, flaw in found)
    assert set(flaws) == {Flaw.WRONG_OCCASION, Flaw.WRONG_RELATIONSHIP} and min(flaws.values()) >= 200
    gaps = [length(row.greeting) - length(other.greeting) for row, other, _ in found]
    assert max(map(abs, gaps)) <= starter.NEAR and abs(sum(gaps)) / len(gaps) < 0.6
    for row, other, flaw in found:
        assert split_of(row.prompt) is split_of(other.prompt)
        if flaw is Flaw.WRONG_OCCASION:
            assert row.scene.occasion.name != other.scene.occasion.name


def test_self_and_group_are_not_spoken_to_as_one_other_person(made: list[Composed]) -> None:
    for row in made:
        who = row.scene.recipient
        if who is not None and SELF in who.audiences:
            assert "谢谢你" not in row.greeting and "恭喜你" not in row.greeting


@pytest.mark.data
def test_nothing_is_taken_from_the_research_data(made: list[Composed], research_data: Path) -> None:
    known = {squeeze(text) for text in public_texts(research_data)}
    assert not [row.greeting for row in made if length(row.greeting) > 12 and squeeze(row.greeting) in known]


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
        load(folder)
