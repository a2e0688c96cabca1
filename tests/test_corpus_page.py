"""What the page of the corpus says of an import."""

from backend.core.errors import Message
from backend.corpus.records import ImportReport, RowError
from ui.components.language import Translator
from ui.corpus.imports import _rejected_rows


def report(*errors: RowError) -> ImportReport:
    return ImportReport("f", None, "f", 2, 0, 0, len(errors), errors)


def test_rows_that_were_refused_stand_by_line_and_the_whole_file_does_not() -> None:
    whole = RowError(None, Message("damaged", "损坏"))
    row = RowError(7, Message("no <greeting>", "没有<祝福>"))
    assert _rejected_rows(Translator("zh"), report(whole)) == ""
    shown = _rejected_rows(Translator("zh"), report(row, whole))
    assert "7" in shown and "没有&lt;祝福&gt;" in shown and "None" not in shown
