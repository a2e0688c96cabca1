"""A reward without what length alone explains.

`score - slope * (characters - mean)`: the slope is that of a least-squares line of score on length,
fitted on the training greetings *within* chosen and within rejected, so that "good ones are longer" is not
taken for "longer is better". The figures lie in `debias.json` beside the model,
and only the model as it is loaded for others (`reward_server.RewardModel`) takes them out of its scores.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from backend.text import length

FILE = "debias.json"


@dataclass(frozen=True)
class Debias:
    """A penalty (or bonus) for each character beyond the mean."""

    slope: float
    mean: float

    @classmethod
    def fit(cls, groups: Sequence[Sequence[tuple[str, float]]]) -> Self:
        """From (greeting, score) in groups of alike standing, such as chosen and rejected."""
        sizes = [np.array([length(text) for text, _ in group], dtype=float) for group in groups]
        scores = [np.array([score for _, score in group], dtype=float) for group in groups]
        gaps = np.concatenate([size - size.mean() for size in sizes])
        rises = np.concatenate([score - score.mean() for score in scores])
        spread = float(gaps @ gaps)
        slope = float(gaps @ rises) / spread if spread else 0.0
        return cls(slope, float(np.concatenate(sizes).mean()))

    @classmethod
    def load(cls, artifact: Path) -> Self | None:
        """What lies beside the model; None where its scores are used as they are."""
        path = artifact / FILE
        return cls(**json.loads(path.read_text("utf-8"))) if path.is_file() else None

    def save(self, artifact: Path) -> None:
        """Beside the model."""
        (artifact / FILE).write_text(json.dumps(asdict(self)), "utf-8")

    def apply(self, text: str, score: float) -> float:
        """The score that a greeting of mean length would have had."""
        return score - self.slope * (length(text) - self.mean)
