"""The reward model judge: a real tiny model behind its pipes, and programs that misbehave."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.judges.base import EMPTY_GREETING, Judgment, Sample
from backend.judges.reward_model import TEXT_TOO_LONG, RewardModelJudge
from backend.judges.scoring.run import run_blocking
from backend.training.programs.reward_terms import LengthDebias
from tests import warm
from tests.tiny_models import EXPECTED, SAMPLE, build

TEXTS = ["祝您生日快乐", "新年好", "福" * 30, "祝您福如东海，寿比南山！", "好"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny trained model."""
    return build(tmp_path_factory.mktemp("reward"), "reward")


@pytest.fixture(scope="module")
def judge(artifact: Path) -> Iterator[RewardModelJudge]:
    """Its judge, with one process for all tests."""
    made = RewardModelJudge(artifact)
    yield made
    made.close()


def score(judge: RewardModelJudge, texts: list[str]) -> list[Judgment]:
    return run_blocking(judge.score([Sample("给奶奶", text) for text in texts]))


def test_scores_do_not_depend_on_batch_or_order(judge: RewardModelJudge):
    together = [draft.value for draft in score(judge, TEXTS)]
    alone = [score(judge, [text])[0].value for text in TEXTS]
    backwards = [draft.value for draft in score(judge, TEXTS[::-1])][::-1]
    assert all(isinstance(value, float) for value in together)
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(backwards, abs=1e-5)
    assert len(set(together)) == len(TEXTS)


def test_scores_are_those_of_the_model_computed_by_hand(judge: RewardModelJudge, artifact: Path):
    draft = run_blocking(judge.score([Sample(*SAMPLE)]))[0]
    assert draft.value == pytest.approx(float((artifact / EXPECTED).read_text()), abs=1e-5)


def test_length_is_taken_out_once_whichever_way_the_model_is_reached(tmp_path: Path, artifact: Path):
    folder = Path(shutil.copytree(artifact, tmp_path / "debiased"))
    LengthDebias(slope=0.1, mean=1.0).save(folder)
    raw = float((artifact / EXPECTED).read_text())
    # Six characters are five above the mean of one, at a tenth each.
    wanted = raw - 0.1 * (6 - 1)
    done = warm.run("tests.training_probe", "reward", str(folder), said=json.dumps(SAMPLE))
    assert done.returncode == 0, done.stderr
    here = json.loads(done.stdout.splitlines()[-1])
    served = RewardModelJudge(folder)
    there = run_blocking(served.score([Sample(*SAMPLE)]))[0].value
    served.close()
    assert here["raw"] == [pytest.approx(raw, abs=1e-5)]
    assert here["reward"] == [pytest.approx(wanted, abs=1e-5)]
    assert there == pytest.approx(wanted, abs=1e-5)
    assert here["binary"] == [float(wanted > 0)]


def test_empty_is_unscored_and_too_long_too(judge: RewardModelJudge):
    assert score(judge, ["", "福" * 5_000, "好"])[:2] == [EMPTY_GREETING, TEXT_TOO_LONG]
    assert score(judge, []) == []


def test_a_killed_process_is_started_again(judge: RewardModelJudge):
    before = score(judge, TEXTS)
    running = judge._json_pipe._running_program
    assert running is not None
    running.kill()
    running._process.wait()
    assert score(judge, TEXTS) == before


def test_the_version_is_the_content_of_the_folder(tmp_path: Path, artifact: Path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in artifact.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    version = RewardModelJudge(artifact).version
    assert RewardModelJudge(copy).version == version != RewardModelJudge(copy, max_length=8).version
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert RewardModelJudge(copy).version != version


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        RewardModelJudge(tmp_path)
    assert "config.json" in caught.value.text("zh")


def test_the_web_process_does_not_load_torch_for_it():
    code = "import backend.judges.reward_model, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


MISBEHAVING = {
    "exits at once": ("import sys; sys.exit('cuda is gone')", "cuda is gone"),
    "says an error": ('print(\'{"error": "no such head"}\')', "no such head"),
    "talks nonsense": ("print('hello')", "JSON"),
    "is silent": ("import time; time.sleep(60)", "no reply"),
    "dies at the first batch": ("print('{\"ready\": true}', flush=True); input()", "exit code 0"),
    "answers another question": (
        "print('{\"ready\": true}', flush=True)\nwhile input(): print('{\"id\": -1}', flush=True)",
        "another request",
    ),
    "gives too few scores": (
        "import json\nprint('{\"ready\": true}', flush=True)\n"
        "while True: print(json.dumps({'id': json.loads(input())['id'], 'scores': []}), flush=True)",
        "格式不对",
    ),
    "fails at the batch": (
        "import json\nprint('{\"ready\": true}', flush=True)\n"
        "while True: print(json.dumps({'id': json.loads(input())['id'], 'error': 'oom'}), flush=True)",
        "oom",
    ),
    "gives no number": (
        "import json\nprint('{\"ready\": true}', flush=True)\n"
        "while True: print(json.dumps({'id': json.loads(input())['id'], 'scores': [1e999]}), flush=True)",
        "不是有效的数",
    ),
}


@pytest.mark.parametrize(("code", "told"), MISBEHAVING.values(), ids=MISBEHAVING.keys())
def test_whatever_the_process_does_the_items_are_unscored_with_the_reason(artifact: Path, code: str, told: str):
    judge = RewardModelJudge(artifact, timeout_s=0.7, command=[sys.executable, "-c", code])
    try:
        draft = score(judge, ["好"])[0]
        assert draft.value is None and told in draft.reason
    finally:
        judge.close()


def test_closing_ends_a_request_that_hangs(artifact: Path):
    hangs = "print('{\"ready\": true}', flush=True)\nimport time; time.sleep(60)"
    judge = RewardModelJudge(artifact, timeout_s=30, command=[sys.executable, "-c", hangs])

    async def run() -> list[Judgment]:
        task = asyncio.create_task(judge.score([Sample("给奶奶", "好")]))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(judge.close)
        return await task

    began = time.monotonic()
    assert run_blocking(run())[0].value is None
    assert time.monotonic() - began < 10
