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

from backend.text import count_characters

DEBIAS_FILE = "debias.json"


@dataclass(frozen=True)
class LengthDebias:
    """A penalty (or bonus) for each character beyond the mean."""

    slope: float
    mean: float

    @classmethod
    def fit(cls, score_groups: Sequence[Sequence[tuple[str, float]]]) -> Self:
        """From (greeting, score) in groups of alike standing, such as chosen and rejected."""
        group_lengths = [
            np.array([count_characters(greeting_text) for greeting_text, _ in score_group], dtype=float)
            for score_group in score_groups
        ]
        group_scores = [np.array([score for _, score in score_group], dtype=float) for score_group in score_groups]
        length_deviations = np.concatenate(
            [greeting_lengths - greeting_lengths.mean() for greeting_lengths in group_lengths]
        )
        score_deviations = np.concatenate([score - score.mean() for score in group_scores])
        length_variation = float(length_deviations @ length_deviations)
        slope = float(length_deviations @ score_deviations) / length_variation if length_variation else 0.0
        return cls(slope, float(np.concatenate(group_lengths).mean()))

    @classmethod
    def load(cls, artifact_folder: Path) -> Self | None:
        """What lies beside the model; None where its scores are used as they are."""
        debias_path = artifact_folder / DEBIAS_FILE
        return cls(**json.loads(debias_path.read_text("utf-8"))) if debias_path.is_file() else None

    def save(self, artifact_folder: Path) -> None:
        """Beside the model."""
        (artifact_folder / DEBIAS_FILE).write_text(json.dumps(asdict(self)), "utf-8")

    def correct_score(self, greeting_text: str, score: float) -> float:
        """The score that a greeting of mean length would have had."""
        return score - self.slope * (count_characters(greeting_text) - self.mean)
