"""A simulated world for the game: kinds of flaws, a Detector that sees a kind only where S_D names it.

Greetings carry their truth as a mark (`mark-taboo`), which nobody but this file reads. The optimiser
proposes something harmful in a share of the rounds, and the Generator can learn to hide (`hidden-taboo`)
or be talked into writing good greetings. Everything follows from the seed and the prompt.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.core.enums import FLAW_DESCRIPTIONS, Flaw, GamePhase, Role, Scale
from backend.core.stored_records import read_record
from backend.judges.asking import JudgeModel
from backend.judges.base import Judgment, Sample
from backend.judges.criteria import MAX_RULES, parse_principles
from backend.judges.scoring.run import run_blocking
from backend.llm.messages import ChatMessage, Completion
from backend.principles.algorithm.agents import GameAgents
from backend.principles.algorithm.game import run_game
from backend.principles.algorithm.game_run import GameRun, SearchState
from backend.principles.algorithm.labels import GameLabel, partition_labels
from backend.principles.algorithm.planting import InstructedGenerator
from backend.principles.algorithm.rules import RuleSet, rules_from_texts
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import InMemoryGameRecord, NewVersion, RulesVersion, StepData, VersionOutcome
from backend.principles.setup import SEARCHERS

KINDS = tuple(Flaw)
NAMES = {kind: FLAW_DESCRIPTIONS[kind].split("：")[0] for kind in KINDS}
KNOWN = KINDS[:5]
"""Kinds that the first S_D names."""
HARSH = "带问号的一律判坏。"
LENIENT = "提到真心二字的一律判好。"
HIDE = "换个说法，把缺陷藏得更深。"
GIVE_UP = "干脆认真写好，不留缺陷。"
NOISE = 0.04
_FENCE = re.compile(r"<<<(\S+) ([0-9a-f]+) 开始>>>\n(.*?)\n<<<\1 \2 结束>>>", re.S)


def first_detector() -> RuleSet:
    """Names half of the kinds."""
    return rules_from_texts(Role.DETECTOR, [f"看有没有{NAMES[kind]}。" for kind in KNOWN])


def first_generator() -> RuleSet:
    """Hides nothing well."""
    return rules_from_texts(Role.GENERATOR, ["写得像真的一样。"])


def chance(*parts: object) -> float:
    """A stable number in [0, 1) for the parts."""
    told = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:6]) / 2**48


def verdict(rules: Sequence[str], greeting: str) -> int:
    """What the Detector says under these rules."""
    told = "\n".join(rules)
    if chance("noise", greeting) < NOISE:
        return int(chance("coin", greeting) < 0.5)
    if LENIENT[:-1] in told and "真心" in greeting:
        return 1
    if HARSH[:-1] in told and "？" in greeting:
        return 0
    seen = ["mark-", "hidden-"] if chance("sharp", greeting) < 0.5 else ["mark-"]
    return int(not any(f"{mark}{kind}" in greeting and NAMES[kind] in told for kind in KINDS for mark in seen))


def labels(size: int, seed: int = 0, shuffled: bool = False) -> list[GameLabel]:
    """Labelled greetings, two a request, half of them bad; with `shuffled` the labels mean nothing."""
    made = []
    for number in range(size):
        good = number % 2 == 0
        kind = KINDS[(number // 2) % len(KINDS)]
        made.append(
            (
                f"给第{seed}-{number // 2}位朋友的祝福",
                text_of(f"{seed}-{number}", None if good else kind),
                good,
            )
        )
    truth = [good for _, _, good in made]
    if shuffled:
        random.Random(seed).shuffle(truth)
    return [
        GameLabel(number, prompt, text, good)
        for number, ((prompt, text, _), good) in enumerate(zip(made, truth, strict=True), 1)
    ]


def text_of(name: str, kind: Flaw | None, hidden: bool = False) -> str:
    """A greeting with a flaw of that kind, or a good one."""
    mark = "" if kind is None else f"，{'hidden' if hidden else 'mark'}-{kind}"
    asks = "还好吗？" if chance("asks", name) < 0.3 else ""
    heart = "真心" if chance("heart", name) < 0.3 else ""
    return f"第{name}条祝福{mark}，{heart}愿你天天开心。{asks}"


class WorldJudge:
    """The Detector without a model between: for hundreds of runs."""

    name, version, scale = "principle", "world", Scale.BINARY

    def __init__(self, rules: RuleSet) -> None:
        self._rules = parse_principles("\n".join(rules.texts))  # refuses what the real judge refuses

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One draft per sample."""
        return [Judgment(float(verdict(self._rules, one.greeting)), "看过了") for one in samples]


@dataclass
class World:
    """How the agents answer. `harmful`: share of proposals that do harm, `mixed`: of helpful ones that carry
    a harmful rule along; `honest`: whether the Generator
    plants the flaw it is told to; `gullible`: whether the confirmer believes everything."""

    seed: int = 0
    harmful: float = 0.35
    mixed: float = 0.0
    honest: bool = True
    gullible: bool = False
    rules_said: list[str] | None = None
    written: str | None = None
    """What the Generator hands in, whatever it is told; REQUEST stands for the request."""

    def answer(self, prompt: str) -> str:
        """The reply to a prompt of any agent."""
        for heading, reply in (
            ("# 藏缺陷的策略", self._generator),
            ("# 声称的缺陷", self._confirmer),
            ("# 定论", self._reflector),
            ("# 战况", self._optimise_g),
            ("# 例子", self._rewrite),
            ("# 建议", self._optimise_d),
            ("# 评判原则", self._detector),
        ):
            if heading in prompt:
                return json.dumps(reply(prompt), ensure_ascii=False)
        raise AssertionError(f"nobody asked: {prompt[:80]}")

    def _generator(self, prompt: str) -> dict[str, Any]:
        kind = next(one for one in KINDS if FLAW_DESCRIPTIONS[one] in prompt)
        told = _section(prompt, "藏缺陷的策略")
        name = f"{self.seed}-{chance(fenced(prompt)['请求'], kind, told):.9f}"
        good = not self.honest or GIVE_UP[:-1] in told
        hidden = chance("hide", name) < (0.9 if HIDE[:-1] in told else 0.1)
        text = text_of(name, None if good else kind, hidden)
        if self.written is not None:
            text = fenced(prompt)["请求"] if self.written == "REQUEST" else self.written
        return {"greeting": text, "place": text[:6], "explanation": f"其实{NAMES[kind]}"}

    def _confirmer(self, prompt: str) -> dict[str, Any]:
        kind = next(one for one in KINDS if FLAW_DESCRIPTIONS[one] in prompt)
        text = fenced(prompt)["祝福"]
        there = self.gullible or f"mark-{kind}" in text or f"hidden-{kind}" in text
        return {"explanation": "核对过", "verdict": int(there)}

    def _reflector(self, prompt: str) -> dict[str, Any]:
        text = fenced(prompt)["祝福"]
        kind = next((one for one in KINDS if f"mark-{one}" in text), None)
        if "# 定论\n不优秀" in prompt and kind:
            return {"advice": f"加一条：看有没有{NAMES[kind]}。"}
        return {"advice": "原则不必改"}

    def _optimise_d(self, prompt: str) -> dict[str, Any]:
        if self.rules_said is not None:
            return {"rules": self.rules_said, "evidence": []}
        rules = _numbered(_section(prompt, "现行原则"))
        draw = random.Random(f"{self.seed}|{_given(prompt)}")
        if draw.random() < self.harmful:
            return {"rules": self._harm(rules, draw), "evidence": []}
        advice = _section(prompt, "建议")
        missing = [kind for kind in KINDS if NAMES[kind] in advice and not any(NAMES[kind] in r for r in rules)]
        added = [self._added(kind) for kind in missing[:2]]
        telling = (*NAMES.values(), HARSH, LENIENT)
        kept = [rule for rule in rules if any(word in rule for word in telling)] or rules[:5]
        if draw.random() < self.mixed:
            added.append(draw.choice([HARSH, LENIENT]))
        made = [*kept, *added][-MAX_RULES:]
        return {"rules": made, "evidence": ["1" if rule in added else "0" for rule in made]}

    def _added(self, kind: Flaw) -> str:
        return f"看有没有{NAMES[kind]}。"

    def _harm(self, rules: list[str], draw: random.Random) -> list[str]:
        if draw.random() < 0.4 and len(rules) > 1:
            rules = list(rules)
            rules.pop(draw.randrange(len(rules)))
            return rules
        return [*rules, draw.choice([HARSH, LENIENT])][-MAX_RULES:]

    def _optimise_g(self, prompt: str) -> dict[str, Any]:
        rules = _numbered(_section(prompt, "现行策略"))
        draw = random.Random(f"{self.seed}|{_given(prompt)}")
        return {"rules": [*rules, draw.choice([HIDE, GIVE_UP])], "evidence": []}

    def _rewrite(self, prompt: str) -> dict[str, Any]:
        rules = _numbered(_section(prompt, "现行原则"))
        return {"rules": [*rules, f"看有没有{NAMES[KINDS[5]]}。"][-MAX_RULES:]}

    def _detector(self, prompt: str) -> dict[str, Any]:
        said = verdict(_numbered(_section(prompt, "评判原则")), fenced(prompt)["祝福"])
        return {"explanation": "看过了", "verdict": said}


@dataclass
class WorldClient:
    """A scripted client around a world."""

    world: World
    asked: int = 0

    async def complete(self, messages: Sequence[ChatMessage], *_: Any, **__: Any) -> Completion:
        """The world's reply."""
        self.asked += 1
        return Completion(self.world.answer(messages[0].content), str(self.asked))


class WorldBook(InMemoryGameRecord):
    """A book without a database."""

    def decided(self, role: Role) -> list[tuple[NewVersion, VersionOutcome]]:
        """Proposals of a role with what became of them, in order."""
        known = {one.version: one for one in self.outcomes}
        return [
            (new, known[id_])
            for id_, new in self.versions.items()
            if new.rules.role is role and new.parent is not None and id_ in known
        ]


@dataclass
class Played:
    """A run that is over."""

    table: GameRun
    book: WorldBook
    rows: dict[str, StepData] = field(default_factory=dict)

    def accuracy(self, row: str) -> float:
        """Accuracy on the locked set."""
        return float(self.rows[row]["accuracy"]["value"])


def play(world: World, given: Sequence[GameLabel], book: WorldBook | None = None, **settings: Any) -> Played:
    """A whole run in memory."""
    kept = book or WorldBook(first=3)
    table = table_of(world, given, kept, **settings)
    run_blocking(run_game(table, SEARCHERS))
    rows = {row["name"]: row for row in kept.steps[0, GamePhase.LOCKED]["rows"]}
    return Played(table, kept, rows)


def table_of(world: World, given: Sequence[GameLabel], book: WorldBook, **settings: Any) -> GameRun:
    """Everything laid out."""
    chosen = read_record(GameSettings, {"gate": 400, "rounds": 10, "patience": 6, "seed": world.seed, **settings})
    model = JudgeModel("http://world", "world", client=WorldClient(world))
    if not book.versions:
        book.versions = {
            1: NewVersion(first_detector(), None, "start"),  # type: ignore[arg-type]
            2: NewVersion(first_generator(), None, "start"),  # type: ignore[arg-type]
        }
    detector, generator = (RulesVersion(id_, book.versions[id_].rules) for id_ in (1, 2))
    return GameRun(
        agents=GameAgents(InstructedGenerator(model), model, model, model),
        build_judge=WorldJudge,
        partitions=partition_labels(given, chosen.gate, chosen.locked, "world"),
        settings=chosen,
        game_record=book,
        search_state=SearchState(detector, generator, detector),
    )


def fenced(prompt: str) -> dict[str, str]:
    """Fenced texts by label."""
    return {label: text for label, _, text in _FENCE.findall(prompt)}


def _inside(match: re.Match[str]) -> str:
    return match[3]


def _given(prompt: str) -> str:
    """What an optimiser is given, without the wording of its task: that may change, its choices stay."""
    return _FENCE.sub(_inside, prompt.split("\n# ", 1)[1].split("\n\n# 要求\n", 1)[0])


def _section(prompt: str, heading: str) -> str:
    return prompt.split(f"# {heading}\n", 1)[1].split("\n\n# ", 1)[0]


def _numbered(section: str) -> list[str]:
    return [line.partition(". ")[2] for line in section.splitlines() if line.strip()]


def serve(body: Mapping[str, Any]) -> str:
    """The world behind the fake server: `"reply": "tests.principles_world:serve"`."""
    prompt = next(str(one["content"]) for one in body["messages"] if one["role"] == "user")
    return World(1).answer(prompt)


def serve_mixed(body: Mapping[str, Any]) -> str:
    """The same with an optimiser whose every proposal carries something harmful along."""
    prompt = next(str(one["content"]) for one in body["messages"] if one["role"] == "user")
    return World(1, harmful=0.0, mixed=1.0).answer(prompt)


def serve_policy(body: Mapping[str, Any]) -> str:
    """The world, and a trained policy: it gets bare requests and writes with flaws the first S_D misses."""
    prompt = str(body["messages"][0]["content"])
    if "# " in prompt:
        return World(1).answer(prompt)
    marks = "".join(f"，mark-{kind}" for kind in KINDS[5:] if chance("policy", prompt, kind) < 0.7)
    return f"第{body['seed']}条祝福{marks}，愿你天天开心。"


def serve_same(body: Mapping[str, Any]) -> str:
    """The same with a Detector that likes everything."""
    prompt = next(str(one["content"]) for one in body["messages"] if one["role"] == "user")
    said = World(1).answer(prompt)
    return json.dumps({"explanation": "看过了", "verdict": 1}, ensure_ascii=False) if "# 评判原则" in prompt else said
