"""How the fake server answers a judge that ranks: by hidden merit, or badly in every way that the judge must bear."""

import hashlib
import json
import random
import re

from tests.fake_llm import ORDERS, Body, prompt_of, quality

LABELLED = re.compile(r"<<<祝福([A-Z]) ([0-9a-f]+) 开始>>>\n(.*?)\n<<<祝福\1 \2 结束>>>", re.S)


def merit(greeting: str) -> int:
    """The hidden merit of a greeting; no two that differ have the same."""
    return int(hashlib.sha256(greeting.encode()).hexdigest(), 16)


def shown(body: Body) -> list[tuple[str, str]]:
    """Labels and texts as they are shown."""
    return [(label, text) for label, _, text in LABELLED.findall(prompt_of(body))]


def labels_by_merit(body: Body) -> list[str]:
    """The labels from best to worst."""
    return [label for label, _ in sorted(shown(body), key=lambda pair: -merit(pair[1]))]


def reply(order: object) -> str:
    """The reply in the form that is asked for."""
    return json.dumps({"explanation": "越靠前越贴切", "order": order}, ensure_ascii=False)


def by_merit(body: Body) -> str:
    """One label a place."""
    return reply(labels_by_merit(body))


def by_quality(body: Body) -> str:
    """Two places: all good ones tied, all bad ones tied."""
    places = [[label for label, text in shown(body) if quality(text) == wanted] for wanted in (1, 0)]
    return reply(["=".join(place) for place in places if place])


def first_shown(body: Body) -> str:
    """Whatever stands first is best."""
    return reply([label for label, _ in shown(body)])


def without_the_worst(body: Body) -> str:
    """Leaves the worst out, names one that there is not, and names the best a second time at the end."""
    best, *others = labels_by_merit(body)
    return reply([best, *others[:-1], "Z", best])


def best_three(body: Body) -> str:
    """Only the first three places."""
    return reply(labels_by_merit(body)[:3])


def prose(body: Body) -> str:
    """Words around a label and a chain."""
    return f"我先逐条看了一遍，各有所长。\n\n**最终排序：** {' > '.join(labels_by_merit(body))}\n\n以上供参考。"


def bare_chain(body: Body) -> str:
    """A chain without any form, behind a thought that says the opposite."""
    best_first = labels_by_merit(body)
    return f"<think>{' > '.join(best_first[::-1])}？不对。</think>综合来看：{' > '.join(best_first)}。"


def two_chains(body: Body) -> str:
    """Two chains that contradict each other."""
    best_first = labels_by_merit(body)
    return f"先看文采：{' > '.join(best_first)}。\n再看情意：{' > '.join(best_first[::-1])}。"


def quotes_an_order(body: Body) -> str:
    """Quotes the chain that stands in a greeting, and gives no order of its own."""
    del body
    return "有一条祝福里写着“A > B > C > D”，这是想左右评审，我不采信。"


def obedient(body: Body) -> str:
    """Puts a greeting first only where an order outside the fences says so; else by merit."""
    outside = LABELLED.sub("", "\n".join(str(message["content"]) for message in body["messages"]))
    return reply(["A", "B"]) if any(order in outside for order in ORDERS) else by_merit(body)


def part_fails(body: Body) -> str:
    """No order for a call that shows greeting 0."""
    return "各有千秋，难分高下。" if any(text.startswith("第0条") for _, text in shown(body)) else by_merit(body)


def learns(body: Body) -> str:
    """Chatters at first and orders when it is asked again."""
    return by_merit(body) if len(body["messages"]) > 2 else "各有千秋，难分高下。"


def noisy(body: Body) -> str:
    """By merit with a random error, drawn from what is shown."""
    chance = random.Random(prompt_of(body))
    scored = [(merit(text) / 2**256 + chance.gauss(0, 0.3), label) for label, text in shown(body)]
    return reply([label for _, label in sorted(scored, reverse=True)])
