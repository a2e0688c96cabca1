"""What the starter writes for requests that no training has seen.

    python -m bench.starter --artifact DIR [--seed 1] [--count 200]

First by the bank of clauses, over requests composed for the pairs of occasion and recipient that are never
composed for training: how many greetings consist of whole clauses (others may read well too: a lower bound of
readable ones), how many speak of the occasion asked for, of it alone, and to the right person, how many do both
(fit), and how many are without a fault by the rules that every written greeting is held to. Then forty
greetings for a person to read: twenty for such pairs in words that the corpus does not use, twenty for free
requests.
"""

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from backend.generation.checks import find_fault
from backend.generation.request import parse_request
from backend.starter.bank import ClauseBank, Occasion, Recipient, is_held_out, load_bank
from backend.starter.compose import compose_request, draw_scene
from backend.starter.writing import GreetingScene
from backend.training.programs.callbacks import generate_greetings
from backend.training.programs.models import load_tokenizer

TOKENS, BATCH = 128, 40
DRAWN = ("temperature", "top_p", "no_repeat_ngram_size", "repetition_penalty")
WAYS = (
    "我想写给{r}，{o}用的，来一条",
    "{o}，对象是{r}，写什么好呢",
    "该给{r}写点啥？{o}用",
    "帮忙想一句{o}能发给{r}的",
)
FREE = (
    "我妈下个月过六十大寿，想在家宴上说两句",
    "闺蜜下周六结婚，我是伴娘，想写一段走心的",
    "老板升副总了，微信里恭喜一下，别太拍马屁",
    "女儿后天中考，她有点紧张",
    "给爷爷发条中秋问候，他一个人在乡下",
    "室友考研失败了，心情很差，我想安慰安慰",
    "对象今天过生日，我俩异地",
    "楼上王阿姨家添了个小孙子，道个喜",
    "奶奶做完白内障手术出院了",
    "大学老师退休，全班给他写一句",
    "哥们开了家烧烤摊，明天开张",
    "送客户的端午礼盒上印一句话",
    "孩子第一天上幼儿园，写给他",
    "同事跳槽去新公司，欢送会上敬杯酒",
    "男朋友要去新疆出差半个月",
    "祝我自己三十岁生日快乐",
    "朋友的爸爸前天走了，我不知道怎么开口",
    "早上发到家族群里的问候",
    "元旦跨年发给老公，短一点",
    "给导师的教师节贺卡，正式些",
)
_CUT = re.compile(r"[，。！？]")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="Folder of the trained policy.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200, help="Held-out requests to measure on.")
    given = parser.parse_args()
    if given.artifact is None:
        print("not measured: name the folder of a trained starter with --artifact")
        return
    bank, rng = load_bank(), Random(f"bench {given.seed}")
    asked = held_out_requests(bank, given.count, rng)
    began = time.process_time()
    for name, value in measure_policy(bank, given.artifact, asked, given.seed).items():
        print(f"{name}: {value:.3f}")
    spent = time.process_time() - began
    print(f"greetings: {len(asked)}, CPU-seconds each: {spent / max(len(asked), 1):.3f}")
    prompts = [_unheard(*pair, rng) for pair in rng.sample(held_out_pairs(bank), 20)] + list(FREE)
    for prompt, text in zip(prompts, written(given.artifact, prompts, given.seed), strict=True):
        print(f"{prompt} → {text}")


def held_out_pairs(bank: ClauseBank) -> list[tuple[Occasion, Recipient]]:
    """Every pair of occasion and recipient that is never composed."""
    return [(one, who) for one in bank.occasions for who in bank.invited_recipients(one) if is_held_out(one, who)]


def held_out_requests(bank: ClauseBank, count: int, rng: Random) -> list[tuple[GreetingScene, str]]:
    """At most `count` requests for such pairs, each with what it asks for."""
    kept = held_out_pairs(bank)
    scenes = [_scene(bank, *rng.choice(kept), rng) for _ in range(count)]
    return [(scene, prompt) for scene in scenes if (prompt := compose_request(bank, scene, rng))]


def measure_policy(
    bank: ClauseBank, artifact: Path, asked: Sequence[tuple[GreetingScene, str]], seed: int
) -> dict[str, float]:
    """Shares of one greeting for each request, by the name of the figure."""
    texts = written(artifact, [prompt for _, prompt in asked], seed)
    pairs = [(scene, text) for (scene, _), text in zip(asked, texts, strict=True)]
    sound = [find_fault(parse_request(prompt), text) is None for (_, prompt), text in zip(asked, texts, strict=True)]
    return figures(bank, pairs) | {"sound": sum(sound) / max(len(sound), 1)}


def written(artifact: Path, prompts: Sequence[str], seed: int) -> list[str]:
    """One sampled greeting for each request, drawn as the application draws from this model."""
    tokenizer = load_tokenizer(str(artifact))
    model: Any = AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32)
    told = model.generation_config
    drawn = {name: getattr(told, name) for name in DRAWN}
    batches = [prompts[at : at + BATCH] for at in range(0, len(prompts), BATCH)]
    return [text for batch in batches for text in generate_greetings(model, tokenizer, batch, TOKENS, seed, **drawn)]


def figures(bank: ClauseBank, pairs: Sequence[tuple[GreetingScene, str]]) -> dict[str, float]:
    """Shares of the greetings, by what the bank knows."""
    homes = _homes(bank)
    pieces = [[part for part in _CUT.split(text) if part] for _, text in pairs]
    whole = [bool(parts) and all(part in homes for part in parts) for parts in pieces]
    known = [sum(part in homes for part in parts) / max(len(parts), 1) for parts in pieces]
    right, alone, called, fit = [], [], [], []
    for (scene, text), parts in zip(pairs, pieces, strict=True):
        found = [homes[part] - {""} for part in parts if homes.get(part) and "" not in homes[part]]
        right.append(any(scene.occasion.name in names for names in found))
        alone.append(right[-1] and all(scene.occasion.name in names for names in found))
        called.append(_called(bank, scene.recipient, text))
        fit.append(called[-1] and alone[-1])
    shares = {
        "whole": whole,
        "pieces": known,
        "occasion": right,
        "occasion_alone": alone,
        "address": called,
        "fit": fit,
    }
    return {name: sum(values) / max(len(values), 1) for name, values in shares.items()}


def _homes(bank: ClauseBank) -> dict[str, set[str]]:
    """By piece of a clause, as it may stand in a greeting: the occasions it belongs to; "" for any."""
    homes: dict[str, set[str]] = {}
    for occasion in bank.occasions:
        for parts in occasion.clauses_by_audience.values():
            for role, clauses in parts.items():
                for clause in clauses if role != "events" else ():
                    _add(homes, clause, occasion.name, occasion.number_words)
    for who in bank.recipients:
        for clause in (*who.personal_clauses, *who.caring_clauses, *who.address_forms):
            _add(homes, clause, "", ())
    for detail in bank.details:
        for clause in detail.greeting_clauses:
            _add(homes, clause, "", ())
    return homes


def _add(homes: dict[str, set[str]], clause: str, name: str, numbers: Sequence[str]) -> None:
    for you in ("你", "您", "你们", "大家", "自己", "我们", "两位"):
        for number in numbers or ("",):
            for part in _CUT.split(clause.replace("{你}", you).replace("{n}", number)):
                if part:
                    homes.setdefault(part, set()).add(name)


def _called(bank: ClauseBank, who: Recipient | None, text: str) -> bool:
    """Whether nobody else is addressed; no address at all is right too."""
    own = who.address_forms if who else ()
    return not any(
        text.startswith((f"{call}，", f"{call}！"))
        for one in bank.recipients
        for call in one.address_forms
        if call not in own
    )


def _scene(bank: ClauseBank, occasion: Occasion, who: Recipient, rng: Random) -> GreetingScene:
    made = draw_scene(bank, occasion, rng)
    return GreetingScene(occasion, who, "", made.size, made.number)


def _unheard(occasion: Occasion, who: Recipient, rng: Random) -> str:
    names = [name for name in occasion.request_names if name]
    number = rng.choice(occasion.number_words) if occasion.number_words else ""
    return rng.choice(WAYS).format(r=rng.choice(who.request_names), o=rng.choice(names).replace("{n}", number))


if __name__ == "__main__":
    main()
