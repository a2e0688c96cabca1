"""The bank of clauses in `data/starter/`, read and checked. Files are TOML, one clause a line."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.core.text import assign_bucket

BANK_FOLDER = PROJECT_ROOT / "data" / "starter"
ANY_AUDIENCE, CHILD_AUDIENCE, GROUP_AUDIENCE, SELF_AUDIENCE = "any", "child", "group", "self"
EVENTS_ROLE = "events"
CLAUSE_ROLES = (
    "open", "wish", "image", "close", "funny", "literary", "classical", "four", "formal", EVENTS_ROLE
)  # fmt: skip
SMALL_TALK_PLACES = ("before", "when", "after")
# So many clauses of its own in a role, and a child hears no others: what fits grown-ups fits no child.
ENOUGH_OWN_CLAUSES = 4
# Of a hundred pairs of occasion and recipient so many are never composed: there the model is measured. Which ones, a
# hash of the two names says: a new occasion moves no pair that was held out before into what is learnt from.
HELD_OUT_PERCENT = 5

ClausesByRole = Mapping[str, Sequence[str]]


class Mood(StrEnum):
    """The tone of an occasion; rules.toml says which words a mood does not bear."""

    JOY = "joy"
    WARM = "warm"
    PUSH = "push"  # before an exam, a race: courage
    CARE = "care"  # illness, an apology
    GRIEF = "grief"


@dataclass(frozen=True)
class Occasion:
    """One file of `occasions/`: `key` is the file's name, `name` the occasion as prompts are tagged with it.

    `number_words` fill {n} in texts, `general_events` are what may happen to anybody, `weight` how often it is drawn.
    """

    key: str
    name: str
    request_names: tuple[str, ...]
    general_events: tuple[str, ...]
    mood: Mood
    invited_audiences: tuple[str, ...]
    clauses_by_audience: Mapping[str, ClausesByRole]
    number_words: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    weight: int = 1
    plural: bool = False
    ill: bool = False
    festival: bool = False


@dataclass(frozen=True)
class Recipient:
    """Whom a greeting is for: how a request names them, how they are addressed, what fits only them.

    `weight` is how often they are drawn, `givers` who is named in requests as the one who greets them.
    """

    name: str
    tag: str
    audiences: tuple[str, ...]
    third_person: str
    second_person: str
    request_names: tuple[str, ...]
    address_forms: tuple[str, ...]
    personal_clauses: tuple[str, ...]
    caring_clauses: tuple[str, ...] = ()
    weight: int = 1
    givers: tuple[str, ...] = ()

    def belongs_to(self, audience: str) -> bool:
        """Whether clauses for `audience` (a group or the recipient itself) may be said to them."""
        return audience in (*self.audiences, self.name) or (
            audience == ANY_AUDIENCE and SELF_AUDIENCE not in self.audiences
        )


@dataclass(frozen=True)
class RecipientDetail:
    """What a request may tell of the recipient besides, and what the greeting says to it."""

    key: str
    request_phrases: tuple[str, ...]
    greeting_clauses: tuple[str, ...]
    fitting_audiences: tuple[str, ...] = ()

    def fits(self, recipient: Recipient) -> bool:
        """Whether it may be told of the recipient."""
        audience_names = (*recipient.audiences, recipient.name)
        return (
            not {SELF_AUDIENCE, GROUP_AUDIENCE} & set(audience_names)
            if not self.fitting_audiences
            else bool(set(self.fitting_audiences) & set(audience_names))
        )


@dataclass(frozen=True)
class RequestPatterns:
    """How people ask: sentence patterns by kind, what for, how they wish a style, what they say around it.

    `modifiers` are words of search boxes that ask for nothing in particular.
    """

    things: tuple[str, ...]
    modifiers: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]]
    adjectives: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, tuple[str, ...]]
    talk: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ClauseBank:
    """Everything in `data/starter/`; `unfit_patterns` say by mood or audience which words it does not bear."""

    occasions: tuple[Occasion, ...]
    recipients: tuple[Recipient, ...]
    details: tuple[RecipientDetail, ...]
    requests: RequestPatterns
    unfit_patterns: Mapping[str, re.Pattern[str]]

    @cached_property
    def guests_by_occasion(self) -> dict[str, list[Recipient]]:
        """By occasion: who may be greeted, without the pairs that are held out."""
        return {
            occasion.key: [guest for guest in self.invited_recipients(occasion) if not is_held_out(occasion, guest)]
            for occasion in self.occasions
        }

    def invited_recipients(self, occasion: Occasion) -> list[Recipient]:
        """Who may be greeted on the occasion."""
        return [
            recipient
            for recipient in self.recipients
            if {*recipient.audiences, recipient.name} & set(occasion.invited_audiences)
        ]

    def clauses(self, occasion: Occasion, recipient: Recipient | None, clause_role: str) -> list[str]:
        """The clauses of one role that may be said to the recipient; None is nobody in particular."""
        cache_key = (occasion.key, recipient.name if recipient else "", clause_role)
        if cache_key not in self._cached_clauses:
            self._cached_clauses[cache_key] = self._select_clauses(occasion, recipient, clause_role)
        return self._cached_clauses[cache_key]

    def own_clauses(self, occasion: Occasion, recipient: Recipient | None, clause_role: str) -> list[str]:
        """The clauses of one role that were written for the recipient or its audiences."""
        general_clauses = set(occasion.clauses_by_audience[ANY_AUDIENCE].get(clause_role, ()))
        return [clause for clause in self.clauses(occasion, recipient, clause_role) if clause not in general_clauses]

    def possible_events(self, occasion: Occasion, recipient: Recipient) -> list[str]:
        """What may happen to the recipient on the occasion."""
        cache_key = (occasion.key, recipient.name)
        if cache_key not in self._cached_events:
            self._cached_events[cache_key] = self._select_events(occasion, recipient)
        return self._cached_events[cache_key]

    def _select_events(self, occasion: Occasion, recipient: Recipient) -> list[str]:
        special_audiences = {SELF_AUDIENCE, GROUP_AUDIENCE} & set(recipient.audiences)
        general_events = (
            occasion.general_events
            if not special_audiences or (occasion.festival and GROUP_AUDIENCE in special_audiences)
            else ()
        )
        audience_events = [
            event_text
            for audience, clauses_by_role in occasion.clauses_by_audience.items()
            if recipient.belongs_to(audience)
            for event_text in clauses_by_role.get(EVENTS_ROLE, ())
        ]
        return [
            possible_event
            for possible_event in (*general_events, *audience_events)
            if SELF_AUDIENCE in special_audiences or self.fits(possible_event, occasion.mood, recipient)
        ]

    @cached_property
    def _cached_clauses(self) -> dict[tuple[str, str, str], list[str]]:
        # A cached property, because nothing can be assigned to a frozen dataclass later.
        return {}

    @cached_property
    def _cached_events(self) -> dict[tuple[str, str], list[str]]:
        return {}

    def _select_clauses(self, occasion: Occasion, recipient: Recipient | None, clause_role: str) -> list[str]:
        audience_clauses = [
            (audience, clause)
            for audience, clauses_by_role in occasion.clauses_by_audience.items()
            if (audience == ANY_AUDIENCE if recipient is None else _is_suitable_for(recipient, audience, clause_role))
            for clause in clauses_by_role.get(clause_role, ())
            if self.fits(clause, occasion.mood, recipient)
        ]
        own_clauses = [clause for audience, clause in audience_clauses if audience != ANY_AUDIENCE]
        if recipient is not None and CHILD_AUDIENCE in recipient.audiences and len(own_clauses) >= ENOUGH_OWN_CLAUSES:
            return own_clauses
        return [clause for _, clause in audience_clauses]

    def fits(self, clause: str, mood: Mood, recipient: Recipient | None) -> bool:
        """Whether no rule keeps the clause from this mood and this recipient."""
        rule_names = (mood, *(recipient.audiences if recipient else ()))
        return not any(
            rule_name in self.unfit_patterns and self.unfit_patterns[rule_name].search(clause)
            for rule_name in rule_names
        )

    def count_clauses(self) -> int:
        """How many distinct clauses the bank holds, personal and detail clauses included."""
        clause_groups = [
            clause_groups for occasion in self.occasions for clause_groups in occasion.clauses_by_audience.values()
        ]
        distinct_clauses = {
            clause
            for clauses_by_role in clause_groups
            for role_clauses in clauses_by_role.values()
            for clause in role_clauses
        }
        distinct_clauses |= {
            clause
            for recipient in self.recipients
            for clause in (*recipient.personal_clauses, *recipient.caring_clauses)
        }
        return len(distinct_clauses | {clause for detail in self.details for clause in detail.greeting_clauses})


def is_held_out(occasion: Occasion, recipient: Recipient) -> bool:
    """Whether this pair is kept for measuring."""
    return assign_bucket(f"{occasion.key} {recipient.name}", 100, "starter") < HELD_OUT_PERCENT


def load_bank(bank_folder: Path = BANK_FOLDER) -> ClauseBank:
    """Read and check every file. Raises UserError naming the file and the entry that is wrong."""
    request_table = _read_toml(bank_folder / "requests.toml")
    rule_table = _read_toml(bank_folder / "rules.toml")
    with _name_file_in_errors("recipients.toml"):
        recipients = tuple(
            _parse_recipient(entry_name, toml_entry)
            for entry_name, toml_entry in _read_toml(bank_folder / "recipients.toml").items()
        )
    with _name_file_in_errors("details.toml"):
        details = tuple(_parse_detail(*toml_entry) for toml_entry in _read_toml(bank_folder / "details.toml").items())
    with _name_file_in_errors("requests.toml"):
        request_patterns = RequestPatterns(
            tuple(request_table["things"]),
            tuple(request_table["modifiers"]),
            {
                pattern_kind: _split_lines(pattern_text)
                for pattern_kind, pattern_text in request_table["patterns"].items()
            },
            {
                style_name: tuple(style_words["adjectives"])
                for style_name, style_words in request_table["styles"].items()
            },
            {style_name: tuple(style_words["phrases"]) for style_name, style_words in request_table["styles"].items()},
            {talk_place: tuple(request_table["talk"][talk_place]) for talk_place in SMALL_TALK_PLACES},
        )
    # A clause may be for a single recipient, so their names count as audiences too.
    known_audiences = {
        audience_name for recipient in recipients for audience_name in (*recipient.audiences, recipient.name)
    } | {ANY_AUDIENCE}
    # Sorted: draws go by position, and a folder lists its files in any order.
    occasion_files = sorted((bank_folder / "occasions").glob("*.toml"))
    return ClauseBank(
        tuple(_load_occasion(occasion_file, known_audiences) for occasion_file in occasion_files),
        recipients,
        details,
        request_patterns,
        {
            rule_name: re.compile(word_pattern)
            for rule_section in rule_table.values()
            for rule_name, word_pattern in rule_section.items()
        },
    )


def _is_suitable_for(recipient: Recipient, audience: str, clause_role: str) -> bool:
    # Jokes about money and closings like "your treat" are not for those one says 您 to on duty.
    if audience == ANY_AUDIENCE and clause_role in ("close", "funny") and "formal" in recipient.audiences:
        return False
    if audience == ANY_AUDIENCE and SELF_AUDIENCE in recipient.audiences:
        return clause_role in ("wish", "image", "four", "literary", "classical")
    return recipient.belongs_to(audience)


def _load_occasion(file_path: Path, known_audiences: set[str]) -> Occasion:
    toml_entry = _read_toml(file_path)
    with _name_file_in_errors(f"occasions/{file_path.name}"):
        audience_sections = {
            section_name: section_clauses
            for section_name, section_clauses in toml_entry.items()
            if isinstance(section_clauses, dict)
        }
        unknown_words = [
            audience_name
            for audience_name in (*toml_entry["to"], *audience_sections)
            if audience_name not in known_audiences
        ]
        # A misspelt role would else hold clauses that nobody ever draws.
        unknown_words += [
            clause_role
            for section_clauses in audience_sections.values()
            for clause_role in section_clauses
            if clause_role not in CLAUSE_ROLES
        ]
        if unknown_words or ANY_AUDIENCE not in audience_sections:
            raise KeyError(unknown_words[0] if unknown_words else ANY_AUDIENCE)
        return Occasion(
            key=file_path.stem,
            name=toml_entry["occasion"],
            request_names=tuple(toml_entry["names"]),
            general_events=tuple(toml_entry["events"]),
            mood=Mood(toml_entry["mood"]),
            invited_audiences=tuple(toml_entry["to"]),
            clauses_by_audience={
                section_name: _parse_clauses(section_clauses)
                for section_name, section_clauses in audience_sections.items()
            },
            number_words=tuple(toml_entry.get("numbers", ())),
            things=tuple(toml_entry.get("thing", ())),
            weight=toml_entry.get("weight", 1),
            **{flag_name: toml_entry.get(flag_name, False) for flag_name in ("plural", "ill", "festival")},
        )


def _parse_clauses(section_texts: Mapping[str, str]) -> ClausesByRole:
    return {
        clause_role: tuple(clause_lines.split()) if clause_role == "four" else _split_lines(clause_lines)
        for clause_role, clause_lines in section_texts.items()
    }


def _parse_recipient(recipient_name: str, toml_entry: Mapping[str, Any]) -> Recipient:
    return Recipient(
        name=recipient_name,
        tag=toml_entry["tag"],
        audiences=tuple(toml_entry["audiences"]),
        third_person=toml_entry["third"],
        second_person=toml_entry["you"],
        request_names=tuple(toml_entry["names"]),
        address_forms=tuple(toml_entry["calls"]),
        personal_clauses=_split_lines(toml_entry["line"]),
        caring_clauses=_split_lines(toml_entry.get("care", "")),
        weight=toml_entry.get("weight", 1),
        givers=tuple(toml_entry.get("from", ())),
    )


def _parse_detail(detail_key: str, toml_entry: Mapping[str, Any]) -> RecipientDetail:
    return RecipientDetail(
        detail_key,
        tuple(toml_entry["asks"]),
        _split_lines(toml_entry["line"]),
        tuple(toml_entry.get("to", ())),
    )


def _split_lines(clause_lines: str) -> tuple[str, ...]:
    return tuple(clause_line.strip() for clause_line in clause_lines.splitlines() if clause_line.strip())


def _read_toml(file_path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file_path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _broken_file_error(file_path.name, str(error)) from error


class _name_file_in_errors:
    """What is missing or wrong in a file becomes a sentence with its name."""

    def __init__(self, file_name: str) -> None:
        self._file_name = file_name

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyError | ValueError | AttributeError | TypeError):
            raise _broken_file_error(self._file_name, f"{type(error).__name__}: {error}") from error


def _broken_file_error(file_name: str, reason: str) -> UserError:
    return UserError(
        f"data/starter/{file_name} cannot be used ({reason}); correct that entry.",
        f"data/starter/{file_name} 无法使用（{reason}），请改正该处。",
    )
