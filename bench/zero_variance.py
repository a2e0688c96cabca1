"""How many GRPO groups teach nothing, by verdicts and by ranking: `python -m bench.zero_variance`.

A greeting has a true quality (normal, spread 1 within a request), and the judge reads it with an error. A verdict is 1
above a threshold that gives the pass rate; a ranking orders what was read, and ties what falls into one of few grades.
Signal: the correlation of a group's advantages with the true qualities, 0 where the group has no variance.
"""

import argparse
import json
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
# Excellence rates of the publication: of its base model, after SFT, and under the judge's reward.
PASS_RATES, GROUP_SIZES, ERRORS = (0.538, 0.862, 0.966), (4, 8), (0.5, 1.0)
# A judge that tells any two greetings apart, and one that knows five grades, a standard deviation each.
GRADES = {"ranking": None, "ranking, five grades": 5}


def verdicts(readings: Floats, pass_rate: float, error: float) -> Floats:
    """1 or 0 for each reading (groups × greetings)."""
    threshold = NormalDist(0, float(np.hypot(1, error))).inv_cdf(1 - pass_rate)
    return (readings > threshold).astype(float)


def places(readings: Floats, grade_count: int | None) -> Floats:
    """Mid-ranks scaled to 0 … 1, as the ranking judge gives them (groups × greetings)."""
    graded = readings if grade_count is None else np.clip(np.round(readings), -(grade_count // 2), grade_count // 2)
    scaled: Floats = (rankdata(graded, axis=1) - 1) / (readings.shape[1] - 1)
    return scaled


def figures(rewards: Floats, qualities: Floats) -> dict[str, float]:
    """Share of groups without variance, and the mean signal of all groups."""
    spread = rewards.std(axis=1)
    has_variance = spread > 1e-9
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    centred_qualities = qualities - qualities.mean(axis=1, keepdims=True)
    products = (centred * centred_qualities).mean(axis=1)
    correlations = np.divide(products, spread * qualities.std(axis=1), out=np.zeros_like(products), where=has_variance)
    return {
        "zero_variance": round(float(1 - has_variance.mean()), 4),
        "signal": round(float(correlations.mean()), 3),
    }


def main() -> None:
    """One JSON line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=200_000)
    group_count: int = parser.parse_args().groups
    generator = np.random.default_rng(0)
    for group_size in GROUP_SIZES:
        for error in ERRORS:
            qualities = generator.normal(size=(group_count, group_size))
            readings = qualities + error * generator.normal(size=qualities.shape)
            setting = {"group": group_size, "error": error}
            for pass_rate in PASS_RATES:
                row = figures(verdicts(readings, pass_rate, error), qualities)
                print(json.dumps(setting | {"reward": f"verdict, pass rate {pass_rate}"} | row))
            for name, grade_count in GRADES.items():
                print(json.dumps(setting | {"reward": name} | figures(places(readings, grade_count), qualities)))


if __name__ == "__main__":
    main()
