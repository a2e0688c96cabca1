"""A reply that copies the format, or the question, is no answer: for every judge and every agent."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest

from backend.core.enums import FLAW_DESCRIPTIONS
from backend.judges import criteria, pairwise, panel
from backend.judges.asking import JudgeModel, sent_text
from backend.judges.base import PairSample, Sample
from backend.judges.criteria import numbered_rules, principle_judge, rubric_judge, starting_principles
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import PanelJudge
from backend.llm.ask import ParseFailure, parse_structured_reply, parse_verdict_reply
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
)
from backend.llm.messages import ChatMessage
from backend.llm.prompts import UntrustedText, compose_message
from backend.llm.quotations import repeats_question, without_format
from backend.principles.algorithm.agents import CONFIRMER_FIELDS, OPTIMISER_FIELDS, REFLECTOR_FIELDS
from backend.principles.algorithm.planting import GENERATOR_FIELDS
from backend.principles.algorithm.rules import prompt_file

MODEL = JudgeModel("http://127.0.0.1:9/v1", "m", key=b"k" * 32)
SAMPLE = Sample("给奶奶的八十大寿祝福", "奶奶，愿您的笑声比院里的桂花还香。")
FORMS: dict[str, tuple[FieldSpec, ...]] = {
    "principle": criteria.PRINCIPLE_FIELDS,
    "rubric": criteria.RUBRIC_FIELDS,
    "pairwise": pairwise.REPLY_FIELDS,
    "merits": panel.MERIT_FIELDS,
    "faults": panel.FAULT_FIELDS,
    "first": panel.VERDICT_FIELDS,
    "final": panel.FINAL_FIELDS,
    "confirmer": CONFIRMER_FIELDS,
    "reflector": REFLECTOR_FIELDS,
    "optimiser": OPTIMISER_FIELDS,
    "rewriter": OPTIMISER_FIELDS[:1],
    "generator": GENERATOR_FIELDS,
    "other": (
        explanation_field(),
        number_field("confidence", 0, 1, hint="有几成把握"),
        text_list_field("merits"),
        text_field("advice"),
    ),
}
HOLLOW = [
    "……", "…", "...", "。。。", "。", "-", "——", "___", "***", "～", "?", "？？？", "[]", "<>", "〈〉",
    "“”", "○○", "xxx", "XX", "某某", "文字", "〈文字〉", "<文字>", "[文字]", "{文字}", "文本", "字符串",
    "理由", "理由……", "（理由）", "你的理由", "简短的理由", "请填写理由", "此处填写理由", "这里写理由",
    "解释", "说明", "评语", "原因", "string", "String", "text", "explanation", "<explanation>",
    "{{explanation}}", "Your explanation here", "your reason", "a brief reason", "略", "占位符",
    "placeholder", "示例", "文字；", "文字文字文字", "TODO",
]  # fmt: skip
HONEST = [
    "真诚", "空洞", "好", "不好", "优秀", "无", "x", "看整体", "👍", "套话多", "很好的祝福",
    "理由充分，画面具体", "文字优美", "引用了桂花", "内容具体", "语言：流畅", "缺陷确实存在", "难分高下",
    "warm", "It is warm and personal.", "维持初判", "1", "理由：桂花一句贴着奶奶写", "语言流畅……",
    "说明里写的“桂花”很具体", "文字……像一封信",
]  # fmt: skip


def refused(reply: str, fields: Sequence[FieldSpec]) -> str:
    """Why the reply is refused; "" where it is read."""
    read = parse_structured_reply(reply, fields)
    return read.reason if isinstance(read, ParseFailure) else ""


def own(field: FieldSpec) -> Any:
    """An honest value of a field."""
    return {
        FieldKind.CHOICE: field.choice_values[0] if field.choice_values else None,
        FieldKind.INT: int(field.maximum),
        FieldKind.FLOAT: field.maximum,
        FieldKind.TEXT: "桂花一句贴着奶奶写，读来亲切",
        FieldKind.TEXTS: ["桂花一句贴着奶奶写", "读来亲切"],
    }[field.kind]


def told(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def copies(fields: Sequence[FieldSpec]) -> Iterator[str]:
    """The format given back: with other quotes and spaces, in fences, after the fields' description."""
    form = reply_outline(fields)
    marks = [
        "〈{}〉",
        '"{}"',
        "“{}”",
        "'{}'",
        "<{}>",
        "《{}》",
        "「{}」",
        '"〈{}〉"',
        '"<{}>"',
        '"{{{}}}"',
        "{}",
    ]
    written = [re.sub(r"〈(.+?)〉", lambda found, mark=mark: mark.format(found[1]), form) for mark in marks]
    shapes = ["{}", "```json\n{}\n```", "好的，结果如下：\n{}\n希望有帮助。", "格式：{}"]
    shapes.append(f"{reply_instruction(fields)}\n{{}}")
    for one, shape in product(written, shapes):
        yield shape.replace("{}", one)
        yield shape.replace("{}", one.replace(": ", ":").replace(", ", ","))
        yield shape.replace("{}", one.replace(", ", ",\n  ").replace("{", "{\n  ").replace("}", "\n}"))
        yield shape.replace("{}", one.translate(str.maketrans('{}:,"', "｛｝：，“")))
    yield reply_instruction(fields)
    yield from (f"{field.name}：{field_meaning(field)}" for field in fields)
    yield "\n".join(f"- {field.name}: {field_meaning(field)}" for field in fields)
    yield told({field.name: field_meaning(field) for field in fields})
    yield told({field.name: field.hint or field_meaning(field) for field in fields})
    yield told({field.name: field.name for field in fields})


def example(fields: Sequence[FieldSpec], dots: str) -> str:
    """An example with valid values, as many a prompt shows one and as models have therefore seen it."""
    values = {
        FieldKind.CHOICE: lambda field: field.choice_values[-1],
        FieldKind.INT: lambda field: int(field.minimum),
        FieldKind.FLOAT: lambda field: field.minimum,
        FieldKind.TEXT: lambda _: dots,
        FieldKind.TEXTS: lambda _: [dots],
    }
    return told({field.name: values[field.kind](field) for field in fields})


@pytest.mark.parametrize("name", FORMS)
def test_no_copy_of_the_format_is_an_answer(name: str):
    fields = FORMS[name]
    for reply in copies(fields):
        assert refused(reply, fields), reply
        assert refused(f"<think>怎么填呢</think>{reply}", fields), reply
        assert isinstance(parse_structured_reply(reply, fields, is_truncated=True), ParseFailure), reply
    assert refused(reply_outline(fields), fields) == refused(reply_instruction(fields), fields) == "copied"


@pytest.mark.parametrize("name", FORMS)
def test_the_old_example_is_no_answer_either(name: str):
    for dots in ("……", "…", "...", "文字", "string"):
        assert refused(example(FORMS[name], dots), FORMS[name]) == "copied"


@pytest.mark.parametrize("name", FORMS)
def test_an_answer_in_the_model_s_own_words_is_read(name: str):
    fields = FORMS[name]
    values = {field.name: own(field) for field in fields}
    for shape in (
        "{}",
        "```json\n{}\n```",
        f"{reply_outline(fields)}\n{{}}",
        f"{reply_instruction(fields)}\n{{}}",
    ):
        assert parse_structured_reply(shape.replace("{}", told(values)), fields) == values


@pytest.mark.parametrize("name", [name for name in FORMS if len(FORMS[name]) > 1])
def test_one_field_filled_and_another_copied_is_a_copy(name: str):
    fields = FORMS[name]
    form = dict(re.findall(r'"(\w+)": (\[?〈.+?〉\]?)', reply_outline(fields)))
    for field in fields:
        parts = {one.name: json.dumps(own(one), ensure_ascii=False) for one in fields}
        for placed in (form[field.name], re.sub(r"〈(.+?)〉", r'"\1"', form[field.name])):
            reply = "{" + ", ".join(f'"{key}": {value}' for key, value in (parts | {field.name: placed}).items()) + "}"
            assert refused(reply, fields), reply
        for said in (field_meaning(field), field.hint):
            copied = {one.name: own(one) for one in fields} | {field.name: said}
            if len(said) > 3 and field.name != "evidence":
                assert refused(told(copied), fields), copied


@pytest.mark.parametrize("hollow", HOLLOW)
def test_a_hollow_explanation_spoils_the_verdict(hollow: str):
    replies = [
        told({"explanation": hollow, "verdict": 1}),
        told({"verdict": 0, "理由": hollow}),
        f"判定：1\n理由：{hollow}",
    ]
    assert [refused(reply, criteria.PRINCIPLE_FIELDS) for reply in replies[:2]] == ["copied", "copied"]
    assert refused(replies[2], criteria.PRINCIPLE_FIELDS) == "copied" or not parse_verdict_reply(replies[2]).get(
        "explanation"
    )
    scores = dict.fromkeys(("language", "creativity", "emotion", "culture", "richness"), 2)
    assert refused(told({"explanation": hollow, **scores}), criteria.RUBRIC_FIELDS) == "copied"
    assert refused(told({"explanation": hollow, "better": "平"}), pairwise.REPLY_FIELDS) == "copied"
    assert refused(told({"advice": hollow}), REFLECTOR_FIELDS) == "copied"
    assert refused(told({"rules": [hollow, "看称呼是否得体。"], "evidence": ["1", "0"]}), OPTIMISER_FIELDS) == (
        "" if set(hollow) <= set("-—") else "copied"
    )


@pytest.mark.parametrize("honest", HONEST)
def test_a_short_explanation_of_its_own_is_kept(honest: str):
    assert parse_verdict_reply(told({"explanation": honest, "verdict": 1})) == {
        "verdict": 1,
        "explanation": honest,
    }
    for fields in (panel.VERDICT_FIELDS, panel.FINAL_FIELDS, CONFIRMER_FIELDS):
        assert not refused(told({"explanation": honest, "verdict": 0}), fields)
    assert not refused(told({"explanation": honest, "better": "甲"}), pairwise.REPLY_FIELDS)


@pytest.mark.parametrize(
    "reply", ['{"verdict": 1}', "判定：1", "好", '{"verdict": 1, "explanation": null}', "判定：1\n理由："]
)
def test_a_verdict_without_an_explanation_stays_one(reply: str):
    assert parse_verdict_reply(reply) == {"verdict": 1}


def test_lists_may_be_empty_and_may_say_that_there_is_nothing():
    assert parse_structured_reply('{"merits": []}', panel.MERIT_FIELDS) == {"merits": []}
    assert parse_structured_reply('{"merits": ["无"]}', panel.MERIT_FIELDS) == {"merits": ["无"]}
    told_off = {"rules": ["看称呼是否得体。"], "evidence": ["-"]}
    assert parse_structured_reply(told(told_off), OPTIMISER_FIELDS) == told_off
    assert refused('{"merits": ["…", "…"]}', panel.MERIT_FIELDS) == "copied"
    assert refused('{"merits": ["亲切", "……"]}', panel.MERIT_FIELDS) == "copied"


def test_a_planted_flaw_may_stand_in_a_mark_alone():
    written = {"greeting": "奶奶，生日快乐……", "place": "……", "explanation": "吞吞吐吐，不像祝寿"}
    assert parse_structured_reply(told(written), GENERATOR_FIELDS) == written


def test_a_value_that_stands_only_in_the_description_is_a_copy():
    hint = "1 表示优秀，0 表示不优秀"
    for reply in (
        told({"explanation": "桂花一句很好", "verdict": hint}),
        f"verdict：{hint}\nexplanation：桂花一句很好",
        f"判定：{hint}",
    ):
        assert refused(reply, criteria.PRINCIPLE_FIELDS), reply
    assert parse_verdict_reply(f"判定：1（{hint}）") == {"verdict": 1}
    assert parse_verdict_reply(f"（{hint}）\n判定：0")["verdict"] == 0  # type: ignore[index]
    tone = choice_field("tone", {"庄重": "庄重", "轻松": "轻松"}, hint="庄重或轻松，二者取一")
    assert refused(told({"tone": tone.hint}), (tone,)) and not refused('{"tone": "轻松"}', (tone,))
    assert refused('{"points": "1 到 3 的整数"}', (integer_field("points", 1, 3),))


def test_what_is_taken_out_leaves_the_rest_as_it_was():
    reply = f"“桂花”好！\n{reply_outline(criteria.PRINCIPLE_FIELDS)} 完"
    assert without_format(reply, criteria.PRINCIPLE_FIELDS) == '“桂花”好！\n{"explanation":〈〉, "verdict":〈〉} 完'
    assert without_format("桂花一句很好。", criteria.PRINCIPLE_FIELDS) == "桂花一句很好。"


def game_prompts() -> Iterator[tuple[str, tuple[FieldSpec, ...]]]:
    """What every agent of the game is sent."""
    values = {
        "principles": numbered_rules(starting_principles()),
        "prompt": UntrustedText(SAMPLE.prompt, "请求"),
        "greeting": UntrustedText(SAMPLE.greeting, "祝福"),
        "claim": UntrustedText("片段：桂花\n说明：其实套话", "声称"),
        "flaw": "",
        "said": UntrustedText("判定：1\n理由：亲切", "判断"),
        "truth": "不优秀（0）",
        "advice": UntrustedText("1. 加一条：看称呼。", "建议"),
        "rejected": UntrustedText("1. 一律判好。", "未通过"),
        "examples": UntrustedText("1. 请求：给奶奶\n祝福语：桂花\n定论：优秀", "例子"),
        "note": "（无）",
        "most": "10",
    }
    forms = {
        "confirmer": CONFIRMER_FIELDS, "reflector": REFLECTOR_FIELDS,
        "optimise_d": OPTIMISER_FIELDS, "optimise_g": OPTIMISER_FIELDS,
        "rewrite": OPTIMISER_FIELDS[:1], "generator": GENERATOR_FIELDS,
    }  # fmt: skip
    for (name, fields), flaw in product(forms.items(), FLAW_DESCRIPTIONS.values()):
        template = prompt_file(name)
        given = {key: value for key, value in {**values, "flaw": flaw}.items() if key in template.placeholders}
        yield sent_text(compose_message(template, MODEL.key, **given), fields), fields


def own_prompts() -> list[tuple[str, tuple[FieldSpec, ...]]]:
    """What every judge and every agent is sent, with the fields it is asked for."""
    pair = PairSample(SAMPLE.prompt, SAMPLE.greeting, "奶奶，祝您万事如意。")
    roles = (panel.MERIT_FIELDS, panel.FAULT_FIELDS, panel.VERDICT_FIELDS, panel.FINAL_FIELDS)
    return [
        (principle_judge(MODEL, starting_principles()).preview(SAMPLE)[0], criteria.PRINCIPLE_FIELDS),
        (rubric_judge(MODEL).preview(SAMPLE)[0], criteria.RUBRIC_FIELDS),
        *((asked, pairwise.REPLY_FIELDS) for asked in PairwiseJudge(MODEL).preview(pair)),
        *zip(PanelJudge(MODEL).preview(SAMPLE), roles, strict=True),
        *game_prompts(),
    ]


def test_no_prompt_of_ours_answers_itself():
    prompts = own_prompts()
    assert len({reply_outline(fields) for _, fields in prompts}) >= 9
    for asked, fields in prompts:
        assert refused(asked, fields) == "copied", asked
        assert isinstance(parse_structured_reply(asked, fields, is_truncated=True), ParseFailure), asked
        lines = asked.splitlines()
        for start in range(len(lines)):
            assert refused("\n".join(lines[start:]), fields), lines[start]


def test_a_part_of_the_question_is_no_answer():
    for asked, fields in own_prompts():
        lines = [line for line in asked.splitlines() if len(re.sub(r"[\W_]", "", line)) >= 12]
        assert all(repeats_question(line, asked) and repeats_question(f"**{line}**\n", asked) for line in lines)
        assert not repeats_question(told({field.name: own(field) for field in fields}), asked)
    assert not repeats_question("祝福语甲", own_prompts()[2][0]) and not repeats_question("", "")


def test_what_asks_again_answers_itself_as_little():
    for fields in FORMS.values():
        failure = parse_structured_reply(reply_outline(fields), fields)
        assert isinstance(failure, ParseFailure) and failure.field_name in {field.name for field in fields}
        again = ChatMessage(
            "user", f"上一条回复无法使用：{failure.message.zh}请重新作答。\n{reply_instruction(fields)}"
        )
        assert refused(again.content, fields) == "copied"
