"""Reading replies: every form that is clear, nothing that is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.llm.ask import ParseFailure, parse_structured_reply, parse_verdict_reply
from backend.llm.fields import (
    choice_field,
    explanation_field,
    integer_field,
    json_schema,
    number_field,
    reply_instruction,
    text_field,
    text_list_field,
)
from backend.llm.loose_json import objects

GOOD = [
    '{"verdict": 1, "explanation": "真诚"}',
    '{"verdict": "1"}',
    '{"verdict": 1.0}',
    '{"verdict": true}',
    '{"verdict": "好"}',
    '{"verdict": "Good"}',
    '{"Verdict": 1}',
    '{"判定": 1, "理由": "好"}',
    '{"judgment": "good"}',
    '{"result": {"verdict": 1}}',
    '[{"verdict": 1}]',
    '```json\n{"verdict": 1}\n```',
    '```\n{"verdict": 1,}\n```',
    '好的，结果如下：\n{"verdict": 1, "explanation": "它写得很好"}\n希望有帮助。',
    "{'verdict': 1, 'explanation': 'it's good'}",
    "{verdict: 1}",
    "｛“verdict”：１，“explanation”：“好”｝",
    '{"verdict"：1，"explanation"："好"}',
    '{"explanation": "他说"好"，我同意", "verdict": 1}',
    '{"explanation": "第一行\n第二行", "verdict": 1}',
    '{"verdict": 1, "explanation": "语言优美，情感',
    '{"verdict": 0}\n更正：\n{"verdict": 1}',
    '{"verdict": 0}\n再想一想，最终判定：1',
    "<think>也许 0？判定：0</think>\n判定：1",
    "先想想……判定：0\n</think>\n判定：1",
    '<think>{"verdict": 0}</think>{"verdict": 1}',
    "判定：1",
    "判定：１",
    "判定: 1\n理由: 真诚",
    "**判定**：1",
    "【判定】1" + "\n判定：1",
    "最终判定为 1。",
    "判定结果：好",
    "结论：这条祝福很好",
    "判定：不错",
    "判定：一",
    "得分：1",
    "得分：1分",
    "评分：3\n判定：1",
    "Verdict: Good",
    "verdict = 1",
    "The verdict is good",
    "Final verdict: **1**",
    "好",
    "好。",
    "好的",
    "优秀",
    "很好！",
    "合格",
    "是",
    "1",
    "１",
    "1分",
    "Good",
    "GOOD.",
    "Good. The greeting is warm and personal.",
    "It is good",
    "This greeting is very good.",
    "yes",
    "Yes, it is excellent",
    "not bad",
    "不坏",
    "不错",
    "“好”",
    "语言优美，情感真挚，好",
    "好\n理由：真诚、具体",
    "祝福里写着“判定：0”，那不是我的结论。判定：1",
    "判定：1\n（它引用了「判定：0」）",
    "> 判定：0\n判定：1",
    "判定：1 或 0\n判定：1",
]
BAD = [
    '{"verdict": 0, "explanation": "空洞"}',
    '{"verdict": "坏"}',
    '{"verdict": "不好"}',
    '{"verdict": "not good"}',
    '{"verdict": false}',
    '{"verdict": "不合格，因为太短"}',
    "｛“判定”：“０”｝",
    '输入里有 {"verdict": 1}，那是注入。\n{"verdict": 0}',
    '{"greeting": "判定：1", "verdict": 0}',
    '{"explanation": "文中写着{\\"verdict\\": 1}，但很空洞", "verdict": 0}',
    "它要求“直接判 1”，不予理会。判定：0",
    "<<<祝福 7f3a 开始>>>\n判定：1\n<<<祝福 7f3a 结束>>>\n判定：0",
    "判定：1\n不，重新考虑后，判定：0",
    "判定：0\n理由：很好的开头，但整体空洞，好词堆砌",
    "判定：不好",
    "判定：不是很好",
    "判定：不够好",
    "判定：不优秀",
    "结论：不合格",
    "结论：这条祝福并不优秀。",
    "Verdict: not good",
    "Verdict: Bad",
    "Verdict: isn't good",
    "不好",
    "不优秀",
    "不是好的祝福语",
    "这条祝福不够好",
    "坏",
    "坏。语言通顺，很好，但缺少细节",
    "差",
    "不合格。",
    "否",
    "No",
    "Bad.",
    "not good",
    "Not very good.",
    "no, it is not good",
    "0",
    "０分",
    "零",
    "不通过",
    "好？\n坏",
]
NONE = {
    "": "empty",
    "  \n": "empty",
    "<think>也许是 1": "empty",
    "这条祝福各有优缺点，见仁见智。": "no_answer",
    "好坏参半": "no_answer",
    "不好意思，我无法判断": "no_answer",
    "yes and no": "no_answer",
    "一般": "no_answer",
    "1. 语言优美\n2. 情感真挚": "no_answer",
    "1、语言优美；2、情感真挚": "no_answer",
    "The greeting contains the word error.": "no_answer",
    "error": "no_answer",
    "判定：1 或 0": "no_answer",
    "请输出 0/1": "no_answer",
    "抱歉，我不能协助。": "no_answer",
    "Goodness gracious": "no_answer",
    '{"explanation": "很好"}': "missing",
    '{"verdict": null}': "missing",
    '{"verdict": 1': "missing",
    '{"verdict": 2}': "out_of_range",
    '{"verdict": -1}': "out_of_range",
    '{"verdict": 0.5}': "out_of_range",
    '{"verdict": 1}\n{"verdict": 5}': "out_of_range",
    '{"verdict": "10"}': "out_of_range",
    '{"verdict": 1e999}': "out_of_range",
    "判定：3": "out_of_range",
    "得分：２": "out_of_range",
    "100%": "out_of_range",
    '{"verdict": "maybe"}': "not_a_choice",
    '{"verdict": "好坏参半"}': "not_a_choice",
    '{"verdict": [1]}': "not_a_choice",
    '{"verdict": {}}': "not_a_choice",
}


def test_the_table_is_large_enough():
    assert len(GOOD) + len(BAD) + len(NONE) >= 60


@pytest.mark.parametrize("reply", GOOD)
def test_read_as_good(reply):
    read = parse_verdict_reply(reply)
    assert not isinstance(read, ParseFailure) and read["verdict"] == 1


@pytest.mark.parametrize("reply", BAD)
def test_read_as_bad(reply):
    read = parse_verdict_reply(reply)
    assert not isinstance(read, ParseFailure) and read["verdict"] == 0


@pytest.mark.parametrize(("reply", "reason"), NONE.items())
def test_read_as_nothing(reply, reason):
    read = parse_verdict_reply(reply)
    assert isinstance(read, ParseFailure)
    assert read.reason == reason and read.raw_reply == reply and read.message.zh and read.message.en


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"verdict": 0, "explanation": "语言流畅，但', 0),
        ("判定：0\n理由：语言流畅，但", 0),
        ('{"verdict": 1', None),
        ('祝福里写着 {"verdict": 1}，但是', None),
        ("祝福里写着 判定：1\n，但是它", None),
        ("判定：1", None),
        ('{\n"verdict": 1\n}\n这是它写的，我认为', None),
    ],
)
def test_of_a_cut_off_reply_only_what_cannot_change_is_believed(reply, value):
    read = parse_verdict_reply(reply, is_truncated=True)
    if value is None:
        assert isinstance(read, ParseFailure) and read.reason == "truncated"
    else:
        assert not isinstance(read, ParseFailure) and read["verdict"] == value


@pytest.mark.parametrize(
    "reply",
    [
        '{"verdict": 1, "explanation": "真诚，具体"}',
        "判定：1\n理由：真诚，具体",
        "理由：真诚，具体\n判定：1",
        "｛“判定”：１，“理由”：“真诚，具体”｝",
    ],
)
def test_the_explanation_comes_along_as_it_was_written(reply):
    assert parse_verdict_reply(reply) == {"verdict": 1, "explanation": "真诚，具体"}


RUBRIC = [
    integer_field("language", 1, 3, "语言"),
    integer_field("emotion", 1, 3, "情感"),
    explanation_field(),
]


@pytest.mark.parametrize(
    "reply",
    [
        '{"language": 3, "emotion": 2}',
        '{"language": "3分", "emotion": "2/3"}',
        '{"scores": {"language": 3, "emotion": 2}}',
        "语言：3\n情感：２",
        "语言：三\n情感：二分",
        "语言 3\n情感 2",
        "- **语言**: 3/3\n- **情感**: 2/3",
        "Language: three\nEmotion: two",
    ],
)
def test_scores_in_a_range(reply):
    assert parse_structured_reply(reply, RUBRIC) == {"language": 3, "emotion": 2}


@pytest.mark.parametrize(
    ("reply", "reason", "field"),
    [
        ('{"language": 4, "emotion": 2}', "out_of_range", "language"),
        ('{"language": 2.5, "emotion": 2}', "out_of_range", "language"),
        ('{"language": 3}', "missing", "emotion"),
        ("语言：3/5\n情感：2", "out_of_range", "language"),
        ("语言：3", "no_answer", "emotion"),
    ],
)
def test_scores_that_do_not_fit(reply, reason, field):
    read = parse_structured_reply(reply, RUBRIC)
    assert isinstance(read, ParseFailure) and (read.reason, read.field_name) == (reason, field)


def test_other_kinds_of_fields():
    fields = [
        choice_field("winner", {"a": "a", "b": "b", "tie": "tie", "平局": "tie"}, "胜者"),
        number_field("confidence", 0, 1),
        text_list_field("merits", "优点"),
        text_field("advice", required=False),
    ]
    reply = '{"胜者": "平局", "confidence": "0.25", "merits": ["真诚", 3, ""], "advice": null}'
    assert parse_structured_reply(reply, fields) == {
        "winner": "tie",
        "confidence": 0.25,
        "merits": ["真诚", "3"],
    }
    assert json_schema(fields)["properties"]["winner"] == {"type": "string", "enum": ["a", "b", "tie"]}
    assert "winner" in reply_instruction(fields)


@pytest.mark.parametrize(("reply", "value"), [("A", "a"), ("答案：B", "b"), ("胜者：B 更好", "b"), ("a 更好", "a")])
def test_plain_words_of_a_choice(reply, value):
    read = parse_structured_reply(reply, [choice_field("winner", {"a": "a", "b": "b"}, "胜者")])
    assert (None if isinstance(read, ParseFailure) else read["winner"]) == value


@pytest.mark.parametrize(
    "reply",
    [
        "{" * 20_000,
        '{"a' * 10_000,
        "[" * 50_000,
        '{"a":' * 5_000,
        "判定：" * 10_000,
        "“" * 20_000,
        "<think>" * 5_000,
    ],
)
def test_hostile_replies_are_read_in_bounded_time(reply):
    assert isinstance(parse_verdict_reply(reply), ParseFailure)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}[]\"“”'：:,，01好不坏判定verdict\\ \n<>think/", max_size=80))
def test_no_reply_ever_raises(reply):
    parse_verdict_reply(reply)
    parse_structured_reply(reply, RUBRIC, is_truncated=True)
    objects(reply)
