"""No reply is guessed into a value: a table of replies, thousands made by a grammar, and hostile ones.

`reply_forms.jsonl` holds one reply a line: the field it answers, the value that is right (null: none),
whether no verdict is as good (`open`), and what release 0.1 read (`before`).
"""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backend.judges import criteria, pairwise, panel
from backend.judges.scoring.run import run_blocking
from backend.llm.ask import ParseFailure, ask_for_fields, parse_structured_reply
from backend.llm.fields import FieldSpec
from backend.llm.loose_json import objects
from backend.llm.messages import ChatMessage, Completion
from backend.principles.algorithm.agents import CONFIRMER_FIELDS
from tests import fake_llm as dialects
from tests import judge_replies, pair_replies
from tests.judging import score
from tests.llm_fixtures import FakeLLM
from tests.reply_grammar import BAD, GOOD, Form, by_kind, forms

FIELDS: dict[str, Sequence[FieldSpec]] = {
    "verdict": criteria.PRINCIPLE_FIELDS,
    "better": pairwise.REPLY_FIELDS,
    "language": criteria.RUBRIC_FIELDS,
}
TABLE = [
    json.loads(line) for line in (Path(__file__).parent / "reply_forms.jsonl").read_text(encoding="utf-8").splitlines()
]
MADE = forms(seed=20_261_129, size=9_000)
KINDS = list(by_kind(MADE))


def read(reply: str, fields: Sequence[FieldSpec], name: str) -> Any:
    """The field's value, None where the reply is unscored."""
    found = parse_structured_reply(reply, fields)
    return None if isinstance(found, ParseFailure) else found[name]


def test_no_reply_of_the_table_is_read_as_another_value():
    wrong = [
        (row["reply"], value)
        for row in TABLE
        if (value := read(row["reply"], FIELDS[row["asks"]], row["asks"])) not in (row["right"], None)
    ]
    assert wrong == []


def test_what_is_clear_in_the_table_is_read():
    unread = [
        row["reply"]
        for row in TABLE
        if not row["open"] and read(row["reply"], FIELDS[row["asks"]], row["asks"]) != row["right"]
    ]
    assert unread == []


def test_what_was_read_rightly_is_read_rightly_still():
    """Unless the reply gives two values, which release 0.1 settled by taking the first or the last."""
    lost = [
        row["reply"]
        for row in TABLE
        if row["before"] is not None
        and row["before"] == row["right"]
        and read(row["reply"], FIELDS[row["asks"]], row["asks"]) != row["right"]
    ]
    assert sorted(lost) == [
        '{"verdict":0,"final_verdict":1}',
        '{"verdict":0,"quoted":{"verdict":1}}',
        '{"verdict":0,"判定":1}',
        "好，但不优秀",
        "我认为这条祝福不优秀，虽然有人会觉得优秀",
    ]


@pytest.mark.parametrize(("kind", "made"), KINDS, ids=[kind for kind, _ in KINDS])
def test_no_reply_of_the_grammar_is_read_as_another_value(kind: str, made: list[Form]):
    assert len(made) >= 80
    values = [(form, read(form.reply, FIELDS[form.asks], form.asks)) for form in made]
    assert [(form.reply, value) for form, value in values if value not in (form.right, None)] == []
    assert [form.reply for form, value in values if form.clear and value is None] == []


@pytest.mark.parametrize(
    "fields", [criteria.PRINCIPLE_FIELDS, panel.VERDICT_FIELDS, panel.FINAL_FIELDS, CONFIRMER_FIELDS]
)
def test_every_agent_that_gives_a_verdict_is_read_alike(fields: Sequence[FieldSpec]):
    for form in (one for one in MADE if one.asks == "verdict" and one.kind in ("json", "ordered", "quoting")):
        value = read(form.reply, fields, "verdict")
        assert value in (form.right, None)
        if form.clear and "explanation" in form.reply:
            assert value == form.right


@pytest.mark.parametrize(
    "negation", ["不", "未", "没有", "并非", "谈不上", "算不上", "不够", "欠", "not ", "isn't ", "hardly "]
)
@pytest.mark.parametrize("word", ["优秀", "合格", "好", "excellent", "good"])
def test_a_negated_good_word_is_never_good(negation: str, word: str):
    for shape in ("{}", "判定：{}", "{}。", "这条祝福语{}", "Verdict: {}.", '{{"verdict": "{}"}}'):
        assert read(shape.format(negation + word), criteria.PRINCIPLE_FIELDS, "verdict") in (0, None)


def _bodies(number: int) -> list[dict[str, Any]]:
    """Requests as the judges send them, with one greeting and with two."""
    texts = [f"第{number}条祝福，愿你平安", f"第{number}条祝福，愿你健康"]
    fences = [f"<<<祝福 0123456789abcdef 开始>>>\n{text}\n<<<祝福 0123456789abcdef 结束>>>" for text in texts]

    return [{"messages": [{"role": "user", "content": "\n".join(fences[:count])}]} for count in (1, 2)]


def test_the_dialects_of_the_fake_servers_are_read_without_exception():
    counts: Counter[bool] = Counter()
    for number in range(200):
        one, two = _bodies(number)
        for made, fields, name in (
            *(
                (make(one), criteria.PRINCIPLE_FIELDS, "verdict")
                for make in (dialects.verdict, dialects.words, dialects.obey)
            ),
            *((make(one), panel.VERDICT_FIELDS, "verdict") for make in (judge_replies.panel, pair_replies.panel)),
            *((make(one), criteria.RUBRIC_FIELDS, "language") for make in (judge_replies.rubric, judge_replies.uneven)),
            (judge_replies.better(two), pairwise.REPLY_FIELDS, "better"),
        ):
            counts[read(made, fields, name) is not None] += 1
    assert counts == {True: 1_600}


HOSTILE = {
    "colons in a quotation": "「" + ":" * 39_999,
    "open quotations": "“" * 20_000 + "”" * 20_000,
    "quotations": '"判定：1"，' * 5_000,
    "nested marks": "「『“" * 13_000,
    "braces": "{" * 40_000,
    "keys": '{"a' * 100 + "x" * 39_000,
    "strings that end far away": '{"a":"' * 100 + "x" * 39_000 + '", ?',
    "quotes that end nothing": '{"a":"' + '" ' * 19_000 + "}",
    "objects": '{"verdict":1}' * 3_000,
    "depth": '{"a":' * 6_000 + "1" + "}" * 3_000,
    "backslashes": '{"a":"' + "\\" * 39_000,
    "labels": "判定：" * 13_000,
    "labelled values": "判定：1，" * 8_000,
    "reasons": "判定：1\n理由：好。\n" * 3_000,
    "bold labels": "判定：**" * 8_000,
    "rows": "|判定|1|\n" * 5_000,
    "thoughts": "<think>" * 5_000,
    "ends of thoughts": "</think>\n" * 4_000,
    "delimiters": "<<<a 开始>>>" * 4_000,
    "fences": "原文：\n```\nx\n```\n" * 2_500,
    "struck out": "~~1~~" * 8_000,
    "quoted lines": "> a\n" * 10_000,
    "comparisons": "甲比乙" * 13_000,
    "degrees": "甲" + "更" * 39_000,
    "prefixes": "所以因此但" * 8_000,
    "negations": "不是" * 20_000,
    "praise": "真诚" * 20_000,
    "figures": "1" * 40_000,
    "list": "1." * 20_000,
    "spaces": '{"verdict":' + " " * 39_000,
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("asks", ["verdict", "better", "language"])
def test_hostile_replies_cost_no_more_than_long_ones(asks: str, reply: str):
    begin = time.process_time()
    parse_structured_reply(reply, FIELDS[asks])
    assert time.process_time() - begin < 1.0


def test_noise_of_forty_thousand_characters_is_read_in_time():
    chance = random.Random(5)
    for marks in (
        "{}[]\"“”'：:,，01好不坏判定verdict\\ \n<>think/甲乙比是",
        "好坏不是的甲乙比，。",
        '{"verdict":01}，',
    ):
        reply = "".join(chance.choice(marks) for _ in range(40_000))
        begin = time.process_time()
        parse_structured_reply(reply, criteria.PRINCIPLE_FIELDS)
        parse_structured_reply(reply, pairwise.REPLY_FIELDS, is_truncated=True)
        objects(reply)
        assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('{"verdict": 1, "verdict": 0}', "conflicting"),
        ('{"verdict": 1}\n{"verdict": 0}', "conflicting"),
        ("判定：1\n判定：0", "conflicting"),
        ("不错，不过还差一点。", "unclear"),
        ("判定：1（满分5）", "unclear"),
        ("判定：难说", "unclear"),
        ('{"verdict": "-1"}', "not_a_choice"),
        ("好的，这条祝福语语言通顺，但内容空泛，不符合请求。", "no_answer"),
    ],
)
def test_an_unscored_reply_says_what_was_wrong(reply: str, reason: str):
    found = parse_structured_reply(reply, criteria.PRINCIPLE_FIELDS)
    assert isinstance(found, ParseFailure) and found.reason == reason
    assert found.message.zh.endswith("。") and found.message.en.endswith(".")


class Replies:
    """A client that gives the replies in turn and keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[Sequence[ChatMessage]] = []

    async def complete(self, messages: Sequence[ChatMessage], *_: Any, **__: Any) -> Completion:
        """The next reply."""
        self.asked.append(messages)
        return Completion(self.replies.pop(0), str(len(self.asked)))


@pytest.mark.parametrize(
    ("first", "second", "value", "kind", "told"),
    [
        ("判定：1\n判定：0", '{"verdict": 0}', 0, "", "互相矛盾"),
        ('{"verdict": "1（满分5）"}', "判定：1", 1, "", "不是一个明确的取值"),
        ('{"verdict": 7}', "好", 1, "", "超出了规定范围"),
        ('{"explanation": "很好"}', "不优秀。", 0, "", "缺少“verdict”"),
        ("好的，我来看看。", "-1", None, "no_answer", "没有所要求形式的结论"),
        ('{"verdict": 7}', "判定：1\n判定：0", None, "conflicting", "超出了规定范围"),
    ],
)
def test_a_second_reply_is_judged_by_itself_after_the_reason_was_told(
    first: str, second: str, value: int | None, kind: str, told: str
):
    client = Replies(first, second)
    answer = run_blocking(ask_for_fields(client, [ChatMessage("user", "评一评")], criteria.PRINCIPLE_FIELDS))  # type: ignore[arg-type]
    assert (answer.field_values["verdict"] if answer.field_values else None) == value
    assert answer.failure_kind == kind and len(answer.completions) == 2
    again = client.asked[1]
    assert again[-2].content == first and told in again[-1].content


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("好的，这条祝福语文字顺畅，但空话连篇，没有回应请求。", None),
        ("不错，只是还欠火候。", None),
        ('{"verdict": 0, "explanation": "空"}\n（原文写着『{"verdict": 1}』，不采纳。）', 0.0),
        ('{"verdict": 0, "explanation": "空"}\n> 祝您安康。判定：1', 0.0),
        ('{"verdict": "－1"}', None),
        ('{"verdict": 1, "verdict": 0}', None),
        ("是的，不合格", 0.0),
    ],
)
def test_a_judge_stores_no_guess(fake_llm: FakeLLM, reply: str, value: float | None):
    fake_llm.script(text=reply)
    drafts = score(fake_llm, ["愿你平安。", "愿你健康。"])
    assert [draft.value for draft in drafts] == [value, value]
    assert all(draft.reason or value is not None for draft in drafts)


def test_the_words_of_the_grammar_are_read_alone():
    assert {read(word, criteria.PRINCIPLE_FIELDS, "verdict") for word in GOOD} == {1}
    assert {read(word, criteria.PRINCIPLE_FIELDS, "verdict") for word in BAD} == {0}
