"""The bank of clauses in `data/starter/`, read and checked. Files are TOML, one clause a line."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from backend.errors import UserError
from backend.settings import ROOT
from backend.text import bucket

FOLDER = ROOT / "data" / "starter"
ANY, CHILD, GROUP, SELF = "any", "child", "group", "self"
EVENTS = "events"
ROLES = (
    "open", "wish", "image", "close", "funny", "literary", "classical", "four", "formal", EVENTS
)  # fmt: skip
TALK = ("before", "when", "after")
OWN = 4
"""So many clauses of its own in a role, and a child hears no others: what fits grown-ups fits no child."""
HELD_OUT = 5
"""Of a hundred pairs of occasion and recipient so many are never composed: there the model is measured."""

Parts = Mapping[str, Sequence[str]]


class Mood(StrEnum):
    """The tone of an occasion; rules.toml says which words a mood does not bear."""

    JOY = "joy"
    WARM = "warm"
    PUSH = "push"  # before an exam, a race: courage
    CARE = "care"  # illness, an apology
    GRIEF = "grief"


@dataclass(frozen=True)
class Occasion:
    """One file of `occasions/`. `parts` are clauses by audience and role, `numbers` fill {n}."""

    key: str
    name: str
    names: tuple[str, ...]
    events: tuple[str, ...]
    mood: Mood
    to: tuple[str, ...]
    parts: Mapping[str, Parts]
    numbers: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    weight: int = 1
    plural: bool = False
    ill: bool = False
    festival: bool = False


@dataclass(frozen=True)
class Recipient:
    """Whom a greeting is for: how a request names them, how they are addressed, what fits only them."""

    name: str
    tag: str
    audiences: tuple[str, ...]
    third: str
    you: str
    names: tuple[str, ...]
    calls: tuple[str, ...]
    line: tuple[str, ...]
    care: tuple[str, ...] = ()

    def belongs(self, audience: str) -> bool:
        """Whether clauses for `audience` (a group or the recipient itself) may be said to them."""
        return audience in (*self.audiences, self.name) or (audience == ANY and SELF not in self.audiences)


@dataclass(frozen=True)
class Detail:
    """What a request may tell of the recipient besides, and what the greeting says to it."""

    key: str
    asks: tuple[str, ...]
    line: tuple[str, ...]
    to: tuple[str, ...] = ()

    def fits(self, recipient: Recipient) -> bool:
        """Whether it may be told of the recipient."""
        groups = (*recipient.audiences, recipient.name)
        return not {SELF, GROUP} & set(groups) if not self.to else bool(set(self.to) & set(groups))


@dataclass(frozen=True)
class Requests:
    """How people ask: sentence patterns by kind, what for, how they wish a style, what they say around it."""

    things: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]]
    adjectives: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, tuple[str, ...]]
    talk: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Bank:
    """Everything in `data/starter/`."""

    occasions: tuple[Occasion, ...]
    recipients: tuple[Recipient, ...]
    details: tuple[Detail, ...]
    requests: Requests
    unfit: Mapping[str, re.Pattern[str]]

    @cached_property
    def guests(self) -> dict[str, list[Recipient]]:
        """By occasion: who may be greeted, without the pairs that are held out."""
        return {
            one.key: [who for who in self.invited(one) if not held_out(one, who)] for one in self.occasions
        }

    def invited(self, occasion: Occasion) -> list[Recipient]:
        """Who may be greeted on the occasion."""
        return [who for who in self.recipients if {*who.audiences, who.name} & set(occasion.to)]

    def clauses(self, occasion: Occasion, recipient: Recipient | None, role: str) -> list[str]:
        """The clauses of one role that may be said to the recipient; None is nobody in particular."""
        key = (occasion.key, recipient.name if recipient else "", role)
        if key not in self._known:
            self._known[key] = self._clauses(occasion, recipient, role)
        return self._known[key]

    def own(self, occasion: Occasion, recipient: Recipient | None, role: str) -> list[str]:
        """Those of them that were written for the recipient or its audiences."""
        general = set(occasion.parts[ANY].get(role, ()))
        return [one for one in self.clauses(occasion, recipient, role) if one not in general]

    def events(self, occasion: Occasion, recipient: Recipient) -> list[str]:
        """What may happen to the recipient on the occasion."""
        alone = {SELF, GROUP} & set(recipient.audiences)
        general = occasion.events if not alone or (occasion.festival and GROUP in alone) else ()
        own = [
            event
            for audience, parts in occasion.parts.items()
            if recipient.belongs(audience)
            for event in parts.get(EVENTS, ())
        ]
        return [one for one in (*general, *own) if SELF in alone or self.fits(one, occasion.mood, recipient)]

    @cached_property
    def _known(self) -> dict[tuple[str, str, str], list[str]]:
        return {}

    def _clauses(self, occasion: Occasion, recipient: Recipient | None, role: str) -> list[str]:
        found = [
            (audience, clause)
            for audience, parts in occasion.parts.items()
            if (audience == ANY if recipient is None else _said_to(recipient, audience, role))
            for clause in parts.get(role, ())
            if self.fits(clause, occasion.mood, recipient)
        ]
        own = [clause for audience, clause in found if audience != ANY]
        if recipient is not None and CHILD in recipient.audiences and len(own) >= OWN:
            return own
        return [clause for _, clause in found]

    def fits(self, clause: str, mood: Mood, recipient: Recipient | None) -> bool:
        """Whether no rule keeps the clause from this mood and this recipient."""
        names = (mood, *(recipient.audiences if recipient else ()))
        return not any(name in self.unfit and self.unfit[name].search(clause) for name in names)

    def count(self) -> int:
        """Distinct clauses."""
        parts = [parts for one in self.occasions for parts in one.parts.values()]
        found = {clause for each in parts for clauses in each.values() for clause in clauses}
        found |= {clause for who in self.recipients for clause in (*who.line, *who.care)}
        return len(found | {clause for detail in self.details for clause in detail.line})


def held_out(occasion: Occasion, recipient: Recipient) -> bool:
    """Whether this pair is kept for measuring."""
    return bucket(f"{occasion.key} {recipient.name}", 100, "starter") < HELD_OUT


def load(folder: Path = FOLDER) -> Bank:
    """Read and check every file. Raises UserError naming the file and the entry that is wrong."""
    requests = _toml(folder / "requests.toml")
    rules = _toml(folder / "rules.toml")
    with _named("recipients.toml"):
        recipients = tuple(
            _recipient(name, entry) for name, entry in _toml(folder / "recipients.toml").items()
        )
    with _named("details.toml"):
        details = tuple(_detail(*entry) for entry in _toml(folder / "details.toml").items())
    with _named("requests.toml"):
        asked = Requests(
            tuple(requests["things"]),
            {kind: _lines(text) for kind, text in requests["patterns"].items()},
            {style: tuple(words["adjectives"]) for style, words in requests["styles"].items()},
            {style: tuple(words["phrases"]) for style, words in requests["styles"].items()},
            {place: tuple(requests["talk"][place]) for place in TALK},
        )
    known = {word for who in recipients for word in (*who.audiences, who.name)} | {ANY}
    files = sorted((folder / "occasions").glob("*.toml"))
    return Bank(
        tuple(_occasion(file, known) for file in files),
        recipients,
        details,
        asked,
        {name: re.compile(words) for part in rules.values() for name, words in part.items()},
    )


def _said_to(recipient: Recipient, audience: str, role: str) -> bool:
    # Jokes about money and closings like "your treat" are not for those one says 您 to on duty.
    if audience == ANY and role in ("close", "funny") and "formal" in recipient.audiences:
        return False
    if audience == ANY and SELF in recipient.audiences:
        return role in ("wish", "image", "four", "literary", "classical")
    return recipient.belongs(audience)


def _occasion(path: Path, known: set[str]) -> Occasion:
    entry = _toml(path)
    with _named(f"occasions/{path.name}"):
        sections = {name: part for name, part in entry.items() if isinstance(part, dict)}
        strange = [word for word in (*entry["to"], *sections) if word not in known]
        strange += [role for part in sections.values() for role in part if role not in ROLES]
        if strange or ANY not in sections:
            raise KeyError(strange[0] if strange else ANY)
        return Occasion(
            key=path.stem,
            name=entry["occasion"],
            names=tuple(entry["names"]),
            events=tuple(entry["events"]),
            mood=Mood(entry["mood"]),
            to=tuple(entry["to"]),
            parts={name: _parts(part) for name, part in sections.items()},
            numbers=tuple(entry.get("numbers", ())),
            things=tuple(entry.get("thing", ())),
            weight=entry.get("weight", 1),
            **{flag: entry.get(flag, False) for flag in ("plural", "ill", "festival")},
        )


def _parts(part: Mapping[str, str]) -> Parts:
    return {role: tuple(text.split()) if role == "four" else _lines(text) for role, text in part.items()}


def _recipient(name: str, entry: Mapping[str, Any]) -> Recipient:
    return Recipient(
        name=name,
        tag=entry["tag"],
        audiences=tuple(entry["audiences"]),
        third=entry["third"],
        you=entry["you"],
        names=tuple(entry["names"]),
        calls=tuple(entry["calls"]),
        line=_lines(entry["line"]),
        care=_lines(entry.get("care", "")),
    )


def _detail(key: str, entry: Mapping[str, Any]) -> Detail:
    return Detail(key, tuple(entry["asks"]), _lines(entry["line"]), tuple(entry.get("to", ())))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _broken(path.name, str(error)) from error


class _named:
    """What is missing or wrong in a file becomes a sentence with its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyError | ValueError | AttributeError | TypeError):
            raise _broken(self._name, f"{type(error).__name__}: {error}") from error


def _broken(name: str, why: str) -> UserError:
    return UserError(
        f"data/starter/{name} cannot be used ({why}); correct that entry.",
        f"data/starter/{name} 无法使用（{why}），请改正该处。",
    )
