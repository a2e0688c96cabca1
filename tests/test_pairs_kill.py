"""A run that is killed in any stage goes on where it was, and ends with what an undisturbed one has; only one
process at a time plays it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from backend.cli import app
from backend.core.enums import PairStage
from backend.core.errors import Conflict
from backend.core.settings import PROJECT_ROOT
from backend.db.job_tables import Job
from backend.db.pair_tables import PairRun, RunPair
from backend.db.tables import Campaign
from backend.llm.database_ledger import BATCH_CALLS
from backend.preferences.records import HumanChecking, PairProgress, PairRequest, ScoringRunState
from backend.runs.hold import HeldElsewhere
from backend.services import Services
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, candidates, house, prompts, prompts_file, request, stored

pytestmark = pytest.mark.database
PROMPTS = 12
KILLED = {
    "filtering": (2, PairStage.FILTERING),
    "judging": (1, PairStage.JUDGING),
    "pairing": (2, PairStage.PAIRING),
    "people": (1, PairStage.PAIRING),
}


def killed(stage: str, source: str) -> int:
    options = ["pairs", "--prompts", source, "--generators", "fake", "--judge", "principle", "--unbalanced"]
    rest = ["--check", "0.3", "--raters", "1", "--name", "run", "--endpoint", "fake"]
    command = [sys.executable, "-m", "tests.pair_killed", stage, str(KILLED[stage][0]), *options, *rest]
    return subprocess.run(command, cwd=PROJECT_ROOT, env=dict(os.environ), capture_output=True, timeout=120).returncode


def wish(services: Services, source: str) -> PairRequest:
    """What `killed` asks for by command."""
    options = {"balance_length": False, "balance_style": False, "checking": HumanChecking(0.3, 1)}
    return request(services, source, judge="principle", name="run", **options)


def left_over(services: Services, run: int) -> tuple[object, ...]:
    """Everything that a run leaves behind, without the numbers of rows."""
    made = candidates(services, run)
    text = {one.id: one.text for one in made}
    with services.database.read() as session:
        pairs = session.execute(
            select(RunPair.chosen_id, RunPair.rejected_id, RunPair.state).where(RunPair.run_id == run)
        ).all()
        campaigns = session.scalar(select(func.count(Campaign.id)))
    kept = sorted((text[a], text[b]) for a, b, _ in pairs)
    checked = sum(state.value == "checking" for *_, state in pairs)
    return [one.text for one in made], kept, checked > 0, len(stored(services)) + checked, campaigns


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, _fake_llm_process: FakeLLM) -> tuple[object, ...]:
    """What a run without a kill leaves behind, and the calls it took."""
    _fake_llm_process.script(**SCRIPT)
    patch = pytest.MonkeyPatch()
    patch.setenv("ZHUFU_HOME", str(tmp_path_factory.mktemp("undisturbed")))
    with house(_fake_llm_process) as services:
        source = prompts_file(services, prompts(PROMPTS))
        final = services.pairs.run(services.pairs.open(wish(services, source)).id)
        found = left_over(services, final.run)
    patch.undo()
    return (*found, final.calls)


@pytest.mark.parametrize("stage", KILLED)
def test_killed_and_resumed(home: Path, fake_llm: FakeLLM, undisturbed: tuple[object, ...], stage: str) -> None:
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        assert killed(stage, prompts_file(services, prompts(PROMPTS))) == -9
        with services.database.read() as session:
            run = session.scalars(select(PairRun)).one()
        assert run.stage is KILLED[stage][1]
        before = sum(fake_llm.state()["answered"].values())
        final = services.pairs.run(run.id)
        *found, calls = (*left_over(services, run.id), final.calls)
        answered = sum(fake_llm.state()["answered"].values())
    assert final.state is ScoringRunState.DONE and found == list(undisturbed[:-1])
    repeated = answered - int(str(undisturbed[-1]))
    print(f"{stage}: {before} answered before the kill, {repeated} repeated, {calls} counted")
    assert 0 <= repeated <= BATCH_CALLS


def play_and_wait(fake: FakeLLM, run: int, parent: Connection) -> None:
    """Plays on until something is written, and stays there for good."""

    def told(progress: PairProgress) -> None:
        if progress.written:
            parent.send(progress.written)
            signal.pause()

    with house(fake) as services:
        services.pairs.run(run, told)


def stands(services: Services, run: int) -> tuple[object, ...]:
    """The whole row of a run, what was written, and how many jobs there are."""
    with services.database.read() as session:
        row = session.get_one(PairRun, run)
        values = {column.name: getattr(row, column.name) for column in PairRun.__table__.columns}
        jobs = session.scalar(select(func.count(Job.id)))
    return values, [one.text for one in candidates(services, run)], jobs


def test_a_run_is_played_by_one_process_only(home: Path, fake_llm: FakeLLM, undisturbed: tuple[object, ...]) -> None:
    fake_llm.script(**SCRIPT)
    with house(fake_llm) as services:
        run = services.pairs.open(wish(services, prompts_file(services, prompts(PROMPTS)))).id
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=play_and_wait, args=(fake_llm, run, there))
    child.start()
    assert here.poll(60)
    with house(fake_llm) as services:
        pairs, before = services.pairs, stands(services, run)
        who, stage = pairs.find_run(run).playing, pairs.find_run(run).stage
        assert stage is PairStage.WRITING and who is not None and (who.pid, who.stopping) == (child.pid, False)
        resume = [sys.executable, "-m", "backend", "pairs", "resume", "--run", "run", "--max-calls", "7"]
        second = subprocess.run(resume, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120)
        assert (second.returncode, second.stdout) == (2, "") and len(second.stderr.splitlines()) == 1
        assert f"Run {run} is being played by process {child.pid}" in second.stderr
        for act in (pairs.run, pairs.resume, pairs.update_caps):
            with pytest.raises(HeldElsewhere) as refused:
                act(run)
            assert f"批次 {run} 正由 {who.host} 上的进程 {child.pid} 进行" in refused.value.message.zh
        assert stands(services, run) == before, "whoever comes second changes nothing"
        asked = CliRunner().invoke(app, ["pairs", "pause", "--run", "run", "--json"], catch_exceptions=False)
        assert json.loads(asked.stdout)["playing"] == {"host": who.host, "pid": child.pid, "stopping": True}

        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(60)
        assert pairs.find_run(run).playing is None, "a dead process holds nothing"
        with pytest.raises(Conflict, match="not in the works"):
            pairs.pause(run)
        seen = []

        def stop_once_judged(progress: PairProgress) -> None:
            if progress.judged:
                seen.append((pairs.funnel(run).seen_by_judge, pairs.pause(run)))

        stopped = pairs.run(run, stop_once_judged)
        assert stopped.state is ScoringRunState.STOPPED and pairs.find_run(run).playing is None
        assert seen[0][0] > 0 and seen[0][1].stage is PairStage.JUDGING, "a page sees verdicts as they come"
        assert pairs.funnel(run).share(4) == stopped.done_share > 0.5
        assert pairs.run(pairs.update_caps(run).id).state is ScoringRunState.DONE
        assert list(left_over(services, run)) == list(undisturbed[:-1])
    assert sum(fake_llm.state()["answered"].values()) - int(str(undisturbed[-1])) <= BATCH_CALLS
