"""The game over the seed corpus for pictures: agents that know the seed's flaws and nothing else.

`"reply": "tests.principles_showcase:serve"`. What is shown is a demonstration, no result.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from backend.core.enums import FLAW_DESCRIPTIONS, Agent, Flaw
from backend.core.settings import PROJECT_ROOT
from backend.core.text import strip_white_space
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunRequest
from backend.services import SEED_DATASET, Services
from tests.llm_fixtures import FakeLLM
from tests.principles_world import KINDS, NAMES, World, chance, fenced

SEEN = 0.55
"""How often the first S_D sees a flaw that it does not name."""
SHOWN = GameSettings(rounds=4, attacks=6, labelled=12, duels=16, gate=160, locked=160)


def play(services: Services, fake: FakeLLM, endpoint: str) -> None:
    """A finished run over the seed corpus, and a version by hand."""
    fake.script(reply="tests.principles_showcase:serve")
    evolution = services.evolution
    asked = RunRequest(SEED_DATASET, SHOWN, dict.fromkeys(Agent, endpoint))
    info = evolution.play(evolution.create(asked).id)
    best = evolution.archive.version(info.best or info.detector)
    texts = [*best.rules.texts[:-1], "称呼和落款要与请求里的身份一致。"]
    evolution.archive.edit(best.id, texts, "小林", "最后一条说得更明白些")


class SeedWorld(World):
    """Weak greetings of the seed carry their flaw; a rule that names its kind makes it visible."""

    def _generator(self, prompt: str) -> dict[str, Any]:
        kind = next(one for one in KINDS if FLAW_DESCRIPTIONS[one] in prompt)
        asked = strip_white_space(fenced(prompt)["请求"])
        row = next((row for row in seed() if strip_white_space(row["prompt"]) == asked and row["flaw"] == kind), None)
        found = row or _any(kind, asked)
        text = str(found["weak"])
        return {
            "greeting": text,
            "place": _clause(text),
            "explanation": FLAW_DESCRIPTIONS[kind].partition("：")[2],
        }

    def _confirmer(self, prompt: str) -> dict[str, Any]:
        there = flaw_of(fenced(prompt)["祝福"]) is not None
        return {"explanation": "原文里确有这一处。", "verdict": int(there)}

    def _reflector(self, prompt: str) -> dict[str, Any]:
        kind = flaw_of(fenced(prompt)["祝福"])
        if kind is None:
            return {"advice": "原则不必改"}
        return {"advice": f"加一条，专看{NAMES[kind]}：{FLAW_DESCRIPTIONS[kind].partition('：')[2]}的，不算优秀。"}

    def _detector(self, prompt: str) -> dict[str, Any]:
        kind, text = flaw_of(fenced(prompt)["祝福"]), fenced(prompt)["祝福"]
        if kind is None:
            good = chance("good", text) > 0.06
            return {
                "explanation": "具体、得体，像说给这个人听的。" if good else "略显平淡。",
                "verdict": int(good),
            }
        named = NAMES[kind] in prompt.split("# 请求", 1)[0] or chance("seen", text) < SEEN
        said = f"有{NAMES[kind]}的毛病。" if named else "语言通顺，情意真切。"
        return {"explanation": said, "verdict": int(not named)}

    def _added(self, kind: Flaw) -> str:
        return f"专看{NAMES[kind]}：{FLAW_DESCRIPTIONS[kind].partition('：')[2]}的，不算优秀。"


@cache
def seed() -> list[dict[str, Any]]:
    """Rows of the seed corpus."""
    files = sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@cache
def _flaws() -> dict[str, Flaw]:
    return {strip_white_space(row["weak"]): Flaw(row["flaw"]) for row in seed()}


def flaw_of(text: str) -> Flaw | None:
    """The flaw that the seed corpus notes for a greeting."""
    return _flaws().get(strip_white_space(text))


def serve(body: Mapping[str, Any]) -> str:
    """The reply of any agent."""
    prompt = next(str(one["content"]) for one in body["messages"] if one["role"] == "user")
    return SeedWorld(3, harmful=0.25).answer(prompt)


def _any(kind: Flaw, asked: str) -> dict[str, Any]:
    rows = [row for row in seed() if row["flaw"] == kind]
    return rows[int(chance(asked) * len(rows))]


def _clause(text: str) -> str:
    parts = [part for part in text.replace("。", "，").split("，") if part.strip()]
    return parts[len(parts) // 2]
