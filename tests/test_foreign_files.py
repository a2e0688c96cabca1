"""Files made to ruin their reader cost one short-lived process, and whoever brought them a sentence."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from backend.cli.principles_archive import read_principles
from backend.core.errors import UserError
from backend.corpus import limits, reader
from backend.corpus.importing import read_prompts
from backend.corpus.limits import ReadingAllowance
from backend.corpus.reader_frames import MAX_FRAME_BYTES, read_frame
from backend.corpus.service import CorpusService, ImportRefused
from backend.db.engine import Database
from backend.services import Services
from tests import corpus_files as files
from tests import hostile_files as hostile
from tests.hostile_files import HOSTILE

pytestmark = pytest.mark.database


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


@pytest.fixture(autouse=True)
def _no_reader_is_left() -> Iterator[None]:
    yield
    assert readers() == []


def readers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if child.status() != psutil.STATUS_ZOMBIE and "backend.corpus.reader_program" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_time_and_memory(corpus: CorpusService, tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    path = make(tmp_path / "brought")
    before = psutil.Process().memory_info().rss
    start = time.monotonic()
    with pytest.raises(ImportRefused, match=reason) as caught:
        corpus.import_file(path)
    assert time.monotonic() - start < 40
    assert psutil.Process().memory_info().rss - before < 300 << 20
    assert "brought" in caught.value.text("zh") and corpus.counts()["prompts"] == 0
    start = time.monotonic()
    with suppress(UserError):
        corpus.preview(path)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/stdin", "link", "pipe"])
def test_devices_and_pipes_are_no_files(corpus: CorpusService, tmp_path: Path, path: str) -> None:
    if path == "link":
        (tmp_path / path).symlink_to("/dev/zero")
    if path == "pipe":
        os.mkfifo(tmp_path / path)
    with pytest.raises(ImportRefused, match=r"is a device or a pipe|is empty|does not exist"):
        corpus.import_file(tmp_path / path)
    with pytest.raises(UserError, match=r"no regular file|cannot be read|has no|principle"):
        read_principles(tmp_path / path)


def test_a_list_of_principles_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("规则\n" * 200_000, "utf-8")
    with pytest.raises(UserError, match="more than 1,000,000 bytes"):
        read_principles(tmp_path / "long.txt")


def test_rows_beyond_the_size_that_a_sheet_claims_are_read(corpus: CorpusService, tmp_path: Path) -> None:
    rows = [f'<row r="{n}">{hostile.text_cell(f"A{n}", f"第{n}个请求")}</row>' for n in range(2, 12)]
    head = f'<row r="1">{hostile.text_cell("A1", "prompt")}</row>'
    path = hostile.sheet(tmp_path / "claims.xlsx", head + "".join(rows), dimension="A1:A3")
    assert corpus.import_file(path).added == 10
    turned = hostile.sheet(tmp_path / "turned.xlsx", head + rows[4] + rows[1])
    with pytest.raises(ImportRefused, match="has row 3 behind row 6"):
        corpus.import_file(turned)


def test_a_gap_in_a_sheet_costs_nothing(corpus: CorpusService, tmp_path: Path) -> None:
    body = "".join(
        f'<row r="{n}">{hostile.text_cell(f"A{n}", text)}</row>'
        for n, text in ((1, "prompt"), (2, "早安"), (1_048_576, "晚安"))
    )
    report = corpus.import_file(hostile.sheet(tmp_path / "gap.xlsx", body))
    assert (report.read, report.added) == (2, 2)


def test_time_and_memory_are_limited(corpus: CorpusService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hostile.slow_sheet(tmp_path / "slow.xlsx")
    monkeypatch.setattr(limits, "to_import", lambda _: ReadingAllowance(1, 30.0, 1 << 20))
    with pytest.raises(ImportRefused, match="took more than 1 seconds"):
        corpus.import_file(path)
    monkeypatch.setattr(limits, "to_import", lambda _: ReadingAllowance(60, 0.5, 1 << 20))
    with pytest.raises(ImportRefused, match="seconds; save it as JSON Lines"):
        corpus.import_file(path)


def test_too_much_memory_is_a_sentence(corpus: CorpusService, tmp_path: Path) -> None:
    """Five hundred rows at a time, of a text of twelve megabytes each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["a" * 12_000_000]))
    pq.write_table(pa.table({"prompt": texts}), tmp_path / "large.parquet", compression="zstd")
    assert (tmp_path / "large.parquet").stat().st_size < 20_000
    with pytest.raises(ImportRefused, match=r"MB of memory; save it|unfolds to more than"):
        corpus.import_file(tmp_path / "large.parquet")


def test_forty_previews_at_once_leave_others_their_turn(services: Services, tmp_path: Path) -> None:
    corpus = services.corpus
    bad = [hostile.far_row(tmp_path / "a.xlsx"), hostile.far_cells(tmp_path / "b.xlsx")]
    bad.append(hostile.slow_sheet(tmp_path / "c.xlsx"))
    good = files.json_lines(tmp_path / "good.jsonl", [files.GOOD])
    told: list[str] = []
    most = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], len(readers()))

    def look(number: int) -> None:
        try:
            corpus.preview(bad[number % 3])
        except UserError as error:
            told.append(str(error))

    def enter() -> None:
        """People come in and are stored, all the while."""
        while not done.wait(0.05):
            start = time.monotonic()
            services.annotation.enter(f"第{len(waits)}位")
            waits.append(time.monotonic() - start)

    waits: list[float] = []
    watchers = [threading.Thread(target=each) for each in (watch, enter)]
    for watcher in watchers:
        watcher.start()
    start = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(look, range(40)))
    seconds = time.monotonic() - start
    done.set()
    for watcher in watchers:
        watcher.join()
    print(f"40 previews in {seconds:.1f} s; {len(waits)} others served, the slowest in {max(waits):.2f} s")
    assert len(waits) > 20 and max(waits) < 3
    assert most[0] <= reader.MAX_READERS and seconds < 60
    assert sum("try again in a moment" in one for one in told) >= 10 and len(told) >= 20
    assert corpus.preview(good).kind == "labels"


def test_the_reader_waits_for_who_asked_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"第{n}个朋友的生日祝福\n" for n in range(300_000)), "utf-8")
    lines = read_prompts(path)
    assert next(lines)[0] == 1
    (child,) = readers()
    time.sleep(1)
    first = child.memory_info().rss, child.cpu_times().user
    time.sleep(1)
    # It sits at a full pipe: no more memory, no more computing.
    assert child.memory_info().rss - first[0] < 2 << 20 and child.cpu_times().user - first[1] < 0.1
    lines.close()
    assert readers() == []


def test_the_reader_sees_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHUFU_LLM_API_KEY", "secret")
    path = tmp_path / "many.txt"
    path.write_text("".join(f"第{n}个朋友的生日祝福\n" for n in range(300_000)), "utf-8")
    with reader.open_foreign_file(path):
        (child,) = readers()
        assert not [name for name in child.environ() if name.startswith("ZHUFU_")]


@pytest.mark.parametrize("said", [b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\5[1", b"\0\0\0\2[]", b"\0\0\0\2\x80\4"])
def test_only_whole_frames_of_data_are_taken(said: bytes) -> None:
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        assert size <= MAX_FRAME_BYTES
        place, found = place + size, said[place : place + size]
        return found

    with pytest.raises(ValueError):
        read_frame(read)
