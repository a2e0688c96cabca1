"""Programs run as `python -m backend.training.X`; the only room with torch. Nobody imports it."""

from backend.training.environment import prepare_environment

prepare_environment()
