"""What the fake server writes when greetings are asked for: `reply="tests.greeting_replies:greeting"`."""

import random
from typing import Any

from tests.fake_llm import FENCED, prompt_of, verdict

Body = dict[str, Any]

OPENERS = ("愿你", "祝你", "盼你", "但愿你", "望你", "惟愿你")
MIDDLES = (
    "眼里有光，",
    "心里有春，",
    "出门有好天气，",
    "回家有热饭，",
    "想见的人都能见到，",
    "走过的路都开花，",
    "手里的事件件顺当，",
)
ENDINGS = (
    "日子一天比一天亮堂。",
    "夜夜都睡得安稳。",
    "年年都比去年更高兴。",
    "今晚月亮也替我看看你。",
    "笑的时候总比叹气多。",
)


def greeting(body: Body) -> str:
    """A greeting that follows from the request and the seed: other seeds, other greetings."""
    chance = random.Random(f"{_asked(body)}|{body.get('seed')}")
    picked = chance.sample(MIDDLES, 3)
    return chance.choice(OPENERS) + "".join(picked) + chance.choice(ENDINGS)


def greeting_or_verdict(body: Body) -> str:
    """A verdict on a greeting that stands in a fence, else a greeting."""
    return verdict(body) if FENCED.search(prompt_of(body)) else greeting(body)


def four(body: Body) -> str:
    """Four characters, but only every other time."""
    chance = random.Random(f"{_asked(body)}|{body.get('seed')}")
    right = ["平安喜乐", "万事胜意", "福寿安康", "岁岁年年", "花好月圆", "前程似锦", "阖家安康", "喜上眉梢"]
    return chance.choice(right) if int(body.get("seed") or 0) % 2 else "祝你平安喜乐"


def same(_: Body) -> str:
    """The same greeting whatever is asked."""
    return "愿你平安喜乐，岁岁年年都有人惦记，也有人陪伴。"


def repeats(_: Body) -> str:
    """A collapsed model."""
    return "像星辰般璀璨，像星辰般闪耀，" * 12


def english(_: Body) -> str:
    """Does not write Chinese."""
    return "Wishing you all the best for the coming year, with love and laughter."


def garbage(_: Body) -> str:
    """No language at all."""
    return "ïÿ½�� }{[]//##~~ 0x3f 0x9a �� $$%%^^&& �� zzqx"


def leaks(body: Body) -> str:
    """A model that gives its own instructions away."""
    return _asked(body)


def _asked(body: Body) -> str:
    return str(body["messages"][-1]["content"])
