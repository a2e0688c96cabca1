"""What is stored: every table after migration, every JSON column read and written again, every spelling."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.golden.expected import same, same_text
from tests.golden.looks import stored
from tests.golden.looks.home import House, revision
from tests.golden.plain import hash_of, rendered, shortened

pytestmark = pytest.mark.database
Masked = Callable[[Any], Any]
WHOLE, FIRST, EVERY = 400, 60, 25
"""Tables of more rows are given by some rows in full and a hash of each whole column."""


def test_the_home_goes_to_the_newest_revision(house: House) -> None:
    found = revision(house)
    assert found["current"] == found["head"]
    same("stored/revision", found)


def test_tables(house: House, masked: Masked) -> None:
    found = stored.tables(house)
    same("stored/tables", {name: [len(rows), columns] for name, (columns, rows, _) in found.items()})
    for name, (columns, rows, documents) in found.items():
        plain = [[_cell(one, columns[at] in documents) for at, one in enumerate(row)] for row in rows]
        same_text(f"stored/tables/{name}.txt", _told(columns, masked(plain)))


def _cell(value: Any, document: bool) -> Any:
    if document and isinstance(value, str):
        return json.loads(value)
    return value.hex() if isinstance(value, bytes) else value


def _told(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A line a row; for large tables a line a column with its hash, then some of the rows."""
    lines = [rendered(list(columns))]
    if len(rows) > WHOLE:
        for at, column in enumerate(columns):
            content = "\n".join(json.dumps(row[at], ensure_ascii=False, sort_keys=True) for row in rows)
            lines.append(f"{column}: {len(rows)} values, sha256 {hash_of(content)}")
        rows = [row for number, row in enumerate(rows) if number < FIRST or number % EVERY == 0]
    told = [json.dumps([_brief(one) for one in row], ensure_ascii=False, sort_keys=True) for row in rows]
    return "\n".join([*lines, *told]) + "\n"


def _brief(value: Any) -> Any:
    """A cell in at most some 200 characters and a hash."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, dict | list) else value
    return shortened(text) if isinstance(text, str) and shortened(text) != text else value


def test_schema(house: House) -> None:
    same_text("stored/schema.sql", ";\n".join(stored.schema(house)) + ";\n")


def test_stored_json_is_written_as_it_was_read(house: House) -> None:
    found = stored.written_again(house)
    same("stored/read", {kind: len(pairs) for kind, pairs in found.items()})
    for kind, pairs in found.items():
        assert pairs, f"nothing of {kind} was looked at"
        for before, after in pairs:
            assert after == before, kind


def test_spellings() -> None:
    same("stored/spellings", stored.spellings())
