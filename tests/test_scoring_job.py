"""A scoring run as a job: real worker, real program; paused, resumed, cancelled, and ended by its budget."""

from pathlib import Path

import pytest

from backend.core.enums import JobStatus
from backend.services import Services
from tests.job_helpers import ended, sweep, until, worker
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import house, request, verdicts

pytestmark = pytest.mark.database


@pytest.fixture
def busy(home: Path, fake_llm: FakeLLM):  # type: ignore[no-untyped-def]
    """A house with a data set and a worker; what the jobs started is gone at the end."""
    with house(fake_llm, 120, concurrency=4) as services:
        try:
            with worker(home):
                yield services
        finally:
            sweep(services.database)


def test_pause_resume_and_done(busy: Services, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.1)
    job = busy.scoring.submit(request(busy)).id
    until(lambda: len(verdicts(busy)) > 10)
    busy.jobs.pause(job)
    paused = ended(busy.jobs, job)
    kept = len(verdicts(busy))
    assert paused.status is JobStatus.PAUSED and 10 < kept < 120
    assert 0 < paused.progress < 1 and f"{kept} / 120" in paused.progress_text
    fake_llm.script()
    busy.jobs.resume(job)
    done = ended(busy.jobs, job)
    assert done.status is JobStatus.SUCCEEDED and "120 / 120" in done.progress_text
    assert len(verdicts(busy)) == 120 and done.attempt == 2
    assert sum(fake_llm.state()["asked"].values()) == 120 - kept
    event = [event.data for event in busy.jobs.events(job) if event.kind == "metric"][-1]
    assert (event["scored"], event["unscored"], event["calls"]) == (120, 0, 120), "calls of both attempts"


def test_cancel_keeps_what_was_judged(busy: Services, fake_llm: FakeLLM):
    fake_llm.script(latency_s=0.1)
    job = busy.scoring.submit(request(busy)).id
    until(lambda: len(verdicts(busy)) > 4)
    busy.jobs.cancel(job)
    assert ended(busy.jobs, job).status is JobStatus.CANCELLED
    assert 4 < len(verdicts(busy)) < 120


def test_budget_and_fatal_errors_end_as_what_they_are(busy: Services, fake_llm: FakeLLM):
    capped = ended(busy.jobs, busy.scoring.submit(request(busy, max_calls=20)).id)
    assert capped.status is JobStatus.SUCCEEDED and "预算用完" in capped.progress_message.zh
    assert len(verdicts(busy)) == 20
    fake_llm.script(api_key="right")
    failed = ended(busy.jobs, busy.scoring.submit(request(busy)).id)
    assert failed.status is JobStatus.FAILED and failed.error is not None
    assert "401" in failed.error.en and "401" in failed.error.zh
