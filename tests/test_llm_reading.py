"""The small readers behind `parse`, each by itself: almost-JSON, quotations, scales, sides, documents."""

import json
from typing import Any

import pytest

from backend.llm.ask import MAX_REPLY_CHARACTERS, ParseFailure, parse_structured_reply, parse_verdict_reply
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.fields import (
    FieldKind,
    FieldSpec,
    choice_field,
    explanation_field,
    field_meaning,
    integer_field,
    number_field,
    reply_instruction,
    reply_outline,
    text_field,
    text_list_field,
    verdict_field,
)
from backend.llm.loose_json import MAX_CHARACTERS, MAX_OBJECTS, LooseObject, RepeatedValues, members, objects
from backend.llm.member_values import coerce_value, has_member, member_value
from backend.llm.messages import Endpoint
from backend.llm.phrases import (
    LONGEST_CLAUSE,
    DeniedValue,
    InvalidValue,
    may_be_a_value,
    mentions_other_side,
    parse_phrase,
    preferred_side,
    value_on_scale,
)
from backend.llm.quotations import (
    blank_spans,
    code_block_spans,
    contains_span,
    copied_field,
    quotation_spans,
    repeats_question,
    strip_quotation,
    struck_out_spans,
    unwrap_quotation,
    without_echo,
    without_format,
    without_thoughts,
)
from backend.llm.remarks import (
    RemarkPlace,
    called_an_example,
    corrects_between,
    is_concession,
    is_hearsay,
    is_mention,
    is_mere_praise,
    is_other_scale,
    may_prefer,
    overturns_value,
    restates_value,
    text_after_correction,
)
from backend.llm.reply import MAX_VALUES, ServerReply, StreamedReply, parse_document, parse_reply
from backend.llm.reply_fields import MOST_LABELS
from backend.llm.statements import (
    StatementSource,
    is_denied_in_reason,
    parse_bare_statement,
    parse_statement,
    split_clauses,
)
from backend.llm.usage import ReportedUsage

V = verdict_field()
STARS = integer_field("stars", 1, 5)
SHARE = number_field("share", 0, 1)
SIDES = choice_field("winner", {"甲": "a", "乙": "b", "a": "a", "b": "b", "平局": "tie", "平": "tie"}, tie_value="tie")


# Almost JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("{a: 1}", {"a": 1}),
        ("｛“a”：１｝", {"a": 1}),
        ("{'a': 'b'}", {"a": "b"}),
        ("{「a」：「b」}", {"a": "b"}),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": "1"；b="2"}', {"a": "1", "b": "2"}),
        ('{"a": [1, 2,], "b": {c: 3}}', {"a": [1, 2], "b": {"c": 3}}),
        ('{a: ［"1"、"2"］}', {"a": ["1", "2"]}),
        ('{"a": "说"好"吗"}', {"a": '说"好"吗'}),
        ('{"a": "行\n二"}', {"a": "行\n二"}),
        ('{a: "x\\"y\\n"}', {"a": 'x"y\n'}),
        (
            "{a: true, b: False, c: null, d: None, e: }",
            {"a": True, "b": False, "c": None, "d": None, "e": None},
        ),
        ("{a: 10, b: -3, c: 0, d: 1.5, e: 1.5e3}", {"a": 10, "b": -3, "c": 0, "d": 1.5, "e": 1500.0}),
        ("{a: 007, b: 1., c: -0, d: 1e3}", {"a": "007", "b": "1.", "c": "-0", "d": "1e3"}),
        ("{a: `x`, b: “y”}", {"a": "x", "b": "y"}),
        ('{"a": 1, "a": 2}', {"a": RepeatedValues((1, 2))}),
        ('{"a": 1, "a": 2, "a": 3}', {"a": RepeatedValues((1, 2, 3))}),
        ('{"a": 1, "a": 1}', {"a": 1}),
        ('{"a": -0}', {"a": "-0"}),
        ('{"a": 1.0, "b": 0.5, "c": -0.0}', {"a": 1.0, "b": 0.5, "c": "-0.0"}),
        ('{"a": 0.99999999999999999999}', {"a": "0.99999999999999999999"}),
        ('{"a": 2e0, "b": 1e400}', {"a": 2.0, "b": float("inf")}),
        ('{"a": 1' + "0" * 30 + "}", {"a": 10**30}),
    ],
)
def test_objects_that_are_almost_json(raw: str, value: dict[str, Any]) -> None:
    (found,) = objects(f"前{raw}后")
    assert found.value == value and (found.start, found.end) == (1, len(raw) + 1)
    assert found.unfinished == frozenset()
    for key, one in value.items():
        assert type(found.value[key]) is type(one)


def test_integers_are_numbers_up_to_a_length() -> None:
    for digits, kind in ((399, int), (400, str)):
        (read,) = objects(f"{{a: {'1' * digits}}}")
        assert type(read.value["a"]) is kind and str(read.value["a"]) == "1" * digits


def test_what_is_cut_off_is_named() -> None:
    for raw, value, unfinished in (
        ('{"a": 1, "b": "x', {"a": 1, "b": "x"}, {"b"}),
        ('{"a": 1, "b": 2', {"a": 1, "b": 2}, {"b"}),
        ('{"a": [1, 2', {"a": [1, 2]}, {"a"}),
        ('{"a": {"b": 1', {"a": {"b": 1}}, {"a", "b"}),
        ('{"a": 1,', {"a": 1}, set()),
    ):
        (found,) = objects(raw)
        assert (found.value, found.unfinished) == (value, unfinished) and found.end >= len(raw)
    for nothing in ('{"a', '{"a":', "{", "{}x{", "{a b}", "{：1}"):
        assert [one.value for one in objects(nothing)] in ([], [{}], [{"a": None}])


def test_outermost_objects_in_order_and_no_more_than_so_many() -> None:
    found = objects('{"a": {"b": 1}} 和 {"c": 2}{"d": 3}')
    assert [one.value for one in found] == [{"a": {"b": 1}}, {"c": 2}, {"d": 3}]
    assert [(one.start, one.end) for one in found] == [(0, 15), (18, 26), (26, 34)]
    many = objects('{"a": 1}' * (MAX_OBJECTS + 7))
    assert len(many) == MAX_OBJECTS and many[0].start == 7 * 8
    assert len(objects('{"a": 1}' * MAX_OBJECTS)) == MAX_OBJECTS
    assert objects("{" * (MAX_CHARACTERS + 9)) == [] and objects("没有") == []


def test_nested_objects_outer_ones_first_and_not_too_deep() -> None:
    value = {"a": [{"b": 1}, [{"c": 2}], 3], "d": {"e": {"f": 4}}}
    assert list(members(value)) == [value, {"b": 1}, {"c": 2}, {"e": {"f": 4}}, {"f": 4}]
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"x": deep}
    assert len(list(members(deep))) == 13
    assert len(objects("{a:" * 13 + "1" + "}" * 13)) == 1
    assert [one.start for one in objects("{a:" * 14 + "1" + "}" * 14)] == [3], "one level too deep"


# Quotations -------------------------------------------------------------------------------------------


def test_thoughts_are_no_reply() -> None:
    for given, left in (
        ("<think>甲</think>乙", "乙"),
        ("甲<THINKING>乙</thinking>丙", "甲丙"),
        ("甲<reasoning>乙", "甲"),
        ("<think>甲</think>乙<think>丙</think>丁", "乙丁"),
        ("甲\n</think>\n乙", "\n乙"),
        ("甲</think> 乙", "甲</think> 乙"),
        ("甲</think>", ""),
        ("甲", "甲"),
    ):
        assert without_thoughts(given, []) == left
    inside = '{"a": "<think>x</think>"}'
    assert without_thoughts(inside, [(0, len(inside))]) == inside
    ended = '{"a": "x</think>\n"}'
    assert without_thoughts(ended, [(0, len(ended))]) == ended


def test_quotation_marks_around_the_whole() -> None:
    for given, left in (
        (" “好” ", "好"),
        ("「好」", "好"),
        ("`好`", "好"),
        ("“好”和“坏”", "“好”和“坏”"),
        ("“好", "“好"),
        ("“", "“"),
        ('"好"', '"好"'),
        ("“”", ""),
    ):
        assert strip_quotation(given) == left
    assert unwrap_quotation("> 甲\n\n  > 乙") == "甲\n 乙" and unwrap_quotation("> 甲\n乙") == "> 甲\n乙"
    assert unwrap_quotation("> 1 分") == "> 1 分", "a figure that is exceeded is no quotation"
    assert unwrap_quotation("") == ""


def test_spans_that_quote_or_are_taken_back() -> None:
    assert struck_out_spans("甲~~乙~~丙<s>丁</s><del>戊</s>") == [(1, 6), (7, 15)]
    given = '> 甲：1\n“乙：2”“丙”\n<<<祝福 x 开始>>>丁<<<祝福 x 结束>>>\n“戊{"a":1}”'
    first = given.index("{")
    found = sorted(quotation_spans(given, [(first, first + 7)]))
    assert [given[begin:end] for begin, end in found] == [
        "> 甲：1",
        "“乙：2”",
        "<<<祝福 x 开始>>>丁<<<祝福 x 结束>>>",
        '“戊{"a":1}”',
    ]
    assert quotation_spans("<<<祝福 开始>>>丁：1", []) == [(0, 14)], "not closed: to the end"
    assert quotation_spans('"甲：1\n乙"', []) == [], "plain marks end with their line"
    assert quotation_spans("“甲\n乙：1”", []) == [(0, 7)], "full-width ones do not"
    assert quotation_spans("“甲「乙：1”", []) == [(0, 7)], "what was left open inside is forgotten"
    for marks in (40, 41):
        assert quotation_spans("“" * marks + "：1”", []) == [(39, marks + 3)], "no more are kept open"
    assert code_block_spans("```\n甲\n```\n乙\n```") == [(0, 9)] and code_block_spans("甲```乙```") == []


def test_spans_become_spaces_and_lines_stay() -> None:
    assert blank_spans("甲乙\n丙丁戊", [(1, 4), (3, 5)]) == "甲 \n  戊"
    assert blank_spans("甲乙丙", [(0, 3), (1, 2)]) == "   " and blank_spans("甲乙", []) == "甲乙"
    assert contains_span([(2, 5)], (2, 5)) and contains_span([(0, 1), (2, 5)], (3, 4))
    assert not contains_span([(2, 5)], (1, 5)) and not contains_span([(2, 5)], (2, 6)) and not contains_span([], (0, 0))


# Scales and words ---------------------------------------------------------------------------------------


def test_numbers_on_a_scale_are_neither_clipped_nor_rounded() -> None:
    out = InvalidValue("out_of_range")
    for field, value, expected in (
        (STARS, 1.0, 1),
        (STARS, 5.0, 5),
        (STARS, 0.0, out),
        (STARS, 6.0, out),
        (STARS, 2.5, out),
        (SHARE, 0.0, 0.0),
        (SHARE, 1.0, 1.0),
        (SHARE, 0.25, 0.25),
        (SHARE, 1.01, out),
        (SHARE, float("nan"), out),
        (STARS, float("inf"), out),
        (V, 1.0, 1),
        (V, 0.0, 0),
        (V, 2.0, out),
        (V, 0.5, out),
    ):
        found = value_on_scale(value, field)
        assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("clause", "field", "said"),
    [
        ("1", V, 1),
        ("1分", V, 1),
        ("1%", V, InvalidValue("out_of_range")),
        ("很好", V, 1),
        ("不好", V, 0),
        ("不差", V, 1),
        ("不是不好", V, None),
        ("没有达到优秀水平", V, 0),
        ("差点就优秀", V, 0),
        ("优秀不了", V, 0),
        ("好不好", V, None),
        ("好了", V, None),
        ("不", V, None),
        ("我认为这条祝福语是优秀的", V, 1),
        ("the greeting is not very good", V, 0),
        ("not bad", V, 1),
        ("3/5", STARS, 3),
        ("3/10", STARS, InvalidValue("out_of_range")),
        ("3 out of 5", STARS, 3),
        ("三", STARS, 3),
        ("零", STARS, None),
        ("five", STARS, 5),
        ("0.5", SHARE, 0.5),
        ("甲", SIDES, "a"),
        ("不是甲", SIDES, DeniedValue("a")),
        ("甲不如乙", SIDES, "b"),
        ("甲" * LONGEST_CLAUSE, SIDES, None),
        ("", V, None),
        ("**好**", V, 1),
        ("# 好", V, 1),
        ("- 好", V, 1),
        ("好~", V, 1),
        ("**- 好**", V, 1),
        ("判定为一", V, 1),
        ("因此一", V, None),
        ("这条是零", V, None),
        ("我认为是", V, None),
        ("不是", V, 0),
        ("好~**", V, 1),
        ("the  greeting is \n good", V, 1),
        ("天气晴", V, None),
    ],
)
def test_what_one_clause_says(clause: str, field: FieldSpec, said: Any) -> None:
    assert parse_phrase(clause, field) == said


def test_a_clause_too_long_says_nothing() -> None:
    for size, said in ((LONGEST_CLAUSE, 1), (LONGEST_CLAUSE + 1, None)):
        assert parse_phrase("所以好" + "的" * (size - 3), V) == said
    assert may_be_a_value("天晴", V) is False and may_be_a_value("3", V) and may_be_a_value("two", STARS)
    assert may_be_a_value("两条", SIDES) and not may_be_a_value("难说清", STARS)


@pytest.mark.parametrize(
    ("clause", "side"),
    [
        ("甲优于乙", "a"),
        ("甲不如乙", "b"),
        ("乙比甲好", "b"),
        ("乙比甲差", "a"),
        ("甲没有乙好", "b"),
        ("甲 > 乙", "a"),
        ("甲 < 乙", "b"),
        ("甲 = 乙", "tie"),
        ("a is better than b", "a"),
        ("a beats b", "a"),
        ("a is slightly worse than b", "b"),
        ("a isn't as good as b", "b"),
        ("b loses to a", "a"),
        ("甲和乙差不多", "tie"),
        ("a and b are equally good", "tie"),
        ("两条不相上下", "tie"),
        ("both are good", "tie"),
        ("neither is better", "tie"),
        ("不相上下", "tie"),
        ("乙更好", "b"),
        ("b is better", "b"),
        ("a wins", "a"),
        ("总体来说,我认为甲更好一些", "a"),
        ("甲优于甲", None),
        ("甲不比乙差", None),
        ("都不知道", None),
        ("", None),
    ],
)
def test_which_side_is_preferred(clause: str, side: str | None) -> None:
    assert preferred_side(clause, SIDES) == side


def test_neither_figures_nor_the_tie_are_sides() -> None:
    numbered = choice_field("winner", {"甲": "a", "1": "a", "乙": "b", "2": "b", "平": "tie"}, tie_value="tie")
    assert preferred_side("甲 > 乙", numbered) == "a" and preferred_side("平", numbered) == "tie"
    assert (
        preferred_side("1 > 2", numbered)
        is preferred_side("平更好", numbered)
        is preferred_side("平 > 甲", numbered)
        is None
    )


def test_a_remark_that_speaks_of_the_other_side() -> None:
    for remark, value, other in (
        ("比乙真诚", "a", True),
        ("比甲真诚", "a", False),
        ("it has a warm tone", "b", False),
        ("a is dull", "b", True),
        ("than a", "b", True),
        ("b is dull", "b", False),
        ("abacus", "b", False),
        ("平局也行", "a", False),
    ):
        assert mentions_other_side(remark, value, SIDES) is other
    assert mentions_other_side("乙", "a", choice_field("w", {"甲": "a"}, tie_value="t")) is False
    assert mentions_other_side("a is dull", "b", choice_field("w", {"甲": "a", "乙": "b"}, tie_value="t")) is False


# Members ----------------------------------------------------------------------------------------------------


def found(value: dict[str, Any], *unfinished: str) -> LooseObject:
    return LooseObject(value, 0, 1, frozenset(unfinished))


def test_members_by_name_alias_and_addition() -> None:
    for value, expected in (
        ({"verdict": 1}, 1),
        ({"Final Verdict": 0}, 0),
        ({"x": {"verdict": "好"}}, 1),
        ({"verdict": 1, "corrected_verdict": 0}, InvalidValue("conflicting")),
        ({"corrected_verdict": 0}, None),
        ({"verdict": 1, "verdict2": 1}, 1),
        ({"verdict": None}, None),
        ({"verdict": RepeatedValues((1, 1))}, 1),
        ({"verdict": RepeatedValues((1, 0))}, InvalidValue("conflicting")),
        ({"verdict": 3, "x": {"verdict": 1}}, InvalidValue("out_of_range")),
    ):
        assert member_value(found(value), ("verdict",), V) == expected
    assert has_member(found({"a": {"VERDICT": 1}}), ("verdict",)) and not has_member(found({"a": 1}), ("b",))
    assert member_value(found({"verdict": 1}, "verdict"), ("verdict",), V) is None, "it was cut off"
    assert member_value(found({"explanation": "好"}, "explanation"), ("explanation",), explanation_field()) == "好"


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        (True, V, 1),
        (False, V, 0),
        (True, STARS, InvalidValue("not_a_choice")),
        (3, STARS, 3),
        (10**400, STARS, InvalidValue("out_of_range")),
        ("3", STARS, 3),
        ("“3”", STARS, 3),
        ("呃", STARS, InvalidValue("not_a_choice")),
        ([1], STARS, InvalidValue("not_a_choice")),
        (None, STARS, None),
        (" 好 ", text_field("t"), "好"),
        ("", text_field("t"), None),
        (3, text_field("t"), "3"),
        (["甲", "", "乙"], text_field("t"), "甲；乙"),
        ({"a": 1}, text_field("t"), None),
        ("1. 甲\n- 乙；丙", text_list_field("t"), ["甲", "乙", "丙"]),
        (["甲", 2, None], text_list_field("t"), ["甲", "2"]),
        (3, text_list_field("t"), None),
        (RepeatedValues(("甲", "乙")), text_field("t"), "乙"),
    ],
)
def test_values_of_members(value: Any, field: FieldSpec, expected: Any) -> None:
    assert coerce_value(value, field) == expected


def test_fields_are_what_their_makers_say() -> None:
    assert V.opposite_values == {1: 0, 0: 1} and V.is_praise(1) and not V.is_praise(0) and not STARS.is_praise(1)
    assert (
        V.all_names[:2] == ("verdict", "判定") and "得分" in V.weak_names and V.choice_values == [1, 0] and V.required
    )
    own = verdict_field("判定", "答案")
    assert own.all_names[0] == "判定" and own.all_names.count("判定") == 1 and "答案" in own.all_names
    made = choice_field(
        "c", {"x": 1}, "d", opposite_values={1: 1}, weak_names=("w",), hint="h", required=False, tie_value=1
    )
    assert made == FieldSpec("c", FieldKind.CHOICE, ("d",), False, "h", {"x": 1}, {1: 1}, ("w",), tie_value=1)
    assert integer_field("i", 1, 3, "j", hint="h", required=False) == FieldSpec(
        "i", FieldKind.INT, ("j",), False, "h", minimum=1, maximum=3
    )
    assert number_field("n", 0, 1, "m", hint="h") == FieldSpec(
        "n", FieldKind.FLOAT, ("m",), True, "h", minimum=0, maximum=1
    )
    assert text_field("t", "u", hint="h", required=False) == FieldSpec("t", FieldKind.TEXT, ("u",), False, "h")
    assert text_list_field("t", "u", hint="h", required=False) == FieldSpec("t", FieldKind.TEXTS, ("u",), False, "h")
    why = explanation_field("reason")
    assert why.all_names[0] == "reason" and why.all_names.count("reason") == 1 and not why.required
    assert explanation_field(required=True).required and explanation_field(hint="x").hint == "x"
    assert choice_field("c", {"x": 1}) == FieldSpec("c", FieldKind.CHOICE, value_by_word={"x": 1})
    assert integer_field("i", 1, 3) == FieldSpec("i", FieldKind.INT, minimum=1, maximum=3)
    assert number_field("n", 0, 1) == FieldSpec("n", FieldKind.FLOAT, minimum=0, maximum=1)
    assert text_field("t") == FieldSpec("t", FieldKind.TEXT) and text_list_field("t") == FieldSpec("t", FieldKind.TEXTS)


NAMES = (
    "verdict 判定 结论 結論 評定 评定 裁决 裁決 judgment judgement conclusion decision "
    "判断 结果 得分 分数 评分 打分 答案 评价 总评 评估 评判 判斷 結果 評分 評價 "
    "label score rating result answer assessment overall"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_of_a_verdict_is_a_label_and_a_member(name: str) -> None:
    assert parse_verdict_reply(f"{name}：0") == parse_verdict_reply(f'{{"{name}": 0}}') == {"verdict": 0}


@pytest.mark.parametrize(
    "word",
    [
        "1",
        "好",
        "优秀",
        "合格",
        "优",
        "是",
        "通过",
        "及格",
        "優秀",
        "優",
        "通過",
        "good",
        "excellent",
        "yes",
        "true",
        "pass",
        "一",
        "不错",
        "不錯",
    ],
)
def test_every_word_for_good(word: str) -> None:
    assert parse_verdict_reply(f"判定：{word}") == parse_verdict_reply(f'{{"verdict": "{word}"}}') == {"verdict": 1}


@pytest.mark.parametrize(
    "word",
    ["0", "坏", "壞", "差", "劣", "否", "不好", "通不过", "poor", "bad", "no", "false", "fail", "零", "〇"],
)
def test_every_word_for_bad(word: str) -> None:
    assert parse_verdict_reply(f"判定：{word}") == parse_verdict_reply(f'{{"verdict": "{word}"}}') == {"verdict": 0}


@pytest.mark.parametrize("name", ["explanation", "reason", "reasons", "理由", "解释", "原因", "说明", "评语"])
def test_every_name_of_a_reason(name: str) -> None:
    assert parse_verdict_reply(f"判定：1\n{name}：真诚") == {"verdict": 1, "explanation": "真诚"}


# Statements and remarks -------------------------------------------------------------------------------------


def test_what_a_text_behind_a_label_states() -> None:
    for given, expected in (
        ("1", 1),
        ("1,真诚", 1),
        ("1,但是空洞", InvalidValue("unclear")),
        ("1,改为0", 0),
        ("1,0", InvalidValue("unclear")),
        ("1…", InvalidValue("unclear")),
        ("好。不对", InvalidValue("unclear")),
        ("!1", None),
        ("呃", None),
        ("", None),
        ("好?不", 0),
        ("1->0", 0),
        ("1. 甲\n2. 乙", None),
        ("呃,好", None),
        ("1,真诚…", 1),
        ("1…真诚", InvalidValue("unclear")),
        ("3,好", InvalidValue("out_of_range")),
        ("不坏不好", None),
    ):
        assert parse_statement(given, V, StatementSource.LABEL) == expected, given
    for given, side in (
        ("甲?不,乙", "b"),
        ("甲?不,甲", None),
        ("甲?不", None),
        ("甲?乙", "b"),
    ):
        assert parse_statement(given, SIDES, StatementSource.LABEL) == side, given
    assert parse_statement("1->0", V, StatementSource.MEMBER) == InvalidValue("unclear")


def test_what_a_bare_reply_states() -> None:
    for given, expected in (
        ("好", 1),
        ("好的", 1),
        ("好的,不好", 0),
        ("语言优美,好", 1),
        ("可以", None),
        ("好:", None),
        ("1. 甲", None),
        ("好\n坏", InvalidValue("conflicting")),
        ("有人说好", None),
        ("", None),
    ):
        assert parse_bare_statement(given, V) == expected, given


def test_clauses_know_their_marks_sentence_and_line() -> None:
    parts = split_clauses("甲,乙。丙\n丁?", V)
    assert [(one.text, one.before, one.after, one.sentence_number, one.line_number) for one in parts] == [
        ("甲", "", ",", 0, 0),
        ("乙", ",", "。", 0, 0),
        ("丙", "。", "\n", 1, 0),
        ("丁", "\n", "?", 2, 1),
    ]
    assert [one.is_question for one in parts] == [False, False, False, True]
    assert split_clauses("[1, 0]", V) == [] and split_clauses("", V) == []


def test_a_reason_that_denies_the_value() -> None:
    assert is_denied_in_reason("语言空洞\n不好", 1, V) and not is_denied_in_reason("语言空洞\n不好", 0, V)
    assert is_denied_in_reason("应改为0,因为空洞", 1, V) and not is_denied_in_reason("很真诚", 1, V)


@pytest.mark.parametrize(
    ("function", "yes", "no"),
    [
        (corrects_between, ["更正：", "再想一想，", "说反了", "actually"], ["另外，", ""]),
        (is_hearsay, ["有人说", "people say"], ["我说"]),
        (is_concession, ["但空洞", " 不过", "however"], ["空洞，但", "但愿"]),
        (restates_value, ["实际", "更正", "final"], ["置信度"]),
        (is_mention, ["祝福里写着", "例如", "the text says", "不是"], ["判定"]),
        (called_an_example, ["(示例)", " 是原文里的"], ["判定"]),
        (is_mere_praise, ["语言优美", "真诚自然", "very warm and personal"], ["空洞", "语言"]),
        (may_prefer, ["更好", "wins"], ["略空泛"]),
    ],
)
def test_turns_of_speech(function: Any, yes: list[str], no: list[str]) -> None:
    assert [function(one) for one in yes] == [True] * len(yes)
    assert [function(one) for one in no] == [False] * len(no)


def test_corrections_and_scales() -> None:
    assert (
        text_after_correction("改为 0") == "0"
        and text_after_correction("应为：") == "："
        and text_after_correction("好") is None
    )
    for note, other in (
        ("满分5", False),
        ("out of 10", True),
        ("百分制", True),
        ("五分制", False),
        ("好", None),
    ):
        assert is_other_scale(note, STARS) is other
    assert is_other_scale("满分一百", integer_field("points", 0, 100)) is False
    figures = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "十": 10, "百": 100, "一百": 100}
    for word, high in figures.items():
        assert is_other_scale(f"满分{word}", integer_field("points", 0, high)) is False
        assert is_other_scale(f"满分{word}", integer_field("points", 0, high + 1)) is True
    assert is_other_scale("满分1", V) is False and is_other_scale("满分10", V) is True


@pytest.mark.parametrize(
    ("remark", "field", "value", "place", "turned"),
    [
        ("作废", V, 1, RemarkPlace.OBJECT, True),
        ("仅供参考", V, 1, RemarkPlace.OBJECT, True),
        ("有误", V, 1, RemarkPlace.LATER, True),
        ("有误", V, 0, RemarkPlace.LATER, False),
        ("有误", STARS, 3, RemarkPlace.LATER, True),
        ("但空洞", V, 1, RemarkPlace.LATER, True),
        ("但空洞", V, 1, RemarkPlace.OBJECT, False),
        ("但不够真诚", V, 0, RemarkPlace.LATER, False),
        ("但还算好", V, 0, RemarkPlace.LATER, True),
        ("真诚", V, 1, RemarkPlace.SENTENCE, False),
        ("空洞", V, 1, RemarkPlace.SENTENCE, True),
        ("因为空洞", V, 1, RemarkPlace.SENTENCE, False),
        ("也许", V, 0, RemarkPlace.SENTENCE, True),
        ("空洞", V, 0, RemarkPlace.SENTENCE, False),
        ("很好", V, 0, RemarkPlace.SENTENCE, True),
        ("因为不够好", V, 0, RemarkPlace.SENTENCE, False),
        ("但短", STARS, 3, RemarkPlace.SENTENCE, True),
        ("短", STARS, 3, RemarkPlace.SENTENCE, False),
        ("不真诚", SIDES, "a", RemarkPlace.SENTENCE, True),
        ("比乙真诚", SIDES, "a", RemarkPlace.SENTENCE, True),
        ("真诚", SIDES, "a", RemarkPlace.SENTENCE, False),
    ],
)
def test_what_takes_a_value_back(remark: str, field: FieldSpec, value: Any, place: RemarkPlace, turned: bool) -> None:
    assert overturns_value(remark, value, field, place) is turned


# Copies of the format ---------------------------------------------------------------------------------------


def test_an_echo_of_the_format_is_no_answer() -> None:
    fields = [verdict_field(), explanation_field()]
    answer = '{"verdict": 1, "explanation": "写得真诚"}'
    for echo in (reply_instruction(fields), reply_outline(fields)):
        assert without_echo(f"{echo}\n{answer}", fields) == answer
        assert without_echo(echo, fields) == echo
    assert without_echo(f"1（{field_meaning(V)}）", fields) == "1"
    assert without_format(f"甲{field_meaning(V)}乙", fields) == "甲〈〉乙" and without_format("甲", fields) == "甲"

    def nothing(_: str) -> None:
        return None

    assert copied_field(answer, fields, {"verdict": 1, "explanation": "写得真诚"}, nothing) is None
    for dots in ("……", "〈简短的理由〉", "简短的理由", "explanation", "xx"):
        assert copied_field("", fields, {"verdict": 1, "explanation": dots}, nothing) == "explanation"
    assert copied_field(reply_outline(fields), fields, None, nothing) is not None
    assert copied_field("没有", fields, None, nothing) is None
    for line in reply_instruction(fields).splitlines():
        whose = line.startswith("- ") and not line.startswith("- explanation：")
        name = None if whose else "explanation"
        assert copied_field("", fields, {"verdict": 1, "explanation": line}, nothing) == name, line
    said, echoed = {"verdict": 1, "explanation": "写得真诚"}, f"{field_meaning(V)}\n{answer}"
    for rest, name in (
        (said, None),
        ({**said, "verdict": 0}, "verdict"),
        ({"verdict": 1}, "explanation"),
        ({**said, "explanation": "〈〉写得真诚"}, "explanation"),
        ({**said, "explanation": "写得〈〉真诚"}, None),
        (None, "verdict"),
    ):
        assert copied_field(echoed, fields, said, lambda _, rest=rest: rest) == name
    merits = [text_list_field("merits", "优点")]
    for given, name in (
        (["真诚"], None),
        (["..."], "merits"),
        (["-"], "merits"),
        (["真诚", "-"], None),
        ([], None),
    ):
        assert copied_field("", merits, {"merits": given}, nothing) == name


def test_a_reply_that_stands_in_the_question_repeats_it() -> None:
    asked = "请判断下面这条祝福语是不是优秀，只输出结论"
    assert repeats_question("下面这条祝福语 是不是优秀！", asked) and not repeats_question(
        "下面这条祝福语是不是很优秀", asked
    )
    assert repeats_question(asked[:12], asked) and not repeats_question(asked[:11], asked)


def test_only_the_end_of_a_very_long_reply_is_read() -> None:
    assert parse_verdict_reply("判定：0" + "好" * MAX_REPLY_CHARACTERS + "\n判定：1") == parse_verdict_reply(
        "好" * (MAX_REPLY_CHARACTERS - 5) + "\n判定：1"
    )
    assert isinstance(parse_verdict_reply("判定：1\n" + " " * MAX_REPLY_CHARACTERS), ParseFailure)
    assert isinstance(parse_verdict_reply("判定：1\n" * (MOST_LABELS + 1)), ParseFailure)
    assert parse_verdict_reply("判定：1\n" * MOST_LABELS) == {"verdict": 1}


def test_a_failure_names_its_field_and_the_reply() -> None:
    fields = [integer_field("language", 1, 3, "语言"), integer_field("emotion", 1, 3, "情感")]
    for reply, cut, expected in (
        ("", False, ParseFailure("empty", "", "")),
        ("", True, ParseFailure("truncated", "", "")),
        ('{"language": 1}', False, ParseFailure("missing", '{"language": 1}', "emotion")),
        ('{"language": 1}', True, ParseFailure("truncated", '{"language": 1}', "emotion")),
        ("无", False, ParseFailure("no_answer", "无", "language")),
    ):
        assert parse_structured_reply(reply, fields, is_truncated=cut) == expected
    said = ParseFailure("missing", "", "emotion").message
    assert '"emotion"' in said.en and "“emotion”" in said.zh
    assert parse_verdict_reply('"{\\"verdict\\": 1}"') == {"verdict": 1}, "a reply that is one JSON string"
    dots = '{"verdict": 1, "explanation": "……"}'
    assert parse_verdict_reply(dots) == ParseFailure("copied", dots, "explanation")
    tagged = {"explanation": "它写了<think>三个字", "verdict": 1}
    assert parse_verdict_reply(json.dumps(tagged, ensure_ascii=False)) == tagged, "a tag in a string is no thought"


# Documents and streams --------------------------------------------------------------------------------------


AT = Endpoint("e", "http://127.0.0.1:9/v1", "m")
USED = {"prompt_tokens": 9, "completion_tokens": 4}


def failure(call: Any, *given: Any) -> LLMError:
    with pytest.raises(LLMError) as caught:
        call(*given)
    return caught.value


def document(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    first = {"message": {"content": content, **message}, "finish_reason": finish}
    return {"choices": [first], "usage": USED}


def test_a_body_is_one_object_of_bounded_size() -> None:
    assert parse_document(AT, b'{"a": 1}') == {"a": 1}
    for body, detail in (
        (b"", "an empty body"),
        (b"  <html>", "HTML"),
        (b"[1]", "not JSON"),
        (b"{", "not JSON"),
    ):
        error = failure(parse_document, AT, body)
        assert error.kind is LLMErrorKind.NOT_JSON and error.detail == detail
    commas = json.dumps({"a": [0] * 11}).encode()
    assert parse_document(AT, commas, 10) == {"a": [0] * 11}
    assert failure(parse_document, AT, commas, 9).kind is LLMErrorKind.TOO_LARGE
    boxes = json.dumps({"a": [[]] * (MAX_VALUES - 1)}).encode()
    assert failure(parse_document, AT, boxes, 10**9).kind is LLMErrorKind.TOO_LARGE
    assert len(parse_document(AT, json.dumps({"a": [[]] * (MAX_VALUES - 2)}).encode(), 10**9)["a"]) == MAX_VALUES - 2


def test_a_reply_in_a_document() -> None:
    assert parse_reply(AT, document("好")) == ServerReply("好", "stop", ReportedUsage(9, 4, written=1))
    assert parse_reply(AT, document("好", None)).finish_reason == "stop"
    assert parse_reply(AT, document("好", "x" * 99)).finish_reason == "x" * 40
    parts = [{"text": "好"}, "x", {"text": "吗"}, {}]
    assert parse_reply(AT, document(parts)).text == "好吗"
    assert parse_reply(AT, document(None, refusal="不行")).text == "不行"
    thought = parse_reply(AT, document("好", reasoning_content="想想", reasoning="想一想"))
    assert thought.reported_usage.written == 4
    for given, finish, kind, written in (
        ("", "stop", LLMErrorKind.EMPTY, 0),
        (" ", "stop", LLMErrorKind.EMPTY, 1),
        ("", "length", LLMErrorKind.EMPTY, 1),
        ("", "content_filter", LLMErrorKind.FILTERED, 0),
        (3, "stop", LLMErrorKind.EMPTY, 0),
    ):
        error = failure(parse_reply, AT, document(given, finish))
        assert error.kind is kind and error.reported_usage == ReportedUsage(9, 4, written=written) and error.billed
        assert ("max_tokens" in error.detail) is (finish == "length")
    for empty in ([], ["x"], [{"message": 3}]):
        assert failure(parse_reply, AT, {"choices": empty}).kind is LLMErrorKind.EMPTY


def test_a_document_without_choices() -> None:
    error = failure(parse_reply, AT, {"usage": USED})
    assert (error.kind, error.reported_usage) == (
        LLMErrorKind.NOT_JSON,
        ReportedUsage(9, 4),
    ) and "no choices" in error.detail
    for code, kind in (
        (429, LLMErrorKind.RATE_LIMITED),
        (399, LLMErrorKind.ERROR_BODY),
        (600, LLMErrorKind.ERROR_BODY),
        ("429", LLMErrorKind.ERROR_BODY),
    ):
        error = failure(parse_reply, AT, {"error": {"message": "slow", "code": code}, "usage": USED})
        assert error.kind is kind and error.billed and error.reported_usage == ReportedUsage(9, 4)
        assert "slow" in error.detail
    assert failure(parse_reply, AT, {"error": "down"}).kind is LLMErrorKind.ERROR_BODY


def test_a_stream_piece_by_piece() -> None:
    told: list[str] = []
    stream = StreamedReply(AT, told.append)
    for chunk in (
        {"choices": [{"delta": {"reasoning": "想"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
        "x",
        {"choices": []},
        {"choices": [3]},
        {"choices": [{"delta": {"content": "愿你"}}]},
        {"choices": [{"delta": {"content": ""}}]},
    ):
        stream.add_event(chunk)
    assert stream.usage_so_far == ReportedUsage(9, 1, written=3, complete=False)
    broken = failure(stream.whole_reply)
    assert broken.kind is LLMErrorKind.CUT_OFF and broken.reported_usage == stream.usage_so_far
    stream.add_event({"choices": [{"delta": {"content": "平安"}, "finish_reason": "stop"}]})
    stream.add_event({"usage": USED, "choices": [{"delta": {}}]})
    assert stream.whole_reply() == ServerReply("愿你平安", "stop", ReportedUsage(9, 4, written=5))
    assert told == ["愿你", "平安"]
