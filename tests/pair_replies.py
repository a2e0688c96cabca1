"""Generators and a panel for the fake server, around a hidden true quality of every text.

The true quality of a greeting is `quality` (a bit of its hash), so nothing in the text shows it. A generator
draws a wished quality and writes until the text has it; good ones are longer. The judge errs on a planted
share of the texts, the reviewer repairs a planted share of these errors and breaks nothing.
"""

import json
import random
import re

from tests.fake_llm import ANY_FENCE, Body, greeting_of, prompt_of, quality

ERRS, REPAIRED = 0.25, 0.8
SWAYED = 0.5
"""Of the texts on which one side is not heard, the judge follows the other side on this share."""
LONG, SHORT, SPREAD = 60, 32, 14
CLAUSES = (
    "愿你眼里有光", "心里有暖", "脚下有路", "所行皆坦途", "所遇皆良人", "愿三餐有味", "四季有景",
    "愿所有奔赴都有回响", "平安喜乐常伴", "笑容比去年更亮", "烦恼都被风吹散", "好运悄悄排队来",
    "把日子过成诗", "愿被岁月温柔以待", "春天的花为你开", "夏夜的星为你亮", "秋天的果为你甜",
    "冬日的炉火为你暖", "一路有人问粥可温", "有人陪你看夕阳", "年年胜今朝", "事事皆如愿", "身体硬朗胃口好",
    "走路带风精神足", "心宽似海", "福气满屋", "家里灯火长明", "院里果香不断", "茶是热的话是软的",
    "惦记你的人都在", "愿前路辽阔", "愿归途灯火可亲", "想要的都拥有", "得不到的都释怀", "愿热爱可抵漫长",
    "愿你永远少年气", "愿清晨醒来有期待", "愿夜里安睡无牵挂", "钱包鼓鼓底气足", "书里书外都是好风景",
)  # fmt: skip
SAID = {
    "merits": ("{}写得有画面", "语气亲切，像说给熟人听", "祝愿落在日子里，不空泛"),
    "faults": ("{}稍显套话", "没有贴着请求里的人来写", "短句堆得多，没有主意"),
}
REASONS = {1: "褒方举的词句都在文中，画面具体，情意真切", 0: "贬方说得对：换一个人也能用，没有贴着这件事"}
_HEADS = {
    "褒方": "merits",
    "贬方": "faults",
    "复核人": "reflect",
    "评议会的评审": "judge",
    "写中文祝福": "write",
}


def _say(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False)


def role(body: Body) -> str:
    """Which agent is asked."""
    head = prompt_of(body)[:40]
    return next((name for mark, name in _HEADS.items() if mark in head), "other")


def chance(text: str, salt: str) -> float:
    """A number in [0, 1) that belongs to the text."""
    return random.Random(f"{salt}|{text}").random()


def first_verdict(text: str, draw: str = "") -> int:
    """What the judge says at first: the truth, except for the planted errors, which differ by draw."""
    return quality(text) ^ (chance(text, f"err{draw}") < ERRS)


def final_verdict(text: str, draw: str = "") -> int:
    """What the reviewer leaves standing."""
    first, true = first_verdict(text, draw), quality(text)
    return true if first != true and chance(text, f"repair{draw}") < REPAIRED else first


def write(body: Body) -> str:
    """A greeting of the quality that its seed wishes for."""
    asked = ANY_FENCE.findall(prompt_of(body))[-1]
    draw = random.Random(f"{asked}|{body.get('seed')}|{body['model']}")
    return composed(draw, draw.random() < 0.5)


def composed(draw: random.Random, good: bool) -> str:
    """A greeting of that hidden quality; good ones are longer on average."""
    while True:
        wished = draw.gauss(LONG if good else SHORT, SPREAD)
        clauses = draw.sample(CLAUSES, len(CLAUSES))
        text = clauses.pop()
        while len(text) < wished and clauses:
            text += "，" + clauses.pop()
        text += draw.choice("。！")
        if quality(text) == good:
            return text


def wavering(body: Body) -> str:
    """As `panel`, whose mistakes are other ones when it is asked with a seed."""
    return panel(body, str(body.get("seed") or ""))


def panel(body: Body, draw: str = "") -> str:
    """Every agent of the panel, the generators, and any judge of one call, who says what the panel would.

    Its mistakes are systematic: asked again, with whatever seed, it makes the same.
    """
    asked = role(body)
    if asked == "write":
        return BAD[body["model"]](body) if body["model"] in BAD else write(body)
    text = greeting_of(body)
    if asked in ("merits", "faults"):
        many = (quality(text) == 1) == (asked == "merits")
        quoted = f"“{text.split('，')[0].rstrip('。！')}”"
        return _say(**{asked: [one.format(quoted) for one in SAID[asked][: 3 if many else 1]]})
    if asked == "other":
        return _say(explanation="一锤定音", verdict=final_verdict(text, draw))
    said = _heard(body, text, first_verdict(text, draw))
    if asked == "reflect":
        alone = "没有初判" in prompt_of(body)
        said = quality(text) ^ (chance(text, "alone") < ERRS / 2) if alone else _final(text, said, draw)
    return _say(explanation=REASONS[int(said)], verdict=int(said))


def likes_all(body: Body) -> str:
    """The generators, and a judge who likes everything."""
    return write(body) if role(body) == "write" else _say(explanation="读来亲切", verdict=1)


def _final(text: str, first: int, draw: str) -> int:
    return final_verdict(text, draw) if first == first_verdict(text, draw) else first


def _heard(body: Body, text: str, said: int) -> int:
    """A judge who hears one side only follows it on some texts."""
    prompt = prompt_of(body)
    swayed = chance(text, "sway") < SWAYED
    if swayed and not re.search("褒方：\n", prompt):
        return 0
    return 1 if swayed and not re.search("贬方：\n", prompt) else said


BAD = {
    "refuses": lambda _: "抱歉，我无法为您生成这类内容。",
    "english": lambda _: "Happy birthday to you! May all your dreams come true this year.",
    "echoes": lambda body: ANY_FENCE.findall(prompt_of(body))[-1],
    "silent": lambda _: "",
    "several": lambda _: "1. 愿你眼里有光，心里有暖。\n2. 平安喜乐常伴，事事皆如愿。\n3. 年年胜今朝，福气满屋。",
    "stutters": lambda _: "愿你眼里有光，心里有暖，所行皆坦途，平安喜乐常伴。",
}
