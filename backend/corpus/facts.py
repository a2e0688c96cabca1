"""What a data set already says about the texts of one chunk of rows, and whether a row fits it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from backend.core.enums import Source
from backend.core.errors import Message
from backend.core.text import digest
from backend.corpus.rows import ImportRow
from backend.db.publication import publish_greetings, publish_prompts
from backend.db.tables import DatasetEntry, Greeting, PreferencePair, Prompt, Verdict

GreetingKey = tuple[str, str]  # hash of the prompt, hash of the greeting


class HashedRow(NamedTuple):
    """A row with the hashes of its prompt and of its greetings, in their order."""

    row: ImportRow
    prompt_hash: str
    greeting_keys: tuple[GreetingKey, ...]


@dataclass
class ChunkFacts:
    """What a data set already says about the texts of one chunk."""

    prompts: set[str] = field(default_factory=set)
    members: set[GreetingKey] = field(default_factory=set)
    pairs: set[tuple[GreetingKey, GreetingKey]] = field(default_factory=set)
    labels: dict[GreetingKey, int] = field(default_factory=dict)

    def contradiction_of(self, hashed: HashedRow) -> Message | None:
        """Why the row contradicts what is known; None where it does not."""
        for greeting_key, row_label in zip(hashed.greeting_keys, hashed.row.labels, strict=False):
            if (stored_label := self.labels.get(greeting_key, row_label)) != row_label:
                return Message(
                    f"the same greeting is already labelled {stored_label} for this prompt, here {row_label}",
                    f"同一请求的同一条祝福语已标为 {stored_label}，这里却是 {row_label}",
                )
        # Both directions in one data set would cancel each other in training; the first stored one stays.
        if hashed.row.pair and hashed.greeting_keys[::-1] in self.pairs:
            return Message(
                "the same two greetings are already stored with the opposite preference",
                "同样的两条祝福语已存有相反的偏好",
            )
        return None

    def learn(self, hashed: HashedRow) -> bool:
        """Take the row in; False where every fact of it was known."""
        # Sets only grow, so that a larger sum is a new fact, whichever of the four it is.
        size_before = self._fact_count()
        if not hashed.greeting_keys:
            self.prompts.add(hashed.prompt_hash)
        self.members.update(hashed.greeting_keys)
        self.labels.update(zip(hashed.greeting_keys, hashed.row.labels, strict=False))
        if hashed.row.pair:
            self.pairs.add((hashed.greeting_keys[0], hashed.greeting_keys[1]))
        return self._fact_count() > size_before

    def _fact_count(self) -> int:
        return len(self.prompts) + len(self.members) + len(self.pairs) + len(self.labels)


@dataclass(frozen=True)
class ImportTarget:
    """Where rows go."""

    dataset_id: int
    rater_id: int | None
    source: Source
    origin: str
    # The unfinished import that hides the rows; None where they are seen at once.
    import_id: int | None = None


def hash_row(row: ImportRow) -> HashedRow:
    """The row with its hashes."""
    prompt_hash = digest(row.prompt)
    return HashedRow(row, prompt_hash, tuple((prompt_hash, digest(text)) for text in row.greetings))


def load_facts(session: Session, target: ImportTarget, hashed_rows: Sequence[HashedRow]) -> ChunkFacts:
    """What is stored of the texts that the items speak of."""
    ids_by_prompt = find_prompt_ids(session, {hashed.prompt_hash for hashed in hashed_rows})
    greeting_keys = {
        greeting_key
        for hashed in hashed_rows
        for greeting_key in hashed.greeting_keys
        if greeting_key[0] in ids_by_prompt
    }
    ids_by_greeting = find_greeting_ids(session, ids_by_prompt, greeting_keys)
    key_by_id = {greeting_id: greeting_key for greeting_key, greeting_id in ids_by_greeting.items()}
    entries = session.execute(
        select(DatasetEntry.prompt_id, DatasetEntry.greeting_id).where(
            DatasetEntry.dataset_id == target.dataset_id,
            DatasetEntry.greeting_id.in_(key_by_id)
            | (DatasetEntry.greeting_id.is_(None) & DatasetEntry.prompt_id.in_(ids_by_prompt.values())),
        )
    ).all()
    hash_by_id = {prompt_id: prompt_hash for prompt_hash, prompt_id in ids_by_prompt.items()}
    return ChunkFacts(
        prompts={hash_by_id[prompt_id] for prompt_id, member_id in entries if member_id is None},
        members={key_by_id[member_id] for _, member_id in entries if member_id is not None},
        pairs=_load_pairs(session, target, hashed_rows, ids_by_greeting),
        labels=_load_labels(session, target, key_by_id),
    )


def _load_pairs(
    session: Session,
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    greeting_ids: dict[GreetingKey, int],
) -> set[tuple[GreetingKey, GreetingKey]]:
    pair_keys: dict[tuple[int, int], tuple[GreetingKey, GreetingKey]] = {}
    for hashed in hashed_rows:
        if hashed.row.pair and all(greeting_key in greeting_ids for greeting_key in hashed.greeting_keys):
            first_key, second_key = hashed.greeting_keys
            pair_keys[greeting_ids[first_key], greeting_ids[second_key]] = (first_key, second_key)
            # The reverse is looked for as well, since that is what a contradiction is.
            pair_keys[greeting_ids[second_key], greeting_ids[first_key]] = (second_key, first_key)
    stored_rows = session.execute(
        select(PreferencePair.chosen_id, PreferencePair.rejected_id).where(
            PreferencePair.dataset_id == target.dataset_id,
            tuple_(PreferencePair.chosen_id, PreferencePair.rejected_id).in_(list(pair_keys)),
        )
    )
    return {pair_keys[chosen_id, rejected_id] for chosen_id, rejected_id in stored_rows}


def _load_labels(session: Session, target: ImportTarget, key_by_id: dict[int, GreetingKey]) -> dict[GreetingKey, int]:
    if target.rater_id is None:
        return {}
    label_rows = session.execute(
        select(Verdict.greeting_id, Verdict.value).where(
            Verdict.rater_id == target.rater_id,
            # Verdicts on items of campaigns are people's and no labels of a file.
            Verdict.item_id.is_(None),
            Verdict.greeting_id.in_(key_by_id),
        )
    )
    return {
        key_by_id[greeting_id]: int(label_value) for greeting_id, label_value in label_rows if label_value is not None
    }


def find_prompt_ids(session: Session, hashes: Iterable[str]) -> dict[str, int]:
    """Ids of the prompts that are stored, by hash."""
    stored_rows = session.execute(select(Prompt.text_hash, Prompt.id).where(Prompt.text_hash.in_(list(hashes))))
    return {stored_row[0]: stored_row[1] for stored_row in stored_rows}


def publish_prompt_ids(session: Session, hashes: Iterable[str]) -> dict[str, int]:
    """Ids of prompts that were just stored, also where an unfinished import had stored them before."""
    wanted_hashes = list(hashes)
    publish_prompts(session, wanted_hashes)
    return find_prompt_ids(session, wanted_hashes)


def find_greeting_ids(
    session: Session, prompt_ids: dict[str, int], greeting_keys: Iterable[GreetingKey]
) -> dict[GreetingKey, int]:
    """Ids of the greetings that are stored, by key."""
    wanted_keys = {
        (prompt_ids[prompt_hash], text_hash): (prompt_hash, text_hash) for prompt_hash, text_hash in greeting_keys
    }
    stored_rows = session.execute(
        select(Greeting.prompt_id, Greeting.text_hash, Greeting.id).where(
            tuple_(Greeting.prompt_id, Greeting.text_hash).in_(list(wanted_keys))
        )
    )
    return {wanted_keys[prompt_id, text_hash]: greeting_id for prompt_id, text_hash, greeting_id in stored_rows}


def publish_greeting_ids(
    session: Session, prompt_ids: dict[str, int], greeting_keys: Iterable[GreetingKey]
) -> dict[GreetingKey, int]:
    """Ids of greetings that were just stored, also where an unfinished import had stored them before."""
    wanted_keys = list(greeting_keys)
    publish_greetings(session, [(prompt_ids[prompt_hash], text_hash) for prompt_hash, text_hash in wanted_keys])
    return find_greeting_ids(session, prompt_ids, wanted_keys)
