"""What an import changes in rows that stood before it: tags of prompts without, higher counts of clicks.

An import in one transaction makes these changes at once. One whose rows nobody sees yet makes them at once in
its own rows, and notes the others, to be made when it has ended: made twice they are the same as made once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, true, update
from sqlalchemy.orm import Session

from backend.db.import_tables import ImportChange
from backend.db.tables import ClickCount, Prompt

PromptTags = tuple[str | None, str | None, str | None]
TaggedPrompt = tuple[str, PromptTags]
"""Hash of a prompt; its occasion, recipient and style."""
_TAG_COLUMNS = (Prompt.occasion, Prompt.recipient, Prompt.style)


def tag_prompts(
    session: Session, tagged: Iterable[TaggedPrompt], extra_condition: ColumnElement[bool] | None = None
) -> None:
    """Give tags to prompts that were stored without, as when their text came from a plain list first."""
    tagged_list = list(tagged)
    for tag_index, column in enumerate(_TAG_COLUMNS):
        prompts_by_tag: dict[str, set[str]] = {}
        for prompt, tags in tagged_list:
            if tag := tags[tag_index]:
                prompts_by_tag.setdefault(tag, set()).add(prompt)
        for tag, prompts in prompts_by_tag.items():
            session.execute(
                update(Prompt)
                .where(
                    Prompt.text_hash.in_(prompts),
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
    """Bring the counts of greetings, by id, up to what is told."""
    if not click_counts:
        return
    click_table: Any = ClickCount.__table__
    update_statement = (
        update(click_table)
        .where(
            click_table.c.dataset_id == dataset_id,
            click_table.c.greeting_id == bindparam("greeting"),
            click_table.c.clicks < bindparam("told"),
            true() if extra_condition is None else extra_condition,
        )
        .values(clicks=bindparam("told"))
    )
    session.execute(
        update_statement,
        [{"greeting": greeting_id, "told": click_count} for greeting_id, click_count in click_counts.items()],
    )


def tag_or_note_prompts(session: Session, import_id: int, tagged: Iterable[TaggedPrompt]) -> None:
    """Tag the import's own prompts, and note what others lack."""
    tagged_list = list(tagged)
    tag_prompts(session, tagged_list, Prompt.import_id == import_id)
    lacks_tag = Prompt.occasion.is_(None) | Prompt.recipient.is_(None) | Prompt.style.is_(None)
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
    if values.get("tags") or values.get("clicks"):
        session.add(ImportChange(import_id=import_id, values=values))
        session.flush()


def apply_change(session: Session, noted_change: ImportChange) -> None:
    """Make a change that was noted."""
    tags: Sequence[Any] = noted_change.values.get("tags", ())
    tag_prompts(session, [(tag_entry[0], (tag_entry[1], tag_entry[2], tag_entry[3])) for tag_entry in tags])
    click_counts = {
        int(greeting_id): int(click_count) for greeting_id, click_count in noted_change.values.get("clicks", ())
    }
    raise_clicks(session, noted_change.values.get("dataset", 0), click_counts)
