"""Tables, stored JSON and stored spellings."""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from sqlalchemy import inspect, select, text

import backend
from backend.core.enums import Role
from backend.core.stored_records import read_record, stored_json
from backend.db.base import Base
from backend.db.principle_tables import PrincipleRun
from backend.generation.writer import SamplingSettings
from backend.judges.base import JudgeSpec
from backend.judges.scoring.records import ScoreRequest
from backend.preferences.plan import CandidateRecipe
from backend.preferences.records import PairingReport, PairRequest
from backend.principles.algorithm.rules import RuleSet
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import PlantedFlaw
from backend.principles.dealing import plain_partitions, read_partitions
from backend.training.settings import find_settings_class, parse_settings
from tests.golden.looks.home import House


def tables(house: House) -> dict[str, tuple[list[str], list[list[Any]], set[str]]]:
    """Every table: its columns, its rows as stored (ordered), and which columns hold JSON."""
    found = {}
    json_columns = {
        name: {column.name for column in table.columns if column.type.__class__.__name__ == "JSON"}
        for name, table in Base.metadata.tables.items()
    }
    with house.database.read() as session:
        for name in sorted(inspect(session.connection()).get_table_names()):
            columns = [one["name"] for one in inspect(session.connection()).get_columns(name)]
            listed = ", ".join(f'"{column}"' for column in columns)
            rows = session.execute(text(f'SELECT {listed} FROM "{name}" ORDER BY 1')).all()
            found[name] = (columns, [list(row) for row in rows], json_columns.get(name, set()))
    return found


def schema(house: House) -> list[str]:
    """The statements that would make the database, enum spellings and constraints with them."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' "
    with house.database.read() as session:
        return list(session.scalars(text(f"{query} ORDER BY type DESC, name")))


def written_again(house: House) -> dict[str, list[tuple[str, str]]]:
    """Stored JSON beside what today's reader and writer make of it, by kind."""
    found = {kind: list(_pairs_of(house, query, again)) for kind, (query, again) in _READERS.items()}
    return {**found, "rules": list(_rules_again(house)), "deals": list(_deals_again(house))}


def _settings_again(program: str) -> Callable[[Any], Any]:
    """What a job of the home stored; settings that came after it have to be at their defaults."""
    defaults = find_settings_class(program)().model_dump(mode="json")

    def again(value: Any) -> Any:
        written = parse_settings(program, value).model_dump(mode="json")
        assert {name: one for name, one in written.items() if name not in value} == {
            name: one for name, one in defaults.items() if name not in value
        }
        return {name: one for name, one in written.items() if name in value}

    return again


def _recipe_again(value: Any) -> Any:
    return stored_json(read_record(CandidateRecipe, {"generator": "g", **value}))


def _planted_again(value: Any) -> Any:
    """A case with what else stands beside it in the step."""
    made = stored_json(read_record(PlantedFlaw, value))
    return {name: made.get(name, one) for name, one in value.items()} | made


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "score jobs": (
        "SELECT config FROM jobs WHERE kind = 'score'",
        lambda value: stored_json(read_record(ScoreRequest, value)),
    ),
    "sft jobs": ("SELECT config FROM jobs WHERE kind = 'sft'", _settings_again("sft")),
    "reward model jobs": (
        "SELECT config FROM jobs WHERE kind = 'reward_model'",
        _settings_again("reward_model"),
    ),
    "pair runs": ("SELECT config FROM pair_runs", lambda value: stored_json(read_record(PairRequest, value))),
    "reports of pair runs": (
        "SELECT report FROM pair_runs WHERE report <> '{}'",
        lambda value: stored_json(read_record(PairingReport, value)),
    ),
    "recipes": ("SELECT recipe FROM candidates", _recipe_again),
    "judges": (
        "SELECT json_extract(config, '$.spec') FROM raters WHERE json_extract(config, '$.spec') <> ''",
        lambda value: stored_json(read_record(JudgeSpec, value)),
    ),
    "settings of games": (
        "SELECT settings FROM principle_runs",
        lambda value: stored_json(read_record(GameSettings, value)),
    ),
    "planted flaws": (
        "SELECT one.value FROM principle_steps, json_each(principle_steps.data, '$.cases') AS one "
        "WHERE principle_steps.phase = 'adversary'",
        _planted_again,
    ),
    "sampling of cards": ("SELECT sampling FROM play_cards", lambda value: asdict(SamplingSettings(**value))),
}
"""Where each kind of stored JSON lies, and its reader with its writer behind it."""


def _pairs_of(house: House, query: str, again: Callable[[Any], Any]) -> Iterator[tuple[str, str]]:
    with house.database.read() as session:
        stored = session.execute(text(query)).scalars().all()
    for one in stored:
        value = json.loads(one)
        yield json.dumps(value), json.dumps(again(value))


def _rules_again(house: House) -> Iterator[tuple[str, str]]:
    with house.database.read() as session:
        rows = session.execute(text("SELECT role, rules FROM principles")).all()
    for role, rules in rows:
        value = json.loads(rules)
        yield json.dumps(value), json.dumps(RuleSet.from_stored(Role(role), value).stored_rules)


def _deals_again(house: House) -> Iterator[tuple[str, str]]:
    with house.database.read() as session:
        runs = session.scalars(select(PrincipleRun).order_by(PrincipleRun.id)).all()
        for run in runs:
            yield json.dumps(run.labels), json.dumps(plain_partitions(read_partitions(session, run.labels)))


def spellings() -> list[list[str]]:
    """The values of every closed vocabulary of the application, whatever its class is called."""
    found = set()
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        if ".training.programs." in module.name or module.name.endswith("__main__"):
            continue  # torch stays out of this process, and mains are not run
        for kind in vars(importlib.import_module(module.name)).values():
            ours = isinstance(kind, type) and kind.__module__.startswith("backend.")
            if ours and issubclass(kind, StrEnum):
                found.add(tuple(one.value for one in kind))
    return sorted(map(list, found))
