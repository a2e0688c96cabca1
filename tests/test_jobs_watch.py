"""Watching: report, events by page, the end of a long log, environment, command line, artifacts."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.enums import ArtifactKind, EventKind, JobStatus
from backend.core.errors import NotFound, UserError
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.job_programs import JOB_PROGRAMS
from backend.jobs import local
from backend.jobs.local import LocalRunner
from backend.jobs.messages import COUNTED, JobMessage
from backend.jobs.queue import HeldJob
from backend.jobs.report import JobReport
from backend.jobs.selftest import check_jobs
from backend.jobs.service import JobService
from tests.job_helpers import sweep

pytestmark = pytest.mark.database


@pytest.fixture
def service(database: Database, home: Path) -> Iterator[JobService]:
    yield JobService(database, home)
    sweep(database)


def test_a_report_is_stored_and_pages(service: JobService, database: Database) -> None:
    job = service.submit("selftest", {}).id
    with JobReport(database, job) as report:
        for step in range(250):
            report.metric(step, loss=1.0 / (step + 1), broken=float("nan"), endless=float("inf"), odd="text")
        report.sample(250, "生日祝福", "生日快乐！")
        report.progress(0.5, COUNTED.fill(done=250, total=500))
        report.progress(float("nan"), COUNTED.fill(done=251, total=500))
    first = service.events(job, limit=100)
    seen = list(first)
    while page := service.events(job, after_id=seen[-1].id, limit=100):
        seen += page
    assert [event.id for event in seen] == sorted({event.id for event in seen})
    metrics = [event for event in seen if event.kind is EventKind.METRIC]
    assert [event.step for event in metrics] == list(range(250))
    assert metrics[1].data == {"loss": 0.5, "broken": None, "endless": None, "odd": None}
    [sample] = service.events(job, event_kinds=[EventKind.SAMPLE])
    assert sample.data == {"prompt": "生日祝福", "text": "生日快乐！"}
    told = service.job(job)
    assert (told.progress, told.progress_text) == (0.0, "251 / 500")
    assert (told.progress_message.code, told.progress_message.values) == ("counted", {"done": 251, "total": 500})


def test_a_report_sees_the_wish_to_stop(service: JobService, database: Database) -> None:
    job = service.submit("selftest", {}).id
    with database.write() as session:
        session.get_one(Job, job).status = JobStatus.RUNNING
    with JobReport(database, job) as report:
        assert not report.stop_requested()
        service.pause(job)
        end = time.monotonic() + 30
        while not report.stop_requested():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_report_never_raises_into_the_program(
    service: JobService, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'no-tables.db'}")
    with JobReport(empty, 1) as report:
        report.metric(1, loss=object())
        report.progress(0.1)
    empty.close()
    assert "cannot be reached" in capsys.readouterr().err
    with JobReport(None, None) as alone:
        alone.log(JobMessage.from_text("by hand"))
    assert "by hand" in capsys.readouterr().out


def test_a_user_error_reaches_the_row_in_both_languages(service: JobService, database: Database) -> None:
    job = service.submit("selftest", {}).id
    with pytest.raises(UserError), JobReport(database, job):
        raise UserError("The base model is missing.", "缺少基础模型。")
    error = service.job(job).error
    assert error is not None and error.zh == "缺少基础模型。"


def test_the_end_of_a_long_log_is_instant(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    line = "某一步的损失 0.1234567890 " + "x" * 60 + "\n"
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < 50_000_000:
            file.write(line * 1000)
        file.write("10%\r50%\r100%\nlast\n")
    began = time.process_time()
    seen = local.read_tail(path, 200)
    seconds = time.process_time() - began
    assert seconds < 0.05
    assert len(seen) == 200
    assert seen[-2:] == ["100%", "last"]
    assert seen[0] == line.rstrip("\n")
    assert local.read_tail(tmp_path / "none.txt", 10) == []


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [("", 5, []), ("a", 5, ["a"]), ("a\nb\n", 1, ["b"]), ("a\n\nb", 2, ["", "b"]), ("a\nb\n", 0, [])],
)
def test_short_logs(tmp_path: Path, content: str, lines: int, expected: list[str]) -> None:
    path = tmp_path / "log.txt"
    path.write_text(content)
    assert local.read_tail(path, lines) == expected


def test_a_program_gets_no_secret_it_does_not_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZHUFU_LLM_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    runner = LocalRunner(tmp_path, "sqlite://", JOB_PROGRAMS)
    environment = runner.build_environment(HeldJob(1, "sft", 1, ("0", "2"), None, None), tmp_path)
    assert environment["ZHUFU_LLM_API_KEY"] == ""
    assert environment["HF_TOKEN"] == "secret"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert not {"AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"} & environment.keys()
    scoring = runner.build_environment(HeldJob(1, "score", 1, ("cpu:0",), None, None), tmp_path)
    assert scoring["ZHUFU_LLM_API_KEY"] == "secret"
    assert scoring["CUDA_VISIBLE_DEVICES"] == ""
    assert "HF_TOKEN" not in scoring


def test_the_checkup_proves_the_machinery() -> None:
    assert check_jobs().status is JobStatus.SUCCEEDED


def test_artifacts_are_known_by_their_content(service: JobService, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.bin").write_bytes(b"1")
    made = service.add_artifact(ArtifactKind.POLICY, "first", folder, metrics={"loss": 1.0})
    (folder / "sub" / "weights.bin").write_bytes(b"2")
    child = service.add_artifact(ArtifactKind.REWARD_MODEL, "second", folder, parent_id=made.id)
    assert made.sha256 != child.sha256
    assert service.artifacts() == [child, made]
    assert service.artifacts(ArtifactKind.POLICY) == [made]
    with pytest.raises(NotFound):
        service.add_artifact(ArtifactKind.POLICY, "none", tmp_path / "nothing")
