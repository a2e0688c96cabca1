"""A large import lets others write, is seen by nobody before its end, and leaves nothing where it fails."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.agreement.board import _label_stamp
from backend.annotation.records import CampaignSpec, ComparisonInput
from backend.core.enums import CampaignKind, Outcome, Source
from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT, Settings
from backend.corpus import store, unpublished
from backend.corpus.service import CorpusService, ImportRefused
from backend.db.engine import Database
from backend.db.tables import ClickCount, Greeting, ImportChange, Prompt
from backend.services import Services, build_services
from tests import corpus_files as files
from tests.import_looks import left_over, look, statements, unhidden
from tests.postgres import EITHER

pytestmark = pytest.mark.database

ROWS = 3 * store.CHUNK_ROWS


def labelled(number: int) -> dict[str, Any]:
    return {"query": f"给第{number // 5}位朋友的祝福", "response": f"第{number}封信", "label": number % 2}


def large(path: Path, rows: int = ROWS) -> Path:
    return files.json_lines(path, map(labelled, range(rows)))


def pairs(path: Path, rows: int) -> Path:
    return files.json_lines(
        path, ({"prompt": f"请求{n}", "chosen": f"好{n}", "rejected": f"差{n}"} for n in range(rows))
    )


@pytest.fixture
def either(database: Database) -> Iterator[Services]:
    """Every service around the database of the test."""
    made = build_services(Settings.load())
    yield made
    made.close()


@EITHER
@pytest.mark.parametrize("known", [False, True], ids=["new data set", "known data set"])
def test_nobody_sees_a_row_before_the_last_is_in(either: Services, tmp_path: Path, known: bool) -> None:
    corpus = either.corpus
    corpus.import_file(pairs(tmp_path / "other.jsonl", 40))
    if known:
        old = [{**labelled(n), "response": f"旧信{n}"} for n in range(20)]
        corpus.import_file(files.json_lines(tmp_path / "first.jsonl", old), dataset="letters")
    look(either, "letters")  # the board stores verdicts where it is looked at first
    before = look(either, "letters")
    during: list[dict[str, Any]] = []
    asked: list[str] = []

    def progress(share: float, _: str) -> None:
        if share > 0.9 and not during:
            with statements(either.database) as found:
                during.append(look(either, "letters"))
            asked.extend(found)

    report = corpus.import_file(large(tmp_path / "x.jsonl"), dataset="letters", progress=progress)
    assert report.added == ROWS
    assert [(name, during[0][name], before[name]) for name in before if during[0][name] != before[name]] == []
    after = look(either, "letters")
    same = {name for name in before if before[name] == after[name]}
    assert same <= {"facets", "facets of it", "draw pairs", "draw all", "export pairs", "by id", "names"}
    assert left_over(either.database) == {}
    # No query does without the condition, whatever it finds; judges' verdicts are none of an import.
    bare = {one for one in asked if unhidden(one) and "zhufu_unpublished" not in one}
    bad = [one for one in bare if "EXISTS (SELECT * FROM verdicts WHERE verdicts.rater_id" not in one]
    assert not [(unhidden(one), one) for one in bad]


@EITHER
def test_a_refusal_at_the_end_removes_everything(database: Database, tmp_path: Path) -> None:
    corpus = CorpusService(database)
    corpus.import_file(files.json_lines(tmp_path / "first", [labelled(1)]), dataset="letters")
    before = corpus.counts(), corpus.datasets()
    rows = [*(labelled(n) for n in range(ROWS)), {**labelled(0), "label": 1}]
    for name in ("letters", "new"):
        with pytest.raises(ImportRefused, match=f"line {ROWS + 1}: .* already labelled 0"):
            corpus.import_file(files.json_lines(tmp_path / "x", rows), dataset=name)
        assert (corpus.counts(), corpus.datasets()) == before
        assert left_over(database) == {}


@EITHER
def test_an_import_that_is_killed_leaves_nothing(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = CorpusService(database)
    path = large(tmp_path / "x.jsonl")
    url = database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.import_killed", url, str(path)]
    assert subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode == -9
    assert left_over(database)["verdicts"] >= store.CHUNK_ROWS
    assert set(corpus.counts().values()) == {0} and corpus.datasets() == []
    services = build_services(Settings.load())  # the next start
    services.close()
    assert left_over(database) == {} and "of an import that was cut off" in caplog.text
    assert subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode == -9
    assert corpus.import_file(path).added == ROWS  # the next import
    assert left_over(database) == {}
    assert corpus.counts()["labels"] == ROWS


@EITHER
@pytest.mark.parametrize("refused", [False, True])
def test_texts_that_others_use_meanwhile_are_theirs(database: Database, tmp_path: Path, refused: bool) -> None:
    corpus, other = CorpusService(database), CorpusService(database)
    rows = [labelled(n) for n in range(ROWS)]
    if refused:
        rows.append({**labelled(0), "label": 1})
    done: list[int] = []

    def progress(share: float, _: str) -> None:
        if share > 0.9 and not done:
            small = files.json_lines(tmp_path / "small", [labelled(n) for n in range(10)])
            done.append(other.import_file(small, dataset="small").added)

    path = files.json_lines(tmp_path / "x", rows)
    if refused:
        with pytest.raises(ImportRefused):
            corpus.import_file(path, progress=progress)
    else:
        corpus.import_file(path, progress=progress)
    assert done == [10] and left_over(database) == {}
    assert len(files.members(database, "small")) == 10
    assert corpus.counts()["greetings"] == (10 if refused else ROWS)
    assert corpus.counts()["labels"] == (10 if refused else ROWS + 10)


@EITHER
def test_two_imports_at_once_are_both_whole(database: Database, tmp_path: Path) -> None:
    paths = [
        large(tmp_path / "a.jsonl"),
        large(tmp_path / "b.jsonl", ROWS + 500),
        large(tmp_path / "c.jsonl", 9),
    ]
    wishes = [(paths[0], "one"), (paths[1], "one"), (paths[1], "two"), (paths[2], "one")]

    def run(wish: tuple[Path, str]) -> Any:
        return CorpusService(database).import_file(wish[0], dataset=wish[1])

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, wishes))
    assert sum(report.added for report in done if report.dataset == "one") == ROWS + 500
    assert all(report.added + report.duplicate == report.read for report in done)
    sizes = {each.name: (each.greetings, each.labels) for each in CorpusService(database).datasets()}
    assert sizes == {"one": (ROWS + 500, ROWS + 500), "two": (ROWS + 500, ROWS + 500)}
    assert left_over(database) == {}


def test_others_are_refused_a_data_set_that_is_being_filled(services: Services, tmp_path: Path) -> None:
    told: list[str] = []

    def progress(share: float, _: str) -> None:
        if share > 0.9 and not told:
            with pytest.raises(store.ImportUnderWay) as caught, services.database.write() as session:
                store.prepare_target(session, "x", "generated", Source.MODEL, labelled=False)
            told.append(caught.value.text("zh"))

    services.corpus.import_file(large(tmp_path / "x.jsonl"), progress=progress)
    assert told == ["正在向“x”导入数据，请等它结束后再试。"]


@EITHER
def test_older_rows_change_only_when_the_import_has_ended(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = CorpusService(database)
    old = {"prompt": labelled(0)["query"], "response": labelled(0)["response"], "clicks": 3}
    corpus.import_file(files.json_lines(tmp_path / "old", [old]), dataset="letters")
    path = files.json_lines(
        tmp_path / "x",
        (
            {"prompt": row["query"], "response": row["response"], "clicks": 7, "occasion": "生日"}
            for row in map(labelled, range(ROWS))
        ),
    )

    def facts() -> tuple[Any, Any]:
        with database.read() as session:
            tag = session.scalar(select(Prompt.occasion).where(Prompt.text == old["prompt"]))
            clicks = select(ClickCount.clicks).join(Greeting, Greeting.id == ClickCount.greeting_id)
            return tag, session.scalar(clicks.where(Greeting.text == old["response"]))

    during = set()

    def progress(share: float, _: str) -> None:
        if 0.5 < share < 1:
            during.add(facts())

    with monkeypatch.context() as patch:
        # The process is cut off right after the moment in which the import is seen.
        patch.setattr(unpublished, "make_noted_changes", lambda _: None)
        corpus.import_file(path, dataset="letters", progress=progress)
    assert during == {(None, 3)} and facts() == (None, 3)
    assert left_over(database) == {"changes": 2}
    corpus.remove_left_over()
    assert facts() == ("生日", 7) and left_over(database) == {}
    with database.read() as session:
        assert session.scalars(select(ImportChange.id)).all() == []
        assert set(session.scalars(select(ClickCount.clicks))) == {7}


def test_what_is_kept_for_a_state_goes_when_an_import_ends(services: Services, tmp_path: Path) -> None:
    """Rows of the import have lower ids than what came meanwhile, so the newest id does not tell."""
    seen: list[Any] = []

    def progress(share: float, _: str) -> None:
        if share == 1 and not seen:  # the last chunk is in, and nobody sees it yet
            rows = files.json_lines(tmp_path / "late", [files.GOOD])
            services.corpus.import_file(rows, dataset="late")
            with services.database.read() as session:
                seen.append(_label_stamp(session))

    services.corpus.import_file(large(tmp_path / "x.jsonl"), progress=progress)
    with services.database.read() as session:
        assert seen and _label_stamp(session) != seen[0]


def test_votes_go_on_during_an_import(services: Services, tmp_path: Path) -> None:
    services.corpus.import_file(pairs(tmp_path / "pairs.jsonl", 900))
    spec = CampaignSpec("v", CampaignKind.COMPARE, 1, "", False, ("pairs",), None, None, None, 900, 1, None)
    campaign = services.annotation.create_campaign(spec).id
    rater = services.annotation.enter("甲").id
    importing = threading.Thread(target=services.corpus.import_file, args=(large(tmp_path / "x.jsonl", 12_000),))
    item = services.annotation.next_item(campaign, rater)
    importing.start()
    seconds: list[float] = []
    while importing.is_alive() and item is not None:
        start = time.perf_counter()
        answer = ComparisonInput(campaign, item.item_id, Outcome.A.value, uuid.uuid4().hex)
        _, item = services.annotation.compare_then_next(answer, rater)
        seconds.append(time.perf_counter() - start)
        time.sleep(0.02)
    importing.join()
    print(f"{len(seconds)} votes, longest {max(seconds):.2f} s")
    assert len(seconds) > 20 and max(seconds) < 2


def test_a_dead_import_of_this_process_does_not_block_the_next(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = CorpusService(database)
    path = large(tmp_path / "x.jsonl")

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unpublished, "_remove", full)
        patch.setattr(unpublished.UnpublishedImport, "publish", full)
        with pytest.raises(ImportRefused):
            corpus.import_file(path)
    assert left_over(database)["imports"] == 1
    assert corpus.import_file(path).added == ROWS and left_over(database) == {}


def test_a_name_that_an_import_has_taken_is_taken(services: Services, tmp_path: Path) -> None:
    from backend.preferences.intake import _free_run_name

    told: list[str] = []

    def progress(share: float, _: str) -> None:
        if share > 0.9 and not told:
            with pytest.raises(UserError) as caught, services.database.read() as session:
                _free_run_name(session, "x")
            told.append(str(caught.value))

    services.corpus.import_file(large(tmp_path / "x.jsonl"), progress=progress)
    assert "already" in told[0]
