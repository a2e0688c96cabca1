"""Closed vocabularies that cross rooms: flaws, splits, outcomes."""

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


RUBRIC_WEIGHTS = {"language": 0.30, "creativity": 0.30, "emotion": 0.15, "culture": 0.15, "richness": 0.10}
"""Human rubric of the method: each dimension 1 to 3, a weighted total of at least 2 is excellent."""
RUBRIC_EXCELLENT = 2.0
