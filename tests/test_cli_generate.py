"""`generate`: the object, the exit codes, the sentences."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.core.settings import PROJECT_ROOT
from backend.services import Services
from tests.llm_fixtures import FakeLLM
from tests.playing import GREETING, WISH, endpoint

pytestmark = pytest.mark.database


def run(*given: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "generate", "--json", *given],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_greetings_come_as_one_object(services: Services, home: Path, fake_llm: FakeLLM) -> None:
    endpoint(services, fake_llm)
    fake_llm.script(reply=GREETING)
    code, said, _ = run("--endpoint", "fake", "--prompt", WISH, "-n", "3", "--seed", "5")
    assert code == 0 and said["prompt"] == WISH and said["model"] == "fake"
    assert [one["seed"] for one in said["greetings"]] == [5, 6, 7]
    assert len({one["text"] for one in said["greetings"]}) == 3
    assert services.play.tallies()[0].greetings == 3
    fake_llm.script(reply="tests.greeting_replies:garbage")
    code, said, _ = run("--endpoint", "fake", "--prompt", WISH)
    assert code == 1 and said["greetings"][0]["text"] == "" and said["greetings"][0]["error"]


def test_wrong_use_is_one_sentence(services: Services, home: Path) -> None:
    for given, told in (
        (("--prompt", WISH), "either --artifact or --endpoint"),
        (("--prompt", WISH, "--endpoint", "a", "--artifact", "1"), "either"),
        (("--prompt", WISH, "--artifact", "7"), "no generator “artifact:7”"),
    ):
        code, _, error = run(*given)
        assert code == 2 and error.startswith("error: ") and told in error and error.count("\n") == 1
