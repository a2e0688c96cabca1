"""What the scripted server of the golden home answers: `reply="tests.golden.replies:judge"` and the like."""

import json
from typing import Any

from tests import fake_llm, greeting_replies, judge_replies, pair_replies, principles_world
from tests.fake_llm import Body, greeting_of, prompt_of, quality
from tests.principles_world import chance

NOISE = 0.2


def judged(text: str, salt: str) -> int:
    """The hidden quality, seen wrongly in a fixed fifth of the texts, others for every salt."""
    return quality(text) ^ (chance(salt, text) < NOISE)


def judge(body: Body) -> str:
    """One verdict with a reason; on some texts no verdict at first, and on a few of these never."""
    text = greeting_of(body)
    if chance("mute", text) < 0.15 and (chance("never", text) < 0.4 or len(body["messages"]) < 3):
        return "这条祝福各有优缺点，见仁见智。"
    said = judged(text, str(body["model"]))
    return _say(verdict=said, explanation="贴合身份，画面具体" if said else "换谁都能用，略显空泛")


def second_reading(body: Body) -> str:
    """As `judge`, never without a verdict: what asking again brings."""
    said = judged(greeting_of(body), "again")
    return _say(verdict=said, explanation="再读一遍，看得更清楚")


def rubric(body: Body) -> str:
    """Points that differ by dimension and follow the hidden quality."""
    text = greeting_of(body)
    points = {
        name: min(3, max(1, 1 + judged(text, name) + int(chance(name, text) * 2))) for name in judge_replies.DIMENSIONS
    }
    return _say(explanation="逐项看过", **points)


def pairwise(body: Body) -> str:
    """The better of two in most cases; the first in some, and nothing usable in others."""
    first, second = (one[1] for one in fake_llm.FENCED.findall(prompt_of(body)))
    drawn = chance("pair", *sorted((first, second)))
    if drawn < 0.1:
        return "都不错，很难说。"
    if drawn < 0.25:
        return judge_replies.first_place(body)
    return judge_replies.better(body)


def play(body: Body) -> str:
    """Greetings; the model “english” writes what no check lets pass, “same” always one text."""
    kinds = {"english": greeting_replies.english, "same": greeting_replies.same}
    return kinds.get(str(body["model"]), greeting_replies.greeting)(body)


panel = pair_replies.panel
world = principles_world.serve


def _say(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)
