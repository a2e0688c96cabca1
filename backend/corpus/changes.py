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

Tags = tuple[str | None, str | None, str | None]
Tagged = tuple[str, Tags]
"""Hash of a prompt; its occasion, recipient and style."""
_COLUMNS = (Prompt.occasion, Prompt.recipient, Prompt.style)


def tag_prompts(session: Session, tagged: Iterable[Tagged], only: ColumnElement[bool] | None = None) -> None:
    """Give tags to prompts that were stored without, as when their text came from a plain list first."""
    found = list(tagged)
    for place, column in enumerate(_COLUMNS):
        by_tag: dict[str, set[str]] = {}
        for prompt, tags in found:
            if tag := tags[place]:
                by_tag.setdefault(tag, set()).add(prompt)
        for tag, prompts in by_tag.items():
            session.execute(
                update(Prompt)
                .where(Prompt.text_hash.in_(prompts), column.is_(None), true() if only is None else only)
                .values({column.key: tag})
                .execution_options(synchronize_session=False)
            )


def raise_clicks(
    session: Session, dataset: int, told: Mapping[int, int], only: ColumnElement[bool] | None = None
) -> None:
    """Bring the counts of greetings, by id, up to what is told."""
    if not told:
        return
    table: Any = ClickCount.__table__
    statement = (
        update(table)
        .where(
            table.c.dataset_id == dataset,
            table.c.greeting_id == bindparam("greeting"),
            table.c.clicks < bindparam("told"),
            true() if only is None else only,
        )
        .values(clicks=bindparam("told"))
    )
    session.execute(statement, [{"greeting": id_, "told": clicks} for id_, clicks in told.items()])


def note_tags(session: Session, import_id: int, tagged: Iterable[Tagged]) -> None:
    """Tag the import's own prompts, and note what others lack."""
    found = list(tagged)
    tag_prompts(session, found, Prompt.import_id == import_id)
    lacking = Prompt.occasion.is_(None) | Prompt.recipient.is_(None) | Prompt.style.is_(None)
    others = Prompt.import_id.is_distinct_from(import_id)
    asked = [prompt for prompt, _ in found]
    open_ = set(session.scalars(select(Prompt.text_hash).where(Prompt.text_hash.in_(asked), lacking, others)))
    _note(session, import_id, tags=[[prompt, *tags] for prompt, tags in found if prompt in open_])


def note_clicks(session: Session, import_id: int, dataset: int, told: Mapping[int, int]) -> None:
    """Raise the import's own counts, and note what exceeds others."""
    raise_clicks(session, dataset, told, ClickCount.import_id == import_id)
    rows = session.execute(
        select(ClickCount.greeting_id, ClickCount.clicks).where(
            ClickCount.dataset_id == dataset,
            ClickCount.greeting_id.in_(told),
            ClickCount.import_id.is_distinct_from(import_id),
        )
    )
    higher = [[id_, told[id_]] for id_, clicks in rows if clicks < told[id_]]
    _note(session, import_id, clicks=higher, dataset=dataset)


def _note(session: Session, import_id: int, **values: Any) -> None:
    if values.get("tags") or values.get("clicks"):
        session.add(ImportChange(import_id=import_id, values=values))
        session.flush()


def make(session: Session, change: ImportChange) -> None:
    """Make a change that was noted."""
    tags: Sequence[Any] = change.values.get("tags", ())
    tag_prompts(session, [(one[0], (one[1], one[2], one[3])) for one in tags])
    told = {int(id_): int(clicks) for id_, clicks in change.values.get("clicks", ())}
    raise_clicks(session, change.values.get("dataset", 0), told)
