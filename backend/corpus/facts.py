"""What a data set already says about the texts of one chunk of rows, and whether a row fits it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from backend.corpus.rows import Row
from backend.db.publication import publish_greetings, publish_prompts
from backend.db.tables import DatasetEntry, Greeting, PreferencePair, Prompt, Verdict
from backend.errors import Message
from backend.text import digest
from backend.vocabulary import Source

GreetingKey = tuple[str, str]  # hash of the prompt, hash of the greeting


class Keyed(NamedTuple):
    """A row and the hashes that identify what it speaks of."""

    row: Row
    prompt: str
    greetings: tuple[GreetingKey, ...]


@dataclass
class Facts:
    """What a data set already says about the texts of one chunk."""

    prompts: set[str] = field(default_factory=set)
    members: set[GreetingKey] = field(default_factory=set)
    pairs: set[tuple[GreetingKey, GreetingKey]] = field(default_factory=set)
    labels: dict[GreetingKey, int] = field(default_factory=dict)

    def denied_by(self, item: Keyed) -> Message | None:
        """Why the row contradicts what is known; None where it does not."""
        for key, label in zip(item.greetings, item.row.labels, strict=False):
            if (known := self.labels.get(key, label)) != label:
                return Message(
                    f"the same greeting is already labelled {known} for this prompt, here {label}",
                    f"同一请求的同一条祝福语已标为 {known}，这里却是 {label}",
                )
        if item.row.pair and item.greetings[::-1] in self.pairs:
            return Message(
                "the same two greetings are already stored with the opposite preference",
                "同样的两条祝福语已存有相反的偏好",
            )
        return None

    def learn(self, item: Keyed) -> bool:
        """Take the row in; False where every fact of it was known."""
        before = self._size()
        if not item.greetings:
            self.prompts.add(item.prompt)
        self.members.update(item.greetings)
        self.labels.update(zip(item.greetings, item.row.labels, strict=False))
        if item.row.pair:
            self.pairs.add((item.greetings[0], item.greetings[1]))
        return self._size() > before

    def _size(self) -> int:
        return len(self.prompts) + len(self.members) + len(self.pairs) + len(self.labels)


@dataclass(frozen=True)
class Target:
    """Where rows go."""

    dataset: int
    rater: int | None
    source: Source
    origin: str
    import_id: int | None = None
    """The unfinished import that hides the rows; None where they are seen at once."""


def keyed(row: Row) -> Keyed:
    """The row with its hashes."""
    prompt = digest(row.prompt)
    return Keyed(row, prompt, tuple((prompt, digest(text)) for text in row.greetings))


def known(session: Session, target: Target, items: Sequence[Keyed]) -> Facts:
    """What is stored of the texts that the items speak of."""
    prompts = prompt_ids(session, {item.prompt for item in items})
    keys = {key for item in items for key in item.greetings if key[0] in prompts}
    ids = greeting_ids(session, prompts, keys)
    key_of = {id_: key for key, id_ in ids.items()}
    entries = session.execute(
        select(DatasetEntry.prompt_id, DatasetEntry.greeting_id).where(
            DatasetEntry.dataset_id == target.dataset,
            DatasetEntry.greeting_id.in_(key_of)
            | (DatasetEntry.greeting_id.is_(None) & DatasetEntry.prompt_id.in_(prompts.values())),
        )
    ).all()
    hash_of = {id_: hash_ for hash_, id_ in prompts.items()}
    return Facts(
        prompts={hash_of[prompt] for prompt, greeting in entries if greeting is None},
        members={key_of[greeting] for _, greeting in entries if greeting is not None},
        pairs=_known_pairs(session, target, items, ids),
        labels=_known_labels(session, target, key_of),
    )


def _known_pairs(
    session: Session, target: Target, items: Sequence[Keyed], ids: dict[GreetingKey, int]
) -> set[tuple[GreetingKey, GreetingKey]]:
    asked: dict[tuple[int, int], tuple[GreetingKey, GreetingKey]] = {}
    for item in items:
        if item.row.pair and all(key in ids for key in item.greetings):
            first, second = item.greetings
            asked[ids[first], ids[second]] = (first, second)
            asked[ids[second], ids[first]] = (second, first)
    found = session.execute(
        select(PreferencePair.chosen_id, PreferencePair.rejected_id).where(
            PreferencePair.dataset_id == target.dataset,
            tuple_(PreferencePair.chosen_id, PreferencePair.rejected_id).in_(list(asked)),
        )
    )
    return {asked[chosen, rejected] for chosen, rejected in found}


def _known_labels(session: Session, target: Target, key_of: dict[int, GreetingKey]) -> dict[GreetingKey, int]:
    if target.rater is None:
        return {}
    found = session.execute(
        select(Verdict.greeting_id, Verdict.value).where(
            Verdict.rater_id == target.rater,
            Verdict.item_id.is_(None),
            Verdict.greeting_id.in_(key_of),
        )
    )
    return {key_of[greeting]: int(value) for greeting, value in found if value is not None}


def prompt_ids(session: Session, hashes: Iterable[str]) -> dict[str, int]:
    """Ids of the prompts that are stored, by hash."""
    found = session.execute(select(Prompt.text_hash, Prompt.id).where(Prompt.text_hash.in_(list(hashes))))
    return {row[0]: row[1] for row in found}


def stored_prompt_ids(session: Session, hashes: Iterable[str]) -> dict[str, int]:
    """Ids of prompts that were just stored, also where an unfinished import had stored them before."""
    wanted = list(hashes)
    publish_prompts(session, wanted)
    return prompt_ids(session, wanted)


def greeting_ids(
    session: Session, prompts: dict[str, int], keys: Iterable[GreetingKey]
) -> dict[GreetingKey, int]:
    """Ids of the greetings that are stored, by key."""
    wanted = {(prompts[prompt], text): (prompt, text) for prompt, text in keys}
    found = session.execute(
        select(Greeting.prompt_id, Greeting.text_hash, Greeting.id).where(
            tuple_(Greeting.prompt_id, Greeting.text_hash).in_(list(wanted))
        )
    )
    return {wanted[prompt, text]: id_ for prompt, text, id_ in found}


def stored_greeting_ids(
    session: Session, prompts: dict[str, int], keys: Iterable[GreetingKey]
) -> dict[GreetingKey, int]:
    """Ids of greetings that were just stored, also where an unfinished import had stored them before."""
    wanted = list(keys)
    publish_greetings(session, [(prompts[prompt], text) for prompt, text in wanted])
    return greeting_ids(session, prompts, wanted)
