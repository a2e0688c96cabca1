"""Programs run as `python -m backend.training.programs.X`: the only place with torch. Nobody imports it."""
