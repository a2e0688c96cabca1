"""A house with the simulated world behind its endpoint and labels of that world."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.core.stored_records import read_record
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunRequest, VersionInfo
from backend.services import Services
from tests.llm_fixtures import FakeLLM
from tests.principles_world import labels
from tests.scoring_helpers import house

REPLY = "tests.principles_world:serve"
SMALL = {"rounds": 2, "labelled": 8, "attacks": 4, "duels": 8, "gate": 80, "locked": 40, "alpha": 0.2}


def world_file(folder: Path, size: int = 300, seed: int = 1) -> Path:
    """Labels of the world as a file to import."""
    path = folder / "world.jsonl"
    rows = [{"query": one.prompt, "response": one.greeting, "label": int(one.good)} for one in labels(size, seed)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@contextmanager
def world_house(fake: FakeLLM, **endpoint: Any) -> Iterator[Services]:
    """Services with the endpoint "fake", the data set "world", and agents that answer as the world does."""
    fake.script(reply=REPLY)
    with house(fake, **endpoint) as services:
        if "world" not in {one.name for one in services.corpus.datasets()}:
            services.corpus.import_file(world_file(services.settings.home), dataset="world")
        yield services


def request(**changes: Any) -> RunRequest:
    """A small run."""
    given = {name: changes.pop(name) for name in ("max_calls", "detector", "generator") if name in changes}
    return RunRequest("world", read_record(GameSettings, {**SMALL, **changes}), **given)


def told(versions: list[VersionInfo]) -> list[tuple[Any, ...]]:
    """Versions without their numbers."""
    place = {one.id: number for number, one in enumerate(versions)}
    return [
        (one.role, one.rules.texts, place.get(one.parent or 0), one.accepted, one.why, one.score) for one in versions
    ]
