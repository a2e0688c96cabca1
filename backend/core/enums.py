"""Closed vocabularies: every enum that is stored, and the constants that belong to it. Standard library only.

The database keeps the values, so a value never changes its spelling."""

from enum import StrEnum


class Flaw(StrEnum):
    """Why a greeting is the weaker one; the reason chips of annotation use the same list."""

    CLICHE = "cliche"
    VAGUE = "vague"
    WRONG_RELATIONSHIP = "wrong_relationship"
    WRONG_OCCASION = "wrong_occasion"
    IGNORED_DETAIL = "ignored_detail"
    TABOO = "taboo"
    PRESSURE = "pressure"
    GRAMMAR = "grammar"
    STIFF = "stiff"
    OFF_LENGTH = "off_length"


class Source(StrEnum):
    """Who wrote a greeting."""

    HUMAN = "human"
    MODEL = "model"
    IMPORT = "import"


class RaterKind(StrEnum):
    """A person, the labels of an imported data set, or a judge at one exact version."""

    HUMAN = "human"
    DATASET = "dataset"
    JUDGE = "judge"


class Scale(StrEnum):
    """What a verdict's value means."""

    BINARY = "binary"  # 0 or 1
    RUBRIC = "rubric"  # weighted total, 1 to 3
    SCORE = "score"  # any real number, only its order means something


class Outcome(StrEnum):
    """What a rater said of two greetings; A is the one shown left (or first)."""

    A = "a"
    B = "b"
    BOTH_GOOD = "both_good"
    BOTH_BAD = "both_bad"
    SKIP = "skip"
    WITHDRAWN = "withdrawn"


class CampaignKind(StrEnum):
    """Compare two greetings of one prompt, or validate a judge's verdict on one."""

    COMPARE = "compare"
    VALIDATE = "validate"


class Split(StrEnum):
    """Splits never share a prompt."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


# Human rubric of the method: each dimension 1 to 3, a weighted total of at least 2 is excellent.
RUBRIC_WEIGHTS = {"language": 0.30, "creativity": 0.30, "emotion": 0.15, "culture": 0.15, "richness": 0.10}
RUBRIC_EXCELLENT = 2.0

# From which value on, this value included, a verdict calls a greeting excellent: by scale.
# None for Scale.SCORE: of a length or a log-probability only the order means something, so a threshold must be
# learnt from people's labels (`cross_fit_decisions`), and a judge on that scale can label no pairs.
DECISION_THRESHOLDS = {Scale.BINARY: 0.5, Scale.RUBRIC: RUBRIC_EXCELLENT}

# From which value on a judge gives the reward 1 instead of 0: by scale. A policy in training has no labels from which
# a threshold could be learnt; zero is where a model of log odds or of the difference between good and bad
# (Bradley-Terry) changes its mind.
REWARD_THRESHOLDS = {**DECISION_THRESHOLDS, Scale.SCORE: 0.0}


def is_excellent(verdict_value: float, verdict_scale: Scale) -> bool:
    """Whether a verdict calls its greeting excellent. Raises KeyError for a scale without a threshold."""
    return verdict_value >= DECISION_THRESHOLDS[verdict_scale]


class JobStatus(StrEnum):
    """Where a job stands. The row says it, and nothing else does."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"  # asked to stop after its current step
    PAUSED = "paused"
    CANCELLING = "cancelling"  # asked to stop, processes may still live
    CANCELLED = "cancelled"  # no process is left
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    LOST = "lost"  # the processes are gone and nobody saw how


# A process may exist.
ACTIVE_STATUSES = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING)
# Has ended before its work was done.
RESUMABLE_STATUSES = (JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.LOST)


class EventKind(StrEnum):
    """What a job event holds."""

    METRIC = "metric"  # data: name → number or null
    LOG = "log"  # data: {"level", "code", "en", "zh", "values", "text"}; older rows hold "text" alone
    SAMPLE = "sample"  # data: {"prompt", "text"}
    STATE = "state"  # data: {"status", "attempt", ...}, written by queue and worker


class EventLevel(StrEnum):
    """How much a line of a job's history matters to whoever watches it."""

    INFO = "info"
    WARNING = "warning"  # the work goes on, but somebody should look
    STOP = "stop"  # why the work ended before its end


class ArtifactKind(StrEnum):
    """What an artifact is."""

    CHECKPOINT = "checkpoint"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"
    JUDGE = "judge"
    DATASET_SNAPSHOT = "dataset_snapshot"


# Origin of pairs that only a judge labelled: read where they are asked for, never for "everything".
LABELLED_BY_JUDGE = "panel"
# Origin of pairs that a judge proposed and people accepted or turned: by now a person's word.
CONFIRMED_BY_PEOPLE = "confirmed"
# Origins that begin with a judge: the baselines that judges are held against never learn from them.
JUDGE_ORIGINS = (LABELLED_BY_JUDGE, CONFIRMED_BY_PEOPLE)


class PairStage(StrEnum):
    """How far a run is. Writing and judging take turns, a chunk of prompts at a time."""

    FILTERING = "filtering"
    WRITING = "writing"
    JUDGING = "judging"
    PAIRING = "pairing"
    DONE = "done"


class PairState(StrEnum):
    """What stands about a pair now; see `USABLE_STATES` for which of them training and export read."""

    PROPOSED = "proposed"  # the panel decided, nobody else looked
    CHECKING = "checking"  # handed to people, waits for their answers
    REVIEW = "review"  # people and panel part; a person must decide
    ACCEPTED = "accepted"
    FLIPPED = "flipped"
    DISCARDED = "discarded"


# States in which a pair stands in the run's data set.
USABLE_STATES = frozenset({PairState.PROPOSED, PairState.ACCEPTED, PairState.FLIPPED})
# States that no person has decided.
OPEN_STATES = frozenset({PairState.PROPOSED, PairState.CHECKING, PairState.REVIEW})


class Decider(StrEnum):
    """Who brought a pair into its state."""

    PANEL = "panel"  # the judge of the run
    PEOPLE = "people"  # the majority of a campaign
    PERSON = "person"  # one reviewer on the page or the command line


class CardState(StrEnum):
    """How far a card is; the last three are final."""

    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


FINAL_STATES = (CardState.DONE, CardState.FAILED, CardState.STOPPED)


class CardChange(StrEnum):
    """How another version of a greeting should differ from the one shown."""

    AGAIN = "again"
    SHORTER = "shorter"
    WARMER = "warmer"
    FUNNIER = "funnier"
    CLASSICAL = "classical"


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


# What the Generator is told to plant, by kind.
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
