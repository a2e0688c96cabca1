"""The history of an item on the campaigns page: flaws by their name, a judge's own words as they are."""

from datetime import UTC, datetime

from backend.annotation.records import HistoryEntry
from ui.components.history import history_html
from ui.components.language import Translator


def entry(reasons: tuple[str, ...]) -> HistoryEntry:
    return HistoryEntry(
        kind="comparison",
        label_id=1,
        rater="pairwise",
        revision=1,
        answer="a",
        left=None,
        prefers="A",
        reasons=reasons,
        dimensions={},
        note="",
        seconds=None,
        created_at=datetime(2026, 11, 30, tzinfo=UTC),
        withdrawn=False,
        superseded=False,
    )


def test_reasons_are_flaws_by_name_or_words_of_a_judge() -> None:
    shown = history_html(Translator("zh"), [entry(("cliche", "甲更具体（甲为 A）<b>"))])
    assert "套话、甲更具体（甲为 A）&lt;b&gt;" in shown
    assert "Cliché" in history_html(Translator("en"), [entry(("cliche",))])
