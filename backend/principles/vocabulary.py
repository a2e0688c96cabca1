"""Closed vocabularies of the game."""

from enum import StrEnum

from backend.vocabulary import Flaw


class Role(StrEnum):
    """Whose principles: the Detector's (what a judge looks for) or the Generator's (how to hide a flaw)."""

    DETECTOR = "S_D"
    GENERATOR = "S_G"


class Agent(StrEnum):
    """Who asks a model; each has a prompt file and may have an endpoint of its own."""

    GENERATOR = "generator"
    DETECTOR = "detector"
    CONFIRMER = "confirmer"
    REFLECTOR = "reflector"
    OPTIMISER = "optimiser"


class SearchMethod(StrEnum):
    """What searches for a better S_D."""

    GAME = "game"
    GEPA = "gepa"


class FlawConfirmer(StrEnum):
    """Who says whether a planted flaw is really there."""

    JUDGE = "judge"
    PERSON = "person"


class Proposer(StrEnum):
    """Where a version comes from."""

    START = "start"
    OPTIMISER = "optimiser"
    GEPA = "gepa"
    REWRITE = "rewrite"
    PERSON = "person"


class GamePhase(StrEnum):
    """The steps of a round, in order; each is stored before the next begins."""

    START = "start"
    ADVERSARY = "adversary"
    CONFIRM = "confirm"
    REFLECT = "reflect"
    PROPOSE_D = "propose_d"
    TRY_D = "try_d"
    TRIM = "trim"
    GATE_D = "gate_d"
    PROPOSE_G = "propose_g"
    DUEL = "duel"
    DUEL_CONFIRM = "duel_confirm"
    GATE_G = "gate_g"
    REWRITE = "rewrite"
    LOCKED = "locked"


class DecisionReason(StrEnum):
    """Why a version is in or not."""

    START = "start"
    BETTER = "better"
    NO_RULES = "no_rules"
    TOO_MANY = "too_many"
    TOO_LONG = "too_long"
    UNCHANGED = "unchanged"
    SEEN = "seen"
    MINIBATCH = "minibatch"
    TRIMMED = "trimmed"
    USELESS = "useless"
    UNSCORED = "unscored"
    GATE = "gate"
    SAFETY = "safety"
    NOT_FOOLING = "not_fooling"
    BASELINE = "baseline"
    BY_HAND = "by_hand"


class RunState(StrEnum):
    """How a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"  # for people to confirm planted flaws
    BUDGET = "budget"  # the cap was reached; a higher one goes on
    FAILED = "failed"
    DONE = "done"


FLAW_DESCRIPTIONS: dict[Flaw, str] = {
    Flaw.CLICHE: "套话：用熟语堆砌，换谁都能用，却装作是专门写的",
    Flaw.VAGUE: "空泛：看着热闹，没有一处贴着这个人、这件事",
    Flaw.WRONG_RELATIONSHIP: "身份不合：称呼、辈分、亲疏或语气与关系不符",
    Flaw.WRONG_OCCASION: "场合不对：混入了别的节日、典礼或人生大事的话",
    Flaw.IGNORED_DETAIL: "没回应要求：请求里点明的一项要紧内容没有落实",
    Flaw.TABOO: "犯忌讳：不吉利的谐音、意象或联想",
    Flaw.PRESSURE: "给压力：催婚催育、催前程、攀比、说教",
    Flaw.GRAMMAR: "语病：搭配不当、成分残缺、错字或生造词",
    Flaw.STIFF: "生硬：公文腔、翻译腔，情意不真",
    Flaw.OFF_LENGTH: "长短不合：凑字、重复，或不合请求写明的字数与体裁",
}
"""What the Generator is told to plant, by kind."""
