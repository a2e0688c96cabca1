"""The board over stored verdicts: which version of a judge a row is, and what it left out and why."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import pytest
from sqlalchemy import select

from backend.agreement.board_values import format_board_csv
from backend.agreement.records import AgreementBoard, OccasionCell
from backend.agreement.statistics.figures import FEW_GROUPS, Figure
from backend.agreement.statistics.judge_rows import JudgeRow
from backend.annotation.records import CampaignSpec, ComparisonInput
from backend.cli import main
from backend.core.enums import CampaignKind, RaterKind, Scale
from backend.db.queries import current_version
from backend.db.tables import Greeting, Rater, Verdict
from backend.services import Services
from tests.scoring_helpers import data_file
from ui.agreement.page import (
    _confusion_table,
    _group_chart,
    _join_small_bins,
    _occasion_shares,
    _remarks,
    _score_groups,
    _undrawn_note,
)
from ui.components.board import board_table, figure_with_interval
from ui.components.language import Translator
from ui.judges.page import _shown_judges
from ui.training.names import short_figure
from ui.training.views import key_figures

ITEMS = 40
OLD, NEW = "a" * 64, "b" * 64

pytestmark = pytest.mark.database


def labelled(services: Services) -> list[int]:
    """Forty labelled greetings, five a request; half of them are good."""
    services.corpus.import_file(data_file(services.settings.home, ITEMS))
    with services.database.read() as session:
        return list(session.scalars(select(Greeting.id).order_by(Greeting.id)))


def judge(services: Services, values: Mapping[int, float | None], version: str, name: str = "看真诚") -> None:
    """A judge at one version said this of these greetings."""
    with services.database.write() as session:
        rater = Rater(kind=RaterKind.JUDGE, name=name, version=version, config={"scale": "binary"})
        session.add(rater)
        session.flush()
        session.add_all(
            Verdict(rater_id=rater.id, greeting_id=id_, value=value, scale=Scale.BINARY)
            for id_, value in values.items()
        )


def row_of(board: AgreementBoard, newer: bool = False) -> JudgeRow:
    """The row of the judge, at the version that stands for it or at the newer one."""
    return next(row for row in board.rows if row.judge == "看真诚" and row.newer is newer)


def alternating(ids: Sequence[int]) -> dict[int, float | None]:
    """What the labels of `data_file` say, greeting by greeting."""
    return {id_: float(number % 2) for number, id_ in enumerate(ids)}


@pytest.mark.parametrize(
    ("verdicts", "place"),
    [([660, 5], 0), ([660, 640], 1), ([5, 660], 1), ([660, 5, 9], 0), ([0, 0], 1), ([7], 0), ([100, 94], 0)],
)
def test_the_newest_that_judged_as_much_as_any_other_stands(verdicts: list[int], place: int) -> None:
    assert current_version(verdicts) == place


def test_a_newer_version_asked_five_items_does_not_hide_the_complete_one(services: Services) -> None:
    ids = labelled(services)
    judge(services, alternating(ids), OLD)
    judge(services, alternating(ids[:5]), NEW)
    board = services.board.board("data")
    whole, few = row_of(board), row_of(board, newer=True)
    assert (whole.version, whole.n, whole.accuracy.value) == (OLD, ITEMS, 1)
    assert (few.version, few.n, few.never_asked, few.accuracy.value) == (NEW, 5, 35, None)
    assert {whole.key, few.key} <= set(board.confusions) and whole.key != few.key
    shown = board_table(Translator("zh"), board)
    assert "看真诚（新版 bbbbbbbb）" in shown and "以评得全的那一版为准" in shown
    listed = {(info.name, info.version) for info in _shown_judges(services, False, board)}
    assert {("看真诚", OLD), ("看真诚", NEW)} <= listed, "nor on the list of judges"
    judge(services, alternating(ids[:39]), "c" * 64)
    again = services.board.board("data")
    assert row_of(again).version == "c" * 64 and not any(row.newer for row in again.rows)
    assert "新版" not in board_table(Translator("zh"), again)


def test_what_a_judge_left_out_is_said_apart_everywhere(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = labelled(services)
    values = alternating(ids[:34]) | dict.fromkeys(ids[30:34])
    judge(services, values, OLD)
    board = services.board.board("data")
    row = row_of(board)
    assert (row.n, row.never_asked, row.without_verdict, row.unscored, row.ties) == (30, 6, 4, 10, 0)
    cells = board.confusions[row.key]
    assert sum(side["never_asked"] for side in cells.values()) == 6
    assert sum(side["without_verdict"] for side in cells.values()) == 4

    stored = {line["judge"]: line for line in csv.DictReader(io.StringIO(format_board_csv(board)))}
    counts = ("n", "unscored", "never_asked", "without_verdict", "ties", "auc_n", "matched_auc_n")
    assert {"spearman_n", "alpha_n", "newer", "version"} <= stored["看真诚"].keys()
    assert [stored["看真诚"][name] for name in counts] == ["30", "10", "6", "4", "0", "30", "30"]

    monkeypatch.setattr(sys, "argv", ["backend", "agreement", "--reference", "data", "--json"])
    main_ends()
    told = {line["judge"]: line for line in json.loads(capsys.readouterr().out)["judges"]}
    assert [str(told["看真诚"][name]) for name in counts] == [stored["看真诚"][name] for name in counts]
    assert told["看真诚"]["version"] == OLD and told["看真诚"]["newer"] is False
    monkeypatch.setattr(sys, "argv", ["backend", "agreement", "--reference", "data"])
    main_ends()
    lines = capsys.readouterr().out
    assert "never asked" in lines and "no verdict" in lines and "alpha" in lines

    page = (
        board_table(Translator("en"), board)
        + _remarks(Translator("en"), board)
        + _confusion_table(Translator("en"), board, row.key)
    )
    assert all(words in page for words in ("never asked", "no verdict", "ties", "not counted as zero"))


def main_ends() -> None:
    """Run the command in this process."""
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_four_matched_items_are_no_matched_auc(services: Services) -> None:
    rows = [
        {"query": f"请求{n}", "response": "福" * (8 if n < 4 else 10 + 7 * n), "label": n % 2} for n in range(ITEMS)
    ]
    path = services.settings.home / "spread.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    services.corpus.import_file(path, dataset="spread")
    with services.database.read() as session:
        ids = list(session.scalars(select(Greeting.id).order_by(Greeting.id)))
    judge(services, alternating(ids), OLD)
    board = services.board.board("spread")
    row = row_of(board)
    assert (row.auc.value, row.matched_auc.value, row.matched_auc.n) == (1, None, 4)
    assert "只有 4 条找得到长度相近的对照，至少需要 30 条。" in board_table(Translator("zh"), board)


def test_of_a_comparison_both_greetings_must_have_been_asked(services: Services) -> None:
    labelled(services)
    spec = CampaignSpec("对比", CampaignKind.COMPARE, 1, "", False, ("data",), None, None, None, 8, 1, None)
    campaign = services.annotation.create_campaign(spec)
    person = services.annotation.enter("小林")
    sides = []
    while (item := services.annotation.next_item(campaign.id, person.id)) is not None:
        detail = services.annotation.item(item.item_id)
        assert detail.b is not None
        sides.append((detail.a.id, detail.b.id))
        given = ComparisonInput(campaign.id, item.item_id, "a", f"c{item.item_id}")
        services.annotation.compare(given, person.id)
    (one, _), (two, other), (third, fourth), *_ = sides
    judge(services, {one: 1.0, two: 1.0, other: None, third: 1.0, fourth: 0.0}, OLD)
    row = row_of(services.board.board("对比"))
    assert (row.n, row.without_verdict, row.never_asked) == (1, 1, len(sides) - 2)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ({0: 20, 1: 20}, [0, 1]),
        ({0: 4, 1: 7, 2: 30, 3: 9}, [0, 0, 1, 1]),
        ({0: 30, 3: 5, 4: 5, 5: 3}, [0, 1, 1, 1]),
        ({0: 9}, [0]),
    ],
)
def test_small_groups_of_a_chart_join_their_neighbours(sizes: dict[int, int], groups: list[int]) -> None:
    assert list(_join_small_bins(sizes).values()) == groups


def test_charts_draw_no_share_of_a_handful(services: Services) -> None:
    ids = labelled(services)
    judge(services, alternating(ids[:19]), OLD)
    board = services.board.board("data")
    assert len(_score_groups(board, "看真诚")) == 0, "19 items make no two groups of ten"
    judge(services, alternating(ids), NEW)
    board = services.board.board("data")
    groups = _score_groups(board, "看真诚")
    assert list(groups["n"]) == [20, 20] and list(groups["share"]) == [0, 1]
    birthdays = board.occasions["看真诚"]
    assert [(cell.n, cell.accuracy) for cell in birthdays] == [(ITEMS, 1.0)]
    few = replace(board, occasions={"看真诚": (OccasionCell("生日", 9, None),)})
    assert len(_occasion_shares(few, "看真诚")) == 0
    assert "1 个场合不足 10 条（共 9 条）" in _undrawn_note(Translator("zh"), few, "看真诚")


def test_a_training_s_accuracy_says_its_pairs_and_is_left_out_on_few() -> None:
    metrics = {
        "length_matched_accuracy": 1.0,
        "length_matched_pairs": 4,
        "all_accuracy": 0.9,
        "all_pairs": 50,
    }
    assert key_figures(Translator("en"), metrics) == [
        ("length-matched accuracy", "– (n = 4)"),
        ("accuracy (held out)", f"{short_figure(0.9)} (n = 50)"),
    ]


def test_a_figure_without_an_interval_says_so() -> None:
    bare = Figure(1.0, why=FEW_GROUPS, n=10)
    assert "无区间" in figure_with_interval(Translator("zh"), bare, 10) and "n =" not in figure_with_interval(
        Translator("zh"), bare, 10
    )
    assert "n = 10" in figure_with_interval(Translator("en"), bare, 12) and FEW_GROUPS.en in figure_with_interval(
        Translator("en"), bare, 12
    )
    assert "interval" not in figure_with_interval(Translator("en"), Figure(0.5, n=10), 10), "none was wanted"


def test_the_chart_keeps_the_order_of_the_groups() -> None:
    groups = pd.DataFrame({"group": [f"{n} (12)" for n in range(1, 11)], "share": 0.5, "n": 12})
    shown = _group_chart(groups)
    assert shown["visible"] and shown["sort"][0] == "1 (12)" and shown["sort"][-1] == "10 (12)"
    assert not _group_chart(groups.iloc[:0])["visible"]
