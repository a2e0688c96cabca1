"""What gold says of greetings good, foreign and meaningless: python -m tests.gold_probe; JSON by name."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backend.core.settings import PROJECT_ROOT
from backend.core.text import assign_bucket, strip_white_space
from backend.judges.crossfit import TrainingLabel, TrainingPool
from backend.judges.ngram import fit_ngram
from backend.training.programs.gold import GoldJudge
from backend.training.programs.soundness import learn_soundness

PEOPLE = ("奶奶", "爸爸", "妈妈", "老师", "同事", "客户", "朋友", "女儿", "哥哥", "老板")
OCCASIONS = ("生日", "新年", "中秋", "升学", "搬家", "结婚", "退休", "端午")
STOCK = ("愿您身体健康", "祝您万事如意", "愿您天天开心", "祝您步步高升", "愿您阖家欢乐", "祝您福寿安康")


def seed() -> list[dict[str, Any]]:
    """Pairs of the seed corpus."""
    files = sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def reading(gold: GoldJudge, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What gold says, and what its judge alone says."""
    requests, greetings = [request for request, _ in pairs], [greeting for _, greeting in pairs]
    found = gold.read_greetings(requests, greetings)
    told = asdict(found) | {"reason": found.reason and found.reason.en}
    return told | {"judge": GoldJudge(gold.judge).read_greetings(requests, greetings).excellence}


def corpus(chance: random.Random) -> dict[str, Any]:
    """Greetings of the seed corpus that nobody has seen, and what is none."""
    rows = seed()
    # The judge takes its time; half of the rows are enough for it.
    judged = [row for row in rows if assign_bucket(row["prompt"], 2, hash_salt="judged")]
    labels = [
        TrainingLabel(row["prompt"], row[side], side == "strong") for row in judged for side in ("strong", "weak")
    ]
    known = [(row["prompt"], row["strong"]) for row in rows if assign_bucket(row["prompt"], 3)]
    unseen = [(row["prompt"], row["strong"]) for row in judged if not assign_bucket(row["prompt"], 3)]
    soundness = learn_soundness(known)
    assert soundness is not None
    gold = GoldJudge(fit_ngram(TrainingPool(labels=labels)), soundness)
    written = [character for _, greeting in known for character in strip_white_space(greeting)]
    vocabulary = sorted(set(written))
    requests = [request for request, _ in unseen]
    cases = {
        "accepted": unseen,
        "vocabulary": [(request, "".join(chance.choices(vocabulary, k=50))) for request in requests],
        "frequent": [(request, "".join(chance.choices(written, k=50))) for request in requests],
        "others": list(zip(requests, [greeting for _, greeting in unseen[7:] + unseen[:7]], strict=True)),
        "english": [(request, "May all your wishes come true, and happy birthday to you!") for request in requests],
    }
    return {name: reading(gold, pairs) for name, pairs in cases.items()}


def stock(chance: random.Random) -> dict[str, Any]:
    """Gold that knows six clauses: other words that answer the request are beyond it."""
    occasions = [(person, occasion) for person in PEOPLE for occasion in OCCASIONS]
    known = [
        (f"给{person}的{occasion}祝福{number}", f"{person}{occasion}快乐，{'，'.join(chance.sample(STOCK, 3))}。")
        for person, occasion in occasions
        for number in range(3)
    ]
    labels = [TrainingLabel(request, greeting, True) for request, greeting in known]
    labels += [TrainingLabel(request, f"{greeting[:4]}吧", False) for request, greeting in known]
    endings = [row["strong"] for row in seed()]
    gold = GoldJudge(fit_ngram(TrainingPool(labels=labels)), learn_soundness(known))
    return {
        "new": reading(gold, [(f"给{p}的{o}祝福", f"{p}，{o}到了。{chance.choice(endings)}") for p, o in occasions]),
        "few": learn_soundness(known[:30]) is None,
    }


if __name__ == "__main__":
    print(json.dumps(corpus(random.Random(0)) | stock(random.Random(0))))
