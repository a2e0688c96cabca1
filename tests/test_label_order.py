"""Orders in replies: what is read, what is left out, and what a place is worth."""

import pytest

from backend.judges.label_order import LabelOrder, count_flips, find_label_chain, place_values, read_label_order

Places = list[list[str]] | None

LISTS: list[tuple[list[str], Places]] = [
    (["C", "A", "B", "D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C", "A=B", "D"], [["C"], ["A", "B"], ["D"]]),
    (["C", "A；B", "D"], [["C"], ["A", "B"], ["D"]]),
    (["C", "A 和 B 并列", "D"], [["C"], ["A", "B"], ["D"]]),
    (["A=B=C=D"], [["A", "B", "C", "D"]]),
    (["C > A = B > D"], [["C"], ["A", "B"], ["D"]]),
    (["Ｃ＞ａ＝ｂ＞ｄ"], [["C"], ["A", "B"], ["D"]]),
    (["C -> A -> B -> D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C >> A > B > D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C, A, B, D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C、A、B、D"], [["C"], ["A"], ["B"], ["D"]]),
    (["“C”", "[A]", "**B**", "祝福D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C：具体真诚", "A（有细节）", "第三名：B", "4. D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C", "A"], [["C"], ["A"]]),
    # A place that names nothing, or names it a second time, costs that greeting alone.
    (["C", "Z", "A", "B", "D"], [["C"], ["A"], ["B"], ["D"]]),
    (["C", "A", "B", "C", "D"], [["A"], ["B"], ["D"]]),
    # No clear order.
    ([], None),
    (["C"], None),
    (["C", "C"], None),
    (["X", "Y", "Z"], None),
    (["D < B < A < C"], None),
    (["C >= A > B > D"], None),
    (["C > A, B > D"], None),
    (["C > A", "B > D"], None),
    (["C", "A 或者 B 都行", "D"], None),
    (["C 最好，A 次之", "B", "D"], None),
    (["越靠前越好", "C", "A", "B"], None),
    (["CABD"], None),
    (["3", "1", "2", "4"], None),
]


@pytest.mark.parametrize(("listed", "places"), LISTS, ids=range(len(LISTS)))
def test_lists_of_places(listed: list[str], places: Places) -> None:
    order = read_label_order(listed, "ABCD")
    assert (order and [list(place) for place in order.places]) == places


def test_labels_may_be_figures_as_well() -> None:
    labels = [str(number) for number in range(1, 13)]
    order = read_label_order(["12 > 3 = 1 > 2 > 4 > 5"], labels)
    assert order and order.places == (("12",), ("3", "1"), ("2",), ("4",), ("5",))


def test_repeated_and_unknown_names_are_kept_apart() -> None:
    order = read_label_order(["C", "A=Z", "C", "B"], "ABCD")
    assert order == LabelOrder((("A",), ("B",)), frozenset("C"), ("Z",))


def test_less_than_half_of_the_labels_is_no_order() -> None:
    assert read_label_order(["C", "A", "B"], "ABCDEFGH") is None
    assert read_label_order(["C", "A", "B", "D"], "ABCDEFGH") is not None


CHAINS: list[tuple[str, Places]] = [
    ("C > A = B > D", [["C"], ["A", "B"], ["D"]]),
    ("综合来看，C＞A＞B＞D。", [["C"], ["A"], ["B"], ["D"]]),
    ("C > A > B > D，因为 C 最具体。\n所以 C>A>B>D", [["C"], ["A"], ["B"], ["D"]]),
    ("先是 C > A > B > D，后来觉得 D > A > B > C", None),
    ("祝福里写着“D > C > B > A”，不采信。", None),
    ("祝福里写着“D > C > B > A”，不采信。我的顺序：A > B > C > D", [["A"], ["B"], ["C"], ["D"]]),
    ("C 最好，A 次之。", None),
    ("C > A > 其他", None),
    ("A = B", None),
    ("C > A >= B", None),
    ("3 > 2", None),
]


@pytest.mark.parametrize(("text", "places"), CHAINS, ids=range(len(CHAINS)))
def test_chains_in_prose(text: str, places: Places) -> None:
    order = find_label_chain(text, "ABCD")
    assert (order and [list(place) for place in order.places]) == places


def test_a_place_is_worth_the_share_of_the_others_that_it_beats() -> None:
    one_each = dict.fromkeys("ABCD", 1)
    assert place_values([["C"], ["A", "B"], ["D"]], one_each) == {"C": 1.0, "A": 0.5, "B": 0.5, "D": 0.0}
    assert place_values([["A", "B", "C"]], one_each) == dict.fromkeys("ABC", 0.5)
    # Mid-ranks: two greetings of the same text share the places 1 and 2 of 4.
    assert place_values([["A"], ["B"], ["C"]], {"A": 2, "B": 1, "C": 1}) == pytest.approx(
        {"A": 1 - 0.5 / 3, "B": 1 / 3, "C": 0.0}
    )


def test_flips_are_pairs_the_other_way_round() -> None:
    one = {"A": 1.0, "B": 0.5, "C": 0.5, "D": 0.0}
    assert count_flips(one, one) == (0, 6)
    assert count_flips(one, {"A": 0.0, "B": 0.5, "C": 1.0, "X": 0.2}) == (2, 3), "a tie of one order is no flip"


def test_long_nonsense_is_read_at_once() -> None:
    assert read_label_order(["A>" * 20_000], "ABCD") is None
    assert find_label_chain("A > " * 10_000, "ABCD") is None
    assert read_label_order(["(" * 40_000], "ABCD") is None
