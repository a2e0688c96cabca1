"""A handful of surface features: how far form alone, without any wording, explains the verdicts."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.judges.base import Judgment
from backend.judges.crossfit import (
    CrossFitJudge,
    FloatArray,
    LazyJudge,
    SparseMatrix,
    TrainingPool,
    crossfit_version,
    fit_crossfit,
)

FEATURE_NAMES = (
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
SHOWN_FEATURES = 2
STYLE_CONFIG = {"revision": 1, "features": FEATURE_NAMES}
_EMOJI_PATTERN = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_CLAUSE_BREAK = re.compile(r"[，,、；;：:。！!？?…~～.]+")
_SENTENCE_BREAK = re.compile(r"[。！!？?…~～]+")
_FOUR_CHARACTERS = re.compile(r"[\u4e00-\u9fff]{4}")
_ADDRESS_OPENING = re.compile(r"(最?亲爱的|尊敬的|敬爱的|最?可爱的|最爱的|致)")
_SIMILE_WORD = re.compile(r"[如像般]")


@dataclass(frozen=True)
class StandardScaling:
    """Features with mean 0 and variance 1 over the training texts; a constant one counts nothing."""

    mean: FloatArray
    spread: FloatArray

    def apply(self, raw_features: SparseMatrix) -> SparseMatrix:
        """Standardised features (texts x features)."""
        from scipy import sparse

        # Dense: twelve columns, and centring fills a sparse matrix anyway.
        centred_features = raw_features.toarray() - self.mean
        return sparse.csr_matrix(
            np.divide(centred_features, self.spread, out=0 * centred_features, where=self.spread > 0)
        )


@dataclass(frozen=True)
class StyleFeatures:
    """The features of `FEATURE_NAMES`, in that order."""

    def raw_features(self, texts: Sequence[str]) -> SparseMatrix:
        """Features as they are measured (texts x features)."""
        from scipy import sparse

        return sparse.csr_matrix(np.array([measure_style(greeting_text) for greeting_text in texts], dtype=float))

    def explain(self, contributions: SparseMatrix, total_logit: float) -> Judgment:
        """Names the features that move this greeting furthest from an average one."""
        feature_contributions = contributions.toarray().ravel()
        # Stable, so that the same greeting is always given the same reason.
        top_indices = np.argsort(-np.abs(feature_contributions), kind="stable")[:SHOWN_FEATURES]
        reason_text = "，".join(
            f"{FEATURE_NAMES[feature_index]} {feature_contributions[feature_index]:+.1f}"
            for feature_index in top_indices
        )
        details = {
            feature_name: float(contribution)
            for feature_name, contribution in zip(FEATURE_NAMES, feature_contributions, strict=True)
        }
        return Judgment(total_logit, f"影响最大：{reason_text}", details)


def measure_style(greeting_text: str) -> tuple[float, ...]:
    """The features of a text without white space, in the order of `FEATURE_NAMES`."""
    clauses = [text_part for text_part in _CLAUSE_BREAK.split(greeting_text) if text_part]
    return (
        len(greeting_text),
        math.log1p(len(greeting_text)),
        sum(greeting_text.count(punctuation) for punctuation in "，,、；"),
        sum(greeting_text.count(punctuation) for punctuation in "！!"),
        sum(1 for text_part in _SENTENCE_BREAK.split(greeting_text) if text_part),
        len(_EMOJI_PATTERN.findall(greeting_text)),
        len(set(greeting_text)) / len(greeting_text),
        sum(1 for clause in clauses if _FOUR_CHARACTERS.fullmatch(clause)) / max(len(clauses), 1),
        float(_ADDRESS_OPENING.match(greeting_text) is not None),
        len(_SIMILE_WORD.findall(greeting_text)),
        greeting_text.count("愿"),
        greeting_text.count("祝"),
    )


def fit_style(pool: TrainingPool) -> CrossFitJudge:
    """Cross-fit the style judge on the pool."""
    return fit_crossfit("style", STYLE_CONFIG, pool, StyleFeatures(), _fit_standard)


def lazy_style(pool: TrainingPool) -> LazyJudge:
    """The same judge, fitted when it first scores."""
    return LazyJudge("style", crossfit_version("style", STYLE_CONFIG, pool), lambda: fit_style(pool))


def _fit_standard(raw_features: SparseMatrix) -> StandardScaling:
    dense_features = raw_features.toarray()
    return StandardScaling(dense_features.mean(axis=0), dense_features.std(axis=0))
