"""Normal rows into the database: chunk by chunk, idempotent, never against what is stored; older rows change last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, select, true, update
from sqlalchemy.orm import DeclarativeBase, Session

from backend.core.enums import RaterKind, Scale, Source
from backend.core.errors import Conflict, Message
from backend.core.text import assign_split
from backend.corpus.facts import (
    ChunkFacts,
    GreetingKey,
    HashedRow,
    ImportTarget,
    hash_row,
    load_facts,
    publish_greeting_ids,
    publish_prompt_ids,
)
from backend.corpus.rows import ImportRow
from backend.db.base import BATCH_ROWS, in_batches, insert_ignore, utc_now
from backend.db.engine import Database
from backend.db.publication import read_with_unpublished
from backend.db.tables import (
    ClickCount,
    Dataset,
    DatasetEntry,
    Greeting,
    Import,
    ImportChange,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)

PromptTags = tuple[str | None, str | None, str | None]
# Hash of a prompt; its occasion, recipient and style.
TaggedPrompt = tuple[str, PromptTags]
_TAG_COLUMNS = (Prompt.occasion, Prompt.recipient, Prompt.style)


def tag_prompts(
    session: Session, tagged: Iterable[TaggedPrompt], extra_condition: ColumnElement[bool] | None = None
) -> None:
    """Give tags to prompts that were stored without, as when their text came from a plain list first."""
    tagged_list = list(tagged)
    for tag_index, column in enumerate(_TAG_COLUMNS):
        # One UPDATE a tag instead of one a prompt, since the write lock is held meanwhile.
        prompts_by_tag: dict[str, set[str]] = {}
        for prompt, tags in tagged_list:
            if tag := tags[tag_index]:
                prompts_by_tag.setdefault(tag, set()).add(prompt)
        for tag, prompts in prompts_by_tag.items():
            session.execute(
                update(Prompt)
                .where(
                    Prompt.text_hash.in_(prompts),
                    # A tag that stands is not overwritten, so that importing two files again changes nothing.
                    column.is_(None),
                    true() if extra_condition is None else extra_condition,
                )
                .values({column.key: tag})
                .execution_options(synchronize_session=False)
            )


def raise_clicks(
    session: Session,
    dataset_id: int,
    click_counts: Mapping[int, int],
    extra_condition: ColumnElement[bool] | None = None,
) -> None:
    """Bring the counts of greetings, by id, up to the given ones where those are higher."""
    if not click_counts:
        return
    click_table: Any = ClickCount.__table__
    update_statement = (
        update(click_table)
        .where(
            click_table.c.dataset_id == dataset_id,
            click_table.c.greeting_id == bindparam("greeting"),
            click_table.c.clicks < bindparam("clicks_now"),
            true() if extra_condition is None else extra_condition,
        )
        .values(clicks=bindparam("clicks_now"))
    )
    session.execute(
        update_statement,
        [{"greeting": greeting_id, "clicks_now": click_count} for greeting_id, click_count in click_counts.items()],
    )


def tag_or_note_prompts(session: Session, import_id: int, tagged: Iterable[TaggedPrompt]) -> None:
    """Tag the import's own prompts, and note what others lack."""
    tagged_list = list(tagged)
    tag_prompts(session, tagged_list, Prompt.import_id == import_id)
    lacks_tag = Prompt.occasion.is_(None) | Prompt.recipient.is_(None) | Prompt.style.is_(None)
    # Not <>, which is neither true nor false where import_id is null: in what no large import brought.
    foreign_rows = Prompt.import_id.is_distinct_from(import_id)
    tagged_hashes = [prompt for prompt, _ in tagged_list]
    untagged_hashes = set(
        session.scalars(select(Prompt.text_hash).where(Prompt.text_hash.in_(tagged_hashes), lacks_tag, foreign_rows))
    )
    _store_note(
        session,
        import_id,
        tags=[[prompt, *tags] for prompt, tags in tagged_list if prompt in untagged_hashes],
    )


def raise_or_note_clicks(session: Session, import_id: int, dataset_id: int, click_counts: Mapping[int, int]) -> None:
    """Raise the import's own counts, and note what exceeds others."""
    raise_clicks(session, dataset_id, click_counts, ClickCount.import_id == import_id)
    rows = session.execute(
        select(ClickCount.greeting_id, ClickCount.clicks).where(
            ClickCount.dataset_id == dataset_id,
            ClickCount.greeting_id.in_(click_counts),
            ClickCount.import_id.is_distinct_from(import_id),
        )
    )
    exceeding_counts = [
        [greeting_id, click_counts[greeting_id]]
        for greeting_id, click_count in rows
        if click_count < click_counts[greeting_id]
    ]
    _store_note(session, import_id, clicks=exceeding_counts, dataset=dataset_id)


def _store_note(session: Session, import_id: int, **values: Any) -> None:
    # Others' rows are not touched before the import is whole: a withdrawn one could not take the change back.
    if values.get("tags") or values.get("clicks"):
        session.add(ImportChange(import_id=import_id, values=values))
        session.flush()


def apply_change(session: Session, noted_change: ImportChange) -> None:
    """Apply one noted change: tags for prompts without, click counts that are higher than those stored."""
    tags: Sequence[Any] = noted_change.values.get("tags", ())
    tag_prompts(session, [(tag_entry[0], (tag_entry[1], tag_entry[2], tag_entry[3])) for tag_entry in tags])
    click_counts = {
        int(greeting_id): int(click_count) for greeting_id, click_count in noted_change.values.get("clicks", ())
    }
    raise_clicks(session, noted_change.values.get("dataset", 0), click_counts)


# Rows of a file that are checked against what is stored, and stored, together.
# The checks ask for up to four values a row in one IN list, and SQLite takes 32,766 parameters.
CHUNK_ROWS = 1_000

TransactionFactory = Callable[[], AbstractContextManager[Session]]


class ChunkOutcome(NamedTuple):
    """What became of a chunk."""

    added: int
    duplicate: int
    denied: list[tuple[int, Message]]


class ImportUnderWay(Conflict):
    """A large import into the same data set has not ended yet; nothing was stored."""


def prepare_target(
    session: Session,
    dataset_name: str,
    dataset_kind: str,
    source: Source,
    *,
    labelled: bool,
    import_id: int | None = None,
) -> ImportTarget:
    """The data set called `dataset_name` (and the rater its labels belong to), made where it is new.

    Raises ImportUnderWay where another import into it has not ended.
    """
    _refuse_second_import(session, dataset_name, import_id)
    dataset_row = session.scalar(select(Dataset).where(Dataset.name == dataset_name))
    if dataset_row is None:
        dataset_row = Dataset(name=dataset_name, kind=dataset_kind, import_id=import_id)
        session.add(dataset_row)
    dataset_rater = find_dataset_rater(session, dataset_name)
    if dataset_rater is None and labelled:
        # An empty version, not null: SQL takes two nulls for different, and the unique constraint would let a
        # second in.
        dataset_rater = Rater(kind=RaterKind.DATASET, name=dataset_name, version="", config={}, import_id=import_id)
        session.add(dataset_rater)
    session.flush()
    origin = "seed" if dataset_kind == "seed" else "import"
    return ImportTarget(dataset_row.id, dataset_rater.id if dataset_rater else None, source, origin, import_id)


def _refuse_second_import(session: Session, dataset_name: str, import_id: int | None) -> None:
    unfinished = select(Import.id).where(Import.dataset == dataset_name, Import.finished_at.is_(None))
    if any(other_id != import_id for other_id in session.scalars(unfinished)):
        raise ImportUnderWay(
            f"An import into “{dataset_name}” is under way; try again when it has ended.",
            f"正在向“{dataset_name}”导入数据，请等它结束后再试。",
        )


def find_dataset_rater(session: Session, dataset_name: str) -> Rater | None:
    """The rater whose verdicts are the labels of the data set; None where it has none."""
    return session.scalar(
        select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == dataset_name, Rater.version == "")
    )


def store_chunk(session: Session, target: ImportTarget, rows: Sequence[ImportRow]) -> ChunkOutcome:
    """Insert a chunk's new facts, all within the session's transaction."""
    return _store_chunk(target, rows, lambda: nullcontext(session), lambda: nullcontext(session))


def store_unpublished(
    database: Database, writing: TransactionFactory, target: ImportTarget, rows: Sequence[ImportRow]
) -> ChunkOutcome:
    """Insert a chunk's new facts in short transactions; `target.import_id` hides them.

    `writing` opens each of them. Nobody else may store into the data set meanwhile.
    """
    return _store_chunk(target, rows, lambda: read_with_unpublished(database), writing)


def _store_chunk(
    target: ImportTarget, rows: Sequence[ImportRow], reading: TransactionFactory, writing: TransactionFactory
) -> ChunkOutcome:
    hashed_rows = [hash_row(row) for row in rows]
    with reading() as session:
        facts = load_facts(session, target, hashed_rows)
    fresh, denied = _split_by_facts(facts, hashed_rows)
    clicked = [hashed for hashed in hashed_rows if hashed.row.clicks is not None]
    if fresh or clicked:
        _insert_facts(target, fresh, clicked, reading, writing)
    return ChunkOutcome(len(fresh), len(rows) - len(fresh) - len(denied), denied)


def _split_by_facts(
    facts: ChunkFacts, hashed_rows: Sequence[HashedRow]
) -> tuple[list[HashedRow], list[tuple[int, Message]]]:
    """The rows that say something new, and those that deny what is known, with the reason."""
    fresh: list[HashedRow] = []
    denied: list[tuple[int, Message]] = []
    for hashed in hashed_rows:
        if (objection := facts.contradiction_of(hashed)) is not None:
            denied.append((hashed.row.line, objection))
        elif facts.learn(hashed):
            fresh.append(hashed)
    return fresh, denied


def _insert_facts(
    target: ImportTarget,
    fresh: Sequence[HashedRow],
    clicked: Sequence[HashedRow],
    reading: TransactionFactory,
    writing: TransactionFactory,
) -> None:
    stored = [*fresh, *clicked]
    # Rows often share a prompt; the first of them brings it, as it would in the database.
    new_prompts = {hashed.prompt_hash: _prompt_columns(target, hashed) for hashed in reversed(fresh)}
    # Prompts, greetings, then what refers to both: each step needs the ids of the one before.
    _insert_batches(writing, Prompt, list(reversed(new_prompts.values())))
    if tagged_prompts := [(hashed.prompt_hash, hashed.row.tags) for hashed in fresh if any(hashed.row.tags)]:
        with writing() as session:
            if target.import_id is None:
                tag_prompts(session, tagged_prompts)
            else:
                tag_or_note_prompts(session, target.import_id, tagged_prompts)
    with reading() as session:
        prompt_ids = publish_prompt_ids(session, {hashed.prompt_hash for hashed in stored})
    new_greetings = list(_greeting_columns(target, fresh, prompt_ids))
    _insert_batches(writing, Greeting, new_greetings)
    with reading() as session:
        greeting_keys = {
            greeting_key for hashed in stored for greeting_key in hashed.greeting_keys if greeting_key[0] in prompt_ids
        }
        greeting_ids = publish_greeting_ids(session, prompt_ids, greeting_keys)
    for table, columns in (
        (DatasetEntry, list(_entry_columns(target, fresh, prompt_ids, greeting_ids))),
        (PreferencePair, list(_pair_columns(target, fresh, prompt_ids, greeting_ids))),
        (Verdict, list(_verdict_columns(target, fresh, greeting_ids))),
    ):
        _insert_batches(writing, table, columns)
    if clicked:
        with writing() as session:
            _store_clicks(session, target, clicked, greeting_ids)


def _insert_batches(writing: TransactionFactory, table: type[DeclarativeBase], rows: Sequence[dict[str, Any]]) -> None:
    batch_size = CHUNK_ROWS if table is DatasetEntry else BATCH_ROWS  # numbers alone are quicker than texts
    # On the table itself: the mapped class costs five times what the database needs, under its lock.
    bare_table: Any = table.__table__
    for batch in in_batches(rows, batch_size):
        with writing() as session:
            insert_ignore(session, bare_table, batch)


def _prompt_columns(target: ImportTarget, hashed: HashedRow) -> dict[str, Any]:
    occasion, recipient, style = hashed.row.tags
    return {
        "text": hashed.row.prompt,
        "text_hash": hashed.prompt_hash,
        "occasion": occasion,
        "recipient": recipient,
        "style": style,
        "split": assign_split(hashed.row.prompt),
        "created_at": utc_now(),
        "import_id": target.import_id,
    }


def _greeting_columns(
    target: ImportTarget, hashed_rows: Sequence[HashedRow], prompt_ids: dict[str, int]
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for text, (_, text_hash) in zip(hashed.row.greetings, hashed.greeting_keys, strict=True):
            yield {
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "text": text,
                "text_hash": text_hash,
                "source": target.source,
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _entry_columns(
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    prompt_ids: dict[str, int],
    greeting_ids: dict[GreetingKey, int],
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for greeting_key in hashed.greeting_keys or (None,):
            yield {
                "dataset_id": target.dataset_id,
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "greeting_id": greeting_ids[greeting_key] if greeting_key else None,
                "import_id": target.import_id,
            }


def _pair_columns(
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    prompt_ids: dict[str, int],
    greeting_ids: dict[GreetingKey, int],
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        if hashed.row.pair:
            yield {
                "dataset_id": target.dataset_id,
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "chosen_id": greeting_ids[hashed.greeting_keys[0]],
                "rejected_id": greeting_ids[hashed.greeting_keys[1]],
                "origin": target.origin,
                "flaw": hashed.row.flaw,
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _verdict_columns(
    target: ImportTarget, hashed_rows: Sequence[HashedRow], greeting_ids: dict[GreetingKey, int]
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for greeting_key, row_label in zip(hashed.greeting_keys, hashed.row.labels, strict=False):
            yield {
                "rater_id": target.rater_id,
                "greeting_id": greeting_ids[greeting_key],
                "value": float(row_label),
                "scale": Scale.BINARY,
                # A pair's flaw is that of its weaker side.
                "reason": hashed.row.reason or (hashed.row.flaw or "" if row_label == 0 else ""),
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _store_clicks(
    session: Session,
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    greeting_ids: dict[GreetingKey, int],
) -> None:
    """Store the clicks of the rows, the higher count where there is one already: clicks only grow."""
    click_counts: dict[int, int] = {}
    for hashed in hashed_rows:
        if (greeting_id := greeting_ids.get(hashed.greeting_keys[0])) is not None:
            click_counts[greeting_id] = max(click_counts.get(greeting_id, 0), hashed.row.clicks or 0)
    shared_columns = {"dataset_id": target.dataset_id, "import_id": target.import_id}
    insert_ignore(
        session,
        ClickCount,
        [
            {"greeting_id": greeting_id, "clicks": click_count, **shared_columns}
            for greeting_id, click_count in click_counts.items()
        ],
    )
    if target.import_id is None:
        raise_clicks(session, target.dataset_id, click_counts)
    else:
        raise_or_note_clicks(session, target.import_id, target.dataset_id, click_counts)
