"""A run that is killed in any stage goes on where it was, and ends with what an undisturbed one has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from backend.db.pair_tables import PairRun, RunPair
from backend.db.tables import Campaign
from backend.llm.database_ledger import BATCH
from backend.pairs.records import Checking, RunState
from backend.pairs.vocabulary import Stage
from backend.services import Services
from backend.settings import ROOT
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, candidates, house, prompts, prompts_file, request, stored

pytestmark = pytest.mark.database
PROMPTS = 12
KILLED = {
    "filtering": (2, Stage.FILTERING),
    "writing": (1, Stage.WRITING),
    "judging": (1, Stage.JUDGING),
    "pairing": (2, Stage.PAIRING),
    "people": (1, Stage.PAIRING),
}


def killed(stage: str, source: str) -> int:
    options = ["pairs", "--prompts", source, "--generators", "fake", "--judge", "principle", "--unbalanced"]
    rest = ["--check", "0.3", "--raters", "1", "--name", "run", "--endpoint", "fake"]
    command = [sys.executable, "-m", "tests.pair_killed", stage, str(KILLED[stage][0]), *options, *rest]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, timeout=120
    ).returncode


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
        options = {"balance_length": False, "balance_style": False, "checking": Checking(0.3, 1)}
        wish = request(services, source, judge="principle", name="run", **options)
        final = services.pairs.run(services.pairs.open(wish).id)
        found = left_over(services, final.run)
    patch.undo()
    return (*found, final.calls)


@pytest.mark.parametrize("stage", KILLED)
def test_killed_and_resumed(
    home: Path, fake_llm: FakeLLM, undisturbed: tuple[object, ...], stage: str
) -> None:
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
    assert final.state is RunState.DONE and found == list(undisturbed[:-1])
    repeated = answered - int(str(undisturbed[-1]))
    print(f"{stage}: {before} answered before the kill, {repeated} repeated, {calls} counted")
    assert 0 <= repeated <= BATCH
