"""Programs run as `python -m backend.training.programs.X`: the only place with torch. Nobody imports it."""

from backend.training.programs.environment import prepare_environment

# Here, since a package is run before any of its modules: what the libraries read, they read while they are imported.
prepare_environment()
