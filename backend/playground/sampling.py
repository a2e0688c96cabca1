"""Sampling as visitors may set it: a generator's own defaults, replaced by what was given and makes sense."""

import math
from collections.abc import Mapping
from dataclasses import replace

from backend.errors import UserError
from backend.writing.writer import BIGGEST_SEED, SamplingSettings

SAMPLING_LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "max_tokens": (8, 2000),
}
_SETTING_NAMES = {
    "temperature": ("Temperature", "温度"),
    "top_p": ("top_p", "top_p"),
    "max_tokens": ("The length limit", "最长字数"),
}


def visitor_sampling(
    default_sampling: SamplingSettings, overrides: Mapping[str, float | int], draw_seed: int
) -> SamplingSettings:
    """Raises UserError naming what is out of its range."""
    for setting_name, setting_value in overrides.items():
        if setting_name not in SAMPLING_LIMITS:
            raise UserError(f"There is no setting “{setting_name}”.", f"没有“{setting_name}”这项设置。")
        lower_limit, upper_limit = SAMPLING_LIMITS[setting_name]
        if not math.isfinite(setting_value) or not lower_limit <= setting_value <= upper_limit:
            en, zh = _SETTING_NAMES[setting_name]
            raise UserError(
                f"{en} must be from {lower_limit:g} to {upper_limit:g}.",
                f"{zh}须在 {lower_limit:g} 到 {upper_limit:g} 之间。",
            )
    return replace(
        default_sampling,
        temperature=float(overrides.get("temperature", default_sampling.temperature)),
        top_p=float(overrides.get("top_p", default_sampling.top_p)),
        max_tokens=int(overrides.get("max_tokens", default_sampling.max_tokens)),
        seed=draw_seed % BIGGEST_SEED,
    )
