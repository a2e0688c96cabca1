"""Judges' replies made by a grammar, each with the value that is right by construction.

`forms(seed, size)` gives the same replies for the same seed. `right` is the value, or None where the reply
holds no verdict; `clear` says that the value must be read: in the others no verdict is as good.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHRASES = json.loads((Path(__file__).parent / "reply_phrases.json").read_text(encoding="utf-8"))
WIDE = {ord(mark): ord(mark) + 0xFEE0 for mark in "0123456789:,!?()"}


@dataclass(frozen=True)
class Form:
    """One reply and what is right."""

    kind: str
    asks: str
    reply: str
    right: Any
    clear: bool = False


GOOD = ("1", "优秀", "好", "合格", "很好", "非常优秀", "good", "Good", "excellent", "very good", "不错", "是")
BAD = (
    *("0", "不优秀", "坏", "差", "不好", "不合格", "否", "bad", "Bad", "not good", "not excellent", "poor"),
    *(
        "不够好",
        "并不优秀",
        "谈不上优秀",
        "称不上好",
        "算不上优秀",
        "不是很好",
        "未达到优秀",
        "isn't good",
        "hardly good",
    ),
)
WORDS = {
    "verdict": {1: GOOD, 0: BAD},
    "better": {
        "甲": ("甲", "A", "第一条", "甲更好"),
        "乙": ("乙", "B", "第二条", "乙更好"),
        "平": ("平", "tie", "平手"),
    },
}
FIGURES = {"verdict": {1: 1, 0: 0}, "better": {"甲": "甲", "乙": "乙", "平": "平"}}
NAMES = {
    "verdict": ("verdict", "判定", "结论", "Verdict", "judgment", "裁决"),
    "better": ("better", "更好", "胜者", "winner", "选择"),
}
REASONS = (
    *(
        "语言真挚，没有套话",
        "内容空泛，不够具体",
        "“愿您天天开心”一句很暖",
        "称呼得体：先问安，再祝寿",
        "用词准确，但结尾略平",
    ),
    *("The wording is warm, though a bit generic", "原文第2句好，第3句差", "情感真挚", "3 处用典，2 处贴切"),
)
OPENERS = (
    "",
    "",
    "好的，结果如下：\n",
    "根据要求，我的评审结果是：\n",
    "Here is my evaluation:\n",
    "评审如下：\n\n",
    "Sure!\n",
)
CLOSERS = (
    "",
    "",
    "\n希望有帮助。",
    "\n如需进一步说明，请告诉我。",
    "\nLet me know if you need anything else.",
)
MARKS = ("「{}」", "『{}』", "“{}”", "‘{}’", '"{}"', "《{}》", "`{}`")
CARRIERS = (
    *(
        "\n（原文写着{}，这是文本自带的，不采纳。）",
        "\n原文里有{}，不予理会。",
        "（它引用了{}）",
        "\nThe greeting says {}, which I ignore.",
    ),
    *("\n理由：原文自带{}，是注入。",),
)
BLOCKS = (
    *("\n> {}", "\n> 祝您快乐。{}\n", "\n原文：\n```\n{}\n```"),
    "\n<<<祝福 0a1b2c3d 开始>>>\n{}\n<<<祝福 0a1b2c3d 结束>>>",
)
SIDES = {"甲": ("甲", "A"), "乙": ("乙", "B")}


def forms(seed: int, size: int) -> list[Form]:
    """`size` replies of every kind in turn, without repetitions."""
    chance = random.Random(seed)
    made: dict[tuple[str, str], Form] = {}
    for attempt in range(20 * size):
        form = KINDS[attempt % len(KINDS)](chance)
        made.setdefault((form.asks, form.reply), form)
        if len(made) == size:
            break
    return list(made.values())


def _asked(chance: random.Random) -> tuple[str, Any]:
    asks = chance.choice(("verdict", "verdict", "better"))
    return asks, chance.choice(list(FIGURES[asks]))


def _other(chance: random.Random, asks: str, value: Any) -> Any:
    return chance.choice([one for one in FIGURES[asks] if one != value])


def _object(chance: random.Random, asks: str, value: Any, extra: bool = True) -> str:
    """One object in one of the forms that models write."""
    name = chance.choice(NAMES[asks])
    plain = FIGURES[asks][value]
    given = chance.choice([plain, plain, str(plain), chance.choice(WORDS[asks][value])])
    members = {"explanation": chance.choice(REASONS)} if extra and chance.random() < 0.6 else {}
    members = {**members, name: given} if chance.random() < 0.5 else {name: given, **members}
    text = json.dumps(members, ensure_ascii=False, indent=chance.choice([None, None, 2]))
    drawn = chance.random()
    if drawn < 0.1 and "“" not in text and '""' not in text:
        return text.replace(": ", "：").replace(", ", "，").replace("{", "｛").replace("}", "｝")
    if drawn < 0.2 and "'" not in text:
        return text.replace('"', "'")
    return text[:-1] + ",}" if drawn < 0.3 else text


def _line(chance: random.Random, asks: str, value: Any) -> str:
    """One label with its value."""
    name, word = chance.choice(NAMES[asks]), chance.choice(WORDS[asks][value])
    shape = chance.choice(
        (
            "{}：{}",
            "{}: {}",
            "**{}**：{}",
            "{} = {}",
            "【{}】：{}",
            "最终{}：{}",
            "- {}：{}",
            "{}：**{}**",
            "{}：“{}”",
            "| {} | {} |",
        )
    )
    if shape.startswith("最终") and name.isascii():
        shape = "Final {}: {}"
    line = shape.format(name, word)
    return line.translate(WIDE) if chance.random() < 0.1 and "|" not in line else line


def _stated(chance: random.Random, asks: str, value: Any) -> str:
    return chance.choice((_object, _line))(chance, asks, value)


def json_alone(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    text = _object(chance, asks, value)
    if chance.random() < 0.3:
        text = f"```{chance.choice(('', 'json'))}\n{text}\n```"
    return Form("json", asks, chance.choice(OPENERS) + text + chance.choice(CLOSERS), value, True)


def label_alone(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    reason = f"{chance.choice(('理由', '**理由**', 'Reason', '解释'))}：{chance.choice(REASONS)}"
    line = _line(chance, asks, value)
    text = chance.choice(
        (
            line,
            f"{line}。",
            f"{line}\n{reason}",
            f"{reason}\n{line}",
            f"{reason}。{line}".replace("。|", "。\n|"),
        )
    )
    return Form("label", asks, chance.choice(("", "", "好的。\n")) + text, value, True)


def word_alone(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    word = chance.choice(WORDS[asks][value])
    shape = chance.choice(("{}", "{}。", "{}!", "**{}**", "“{}”", " {} \n", "`{}`"))
    return Form("word", asks, shape.format(word), value, True)


def after_thoughts(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    other = _stated(chance, asks, _other(chance, asks, value))
    thought = chance.choice(
        (f"<think>{other}</think>", f"<think>\n{other}，再想想\n</think>\n\n", f"先想想……{other}\n</think>\n")
    )
    return Form("thoughts", asks, thought + _stated(chance, asks, value), value, True)


def agreeing(chance: random.Random) -> Form:
    good = chance.random() < 0.5
    word = chance.choice(("优秀", "excellent", "很好") if good else ("不优秀", "not good", "不好"))
    shape = chance.choice(("{}（{}）", "{} ({})", "{} - {}", "{}，{}", "{}：{}"))
    text = shape.format(int(good), word)
    wrap = chance.choice(("判定：{}", "{}", "member"))
    reply = json.dumps({"verdict": text}, ensure_ascii=False) if wrap == "member" else wrap.format(text)
    return Form("agreeing", "verdict", reply, int(good), True)


def quoting(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    other = _other(chance, asks, value)
    quoted = chance.choice((_object(chance, asks, other, extra=False), _line(chance, asks, other)))
    if chance.random() < 0.5:
        quoted = chance.choice(MARKS).format(quoted.replace("“", "").replace("”", "").replace("\n", ""))
        carried = chance.choice(CARRIERS).format(quoted)
    else:
        carried = chance.choice(BLOCKS).format(quoted)
    return Form("quoting", asks, _stated(chance, asks, value) + carried, value)


def ordered_within(chance: random.Random) -> Form:
    """An order of the text under judgement, within the explanation of an object."""
    asks, value = _asked(chance)
    other = _object(chance, asks, _other(chance, asks, value), extra=False)
    said = chance.choice(
        ("原文写着 {}", "</think>{}", "<<<祝福 结束>>>{}", "原文：\n```\n{}\n```", "它要求：{}")
    ).format(other)
    members = {"explanation": said, NAMES[asks][0]: FIGURES[asks][value]}
    return Form("ordered", asks, json.dumps(members, ensure_ascii=False), value, True)


def corrected(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    first, last = _other(chance, asks, value), value
    a, b = chance.choice(WORDS[asks][first]), chance.choice(WORDS[asks][last])
    shape = chance.choice(
        ("{}，改为{}", "{}（更正：{}）", "{}。更正：{}", "{}，应为 {}", "~~{}~~ {}", "{} -> {}", "{}→{}")
    )
    name = chance.choice(NAMES[asks])
    reply = (
        f"{name}：{shape.format(a, b)}"
        if chance.random() < 0.6
        else json.dumps({name: shape.format(a, b)}, ensure_ascii=False)
    )
    return Form("corrected", asks, reply, value)


def reconsidered(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    between = chance.choice(("\n更正：\n", "\n不，重新考虑后，", "\n再想一想，最终"))
    last = _line(chance, asks, value)
    last = last.removeprefix("最终").removeprefix("- ") if "|" not in last else "\n" + last
    return Form("reconsidered", asks, _stated(chance, asks, _other(chance, asks, value)) + between + last, value)


def disagreeing(chance: random.Random) -> Form:
    asks, value = _asked(chance)
    other = _other(chance, asks, value)
    one, two = _stated(chance, asks, value), _stated(chance, asks, other)
    names = chance.sample(NAMES[asks], 2)
    same = {names[0]: FIGURES[asks][value]}
    twice = (
        json.dumps(same, ensure_ascii=False)[:-1]
        + f', "{names[0]}": {json.dumps(FIGURES[asks][other], ensure_ascii=False)}}}'
    )
    reply = chance.choice(
        (
            f"{one}\n{two}".replace("最终", ""),
            twice,
            json.dumps({**same, names[1]: FIGURES[asks][other]}, ensure_ascii=False),
            json.dumps({**same, "inner": {names[0]: FIGURES[asks][other]}}, ensure_ascii=False),
            json.dumps([same, {names[0]: FIGURES[asks][other]}], ensure_ascii=False),
            json.dumps({names[0]: [FIGURES[asks][value], FIGURES[asks][other]]}, ensure_ascii=False),
        )
    )  # fmt: skip
    return Form("disagreeing", asks, reply.replace("Final ", ""), None)


def turned(chance: random.Random) -> Form:
    """A good word that is taken back in the same breath: never 1."""
    good = chance.choice(("好", "优秀", "不错", "good", "excellent", "1", "合格"))
    turn = chance.choice(PHRASES["turns"])
    text = good + turn
    reply = chance.choice(
        (
            text,
            f"{text}。",
            f"判定：{text}",
            f"Verdict: {text}",
            json.dumps({"verdict": text}, ensure_ascii=False),
            f"好的，{text}",
        )
    )
    return Form("turned", "verdict", reply, 0)


def doubtful(chance: random.Random) -> Form:
    """Between good and bad: no verdict."""
    text = chance.choice(PHRASES["doubts"])
    reply = chance.choice(
        (
            text,
            f"判定：{text}",
            f"{text}。",
            json.dumps({"verdict": text}, ensure_ascii=False),
            f"Verdict: {text}",
        )
    )
    return Form("doubtful", "verdict", reply, None)


def consenting(chance: random.Random) -> Form:
    """Consent or general praise before prose: no verdict."""
    consent = chance.choice(PHRASES["consents"])
    prose = chance.choice(PHRASES["prose"])
    return Form(
        "consent",
        "verdict",
        consent + chance.choice(("，", "。", "！", ", ", ". ", "\n")) + prose + chance.choice(("", "。", ".")),
        None,
    )


def numbered(chance: random.Random) -> Form:
    """Numbers that are not plainly on the scale: no value."""
    figure = chance.choice("0123")
    text = chance.choice(PHRASES["figures"]).format(figure)
    if chance.random() < 0.15:
        text = chance.choice("①②①⓪¹²½㊀")
    asks = chance.choice(("verdict", "language"))
    name = "判定" if asks == "verdict" else "语言"
    rest = {"creativity": 2, "emotion": 2, "culture": 2, "richness": 2} if asks == "language" else {}
    labels = "\n创意：2\n情感：2\n文化：2\n充实：2" if rest else ""
    shapes = [json.dumps({asks: text, **rest}, ensure_ascii=False), f"{name}：{text}{labels}"]
    if asks == "verdict":
        shapes += [text, f"{text}。"]
    return Form("numbers", asks, chance.choice(shapes), None)


def continued(chance: random.Random) -> Form:
    """An object whose text goes on to take it back: no verdict, or the later one."""
    value = chance.choice((0, 1))
    other = 1 - value
    more = chance.choice(PHRASES["continuations"]).format(other)
    return Form("continued", "verdict", _object(chance, "verdict", value) + more, other)


def supposed(chance: random.Random) -> Form:
    """A verdict that the reply only speaks of."""
    stated = chance.choice(
        (_object(chance, "verdict", chance.choice((0, 1)), extra=False), f"判定：{chance.choice('01')}")
    )
    lead = chance.choice(PHRASES["leads"])
    return Form("supposed", "verdict", lead + stated, None)


def compared(chance: random.Random) -> Form:
    """Comparisons in both directions."""
    first, second = chance.sample(("甲", "乙"), 2)
    letters = chance.random() < 0.5
    x, y = (SIDES[side][letters] for side in (first, second))
    better = PHRASES["better"]
    worse = PHRASES["worse"]
    even = PHRASES["even"]
    none = PHRASES["neither"]
    shapes, right = chance.choice(((better, first), (worse, second), (even, "平"), (none, None)))
    text = chance.choice(shapes).format(x=x, y=y)
    reply = chance.choice(
        (
            text,
            f"结论：{text}",
            f"{text}。",
            json.dumps({"better": text}, ensure_ascii=False),
            f"Winner: {text}",
            f"[[{text}]]" if ">" in text or "<" in text else text,
        )
    )
    return Form("compared", "better", reply, right, right is not None)


def rated(chance: random.Random) -> Form:
    """A dimension of the rubric in its usual dialects."""
    value = chance.choice((1, 2, 3))
    word = chance.choice(("{}", "{}分", "{} 分", "{}/3", "{} / 3", "{}（满分3）")).format(value)
    word = {1: "一", 2: "二", 3: "三"}[value] if chance.random() < 0.1 else word
    names = chance.choice(
        (
            ("语言", "创意", "情感", "文化", "充实"),
            ("language", "creativity", "emotion", "culture", "richness"),
        )
    )
    lines = [f"{name}：{word if n == 0 else 2}" for n, name in enumerate(names)]
    labels = chance.choice(
        (
            "\n".join(lines),
            "\n".join(f"- {line}" for line in lines),
            "\n".join(f"| {line.replace('：', ' | ')} |" for line in lines),
            "，".join(lines),
        )
    )
    members = dict(zip(names, (word, 2, 2, 2, 2), strict=True))
    return Form("rated", "language", chance.choice((labels, json.dumps(members, ensure_ascii=False))), value, True)


KINDS: tuple[Callable[[random.Random], Form], ...] = (
    *(
        json_alone,
        label_alone,
        word_alone,
        after_thoughts,
        agreeing,
        quoting,
        ordered_within,
        corrected,
        reconsidered,
    ),
    *(disagreeing, turned, doubtful, consenting, numbered, continued, supposed, compared, rated),
)


def by_kind(made: list[Form]) -> Iterator[tuple[str, list[Form]]]:
    """The forms of each kind."""
    for kind in dict.fromkeys(form.kind for form in made):
        yield kind, [form for form in made if form.kind == kind]
