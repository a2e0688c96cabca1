"""Sampling as visitors may set it: a generator's own defaults, replaced by what was given and makes sense."""

import math
from collections.abc import Mapping
from dataclasses import replace

from backend.errors import UserError
from backend.writing.writer import BIGGEST_SEED, Sampling

LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "max_tokens": (8, 2000),
}
_NAMES = {
    "temperature": ("Temperature", "温度"),
    "top_p": ("top_p", "top_p"),
    "max_tokens": ("The length limit", "最长字数"),
}


def sampling_for(usual: Sampling, given: Mapping[str, float | int], seed: int) -> Sampling:
    """Raises UserError naming what is out of its range."""
    for name, value in given.items():
        if name not in LIMITS:
            raise UserError(f"There is no setting “{name}”.", f"没有“{name}”这项设置。")
        low, high = LIMITS[name]
        if not math.isfinite(value) or not low <= value <= high:
            en, zh = _NAMES[name]
            raise UserError(f"{en} must be from {low:g} to {high:g}.", f"{zh}须在 {low:g} 到 {high:g} 之间。")
    return replace(
        usual,
        temperature=float(given.get("temperature", usual.temperature)),
        top_p=float(given.get("top_p", usual.top_p)),
        max_tokens=int(given.get("max_tokens", usual.max_tokens)),
        seed=seed % BIGGEST_SEED,
    )
