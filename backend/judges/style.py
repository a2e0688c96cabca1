"""A handful of surface features: how far form alone, without any wording, explains the verdicts."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.judges.base import Draft
from backend.judges.crossfit import CrossFitJudge, Floats, LazyJudge, Matrix, TrainingPool, crossfit, version

NAMES = (
    "字数",
    "字数对数",
    "逗号",
    "感叹号",
    "句数",
    "表情",
    "用字丰富度",
    "四字短语占比",
    "称呼开头",
    "比喻词",
    "愿",
    "祝",
)
SHOWN = 2
CONFIG = {"revision": 1, "features": NAMES}
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_CLAUSE = re.compile(r"[，,、；;：:。！!？?…~～.]+")
_SENTENCE = re.compile(r"[。！!？?…~～]+")
_FOUR = re.compile(r"[\u4e00-\u9fff]{4}")
_ADDRESS = re.compile(r"(最?亲爱的|尊敬的|敬爱的|最?可爱的|最爱的|致)")
_SIMILE = re.compile(r"[如像般]")


@dataclass(frozen=True)
class Standard:
    """Features with mean 0 and variance 1 over the training texts; a constant one counts nothing."""

    mean: Floats
    spread: Floats

    def apply(self, raw: Matrix) -> Matrix:
        """Standardised features (texts x features)."""
        from scipy import sparse

        centred = raw.toarray() - self.mean
        return sparse.csr_matrix(np.divide(centred, self.spread, out=0 * centred, where=self.spread > 0))


@dataclass(frozen=True)
class Style:
    """The features of `NAMES`, in that order."""

    def raw(self, texts: Sequence[str]) -> Matrix:
        """Features as they are measured (texts x features)."""
        from scipy import sparse

        return sparse.csr_matrix(np.array([measure(text) for text in texts], dtype=float))

    def explain(self, contributions: Matrix, total: float) -> Draft:
        """Names the features that move this greeting furthest from an average one."""
        parts = contributions.toarray().ravel()
        top = np.argsort(-np.abs(parts), kind="stable")[:SHOWN]
        reason = "，".join(f"{NAMES[i]} {parts[i]:+.1f}" for i in top)
        details = {name: float(part) for name, part in zip(NAMES, parts, strict=True)}
        return Draft(total, f"影响最大：{reason}", details)


def measure(text: str) -> tuple[float, ...]:
    """The features of a text without white space, in the order of `NAMES`."""
    clauses = [part for part in _CLAUSE.split(text) if part]
    return (
        len(text),
        math.log1p(len(text)),
        sum(text.count(mark) for mark in "，,、；"),
        sum(text.count(mark) for mark in "！!"),
        sum(1 for part in _SENTENCE.split(text) if part),
        len(_EMOJI.findall(text)),
        len(set(text)) / len(text),
        sum(1 for clause in clauses if _FOUR.fullmatch(clause)) / max(len(clauses), 1),
        float(_ADDRESS.match(text) is not None),
        len(_SIMILE.findall(text)),
        text.count("愿"),
        text.count("祝"),
    )


def fit_style(pool: TrainingPool) -> CrossFitJudge:
    """Cross-fit the style judge on the pool."""
    return crossfit("style", CONFIG, pool, Style(), _standard)


def lazy_style(pool: TrainingPool) -> LazyJudge:
    """The same judge, fitted when it first scores."""
    return LazyJudge("style", version("style", CONFIG, pool), lambda: fit_style(pool))


def _standard(raw: Matrix) -> Standard:
    values = raw.toarray()
    return Standard(values.mean(axis=0), values.std(axis=0))
