"""A tiny policy behind an address: answers, is announced, ends when asked or idle."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from backend.core.enums import EventKind, JobStatus
from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.db.engine import Database
from backend.generation.serving import parse_serve_settings
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.report import STOPPED
from backend.jobs.service import JobService
from backend.training.programs.serve import find_policy
from tests.grpo_fixtures import TinyHome, make_tiny_home
from tests.job_helpers import members, sweep, until, worker

pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> TinyHome:
    return make_tiny_home(tmp_path_factory.getbasetemp())


@pytest.fixture
def service(database: Database, home: Path) -> Iterator[JobService]:
    yield JobService(database, home, job_programs=JOB_PROGRAMS)
    sweep(database)


def start(out: Path, *settings: str) -> subprocess.Popen[str]:
    pairs = [part for one in settings for part in ("--set", one)]
    return subprocess.Popen(
        [sys.executable, "-m", "backend.training.programs.serve", "--out", str(out), *pairs],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    return output


def ask(found: dict[str, object]) -> str:
    with OpenAI(base_url=str(found["base_url"]), api_key="none", max_retries=0) as client:
        reply = client.chat.completions.create(
            model=str(found["model"]), messages=[{"role": "user", "content": "新年祝福"}], max_tokens=4
        )
        assert reply.usage is not None and reply.usage.completion_tokens > 0
        return str(reply.model)


def test_a_job_serves_until_it_is_cancelled(
    service: JobService, database: Database, home: Path, tiny_home: TinyHome
) -> None:
    with worker(home):
        job_id = service.submit("serve", {"artifact": str(tiny_home.policy), "model": "tiny"}).id
        until(lambda: service.events(job_id, event_kinds=[EventKind.LOG]) or service.job(job_id).ended, 60)
        found = service.events(job_id, event_kinds=[EventKind.LOG])[0].data
        assert "tiny" in ask(found)
        until(lambda: found["base_url"] in service.job(job_id).progress_text)
        service.cancel(job_id)
        until(lambda: service.job(job_id).ended)
    job = service.job(job_id)
    assert job.status is JobStatus.CANCELLED
    assert members(database, job) == []


def test_an_idle_server_ends_by_itself(tmp_path: Path, home: Path, tiny_home: TinyHome) -> None:
    process = start(tmp_path / "out", f"artifact={tiny_home.policy}", "idle_minutes=0.02")
    output = said(process)
    assert process.returncode == 0, output
    found = json.loads((tmp_path / "out" / "endpoint.json").read_text())
    assert found["host"] == "127.0.0.1" and found["model"] == "zhufu-policy"
    assert "no request for 0.02 minutes" in output


def test_sigterm_ends_the_server_first(tmp_path: Path, home: Path, tiny_home: TinyHome) -> None:
    process = start(tmp_path / "out", f"artifact={tiny_home.lora}")
    until((tmp_path / "out" / "endpoint.json").exists, 60)
    found = json.loads((tmp_path / "out" / "endpoint.json").read_text())
    ask(found)
    assert list((home / "merged").glob("*/config.json")), "an adapter is merged first"
    process.send_signal(signal.SIGTERM)
    output = said(process)
    assert process.returncode == STOPPED, output
    with pytest.raises(Exception, match="Connection"):
        ask(found)


def test_a_broken_model_is_one_sentence(tmp_path: Path, home: Path, tiny_home: TinyHome) -> None:
    shutil.copytree(tiny_home.policy, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    began = time.monotonic()
    process = start(tmp_path / "out", f"artifact={tmp_path / 'broken'}")
    assert "error: The model server did not start" in said(process)
    assert process.returncode == 2 and time.monotonic() - began < 60


VLLM = """
import http.server, json, sys

if sys.argv[1:]:
    print(json.dumps(sys.argv[1:]), flush=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def test_vllm_is_run_by_its_module(
    tmp_path: Path, home: Path, tiny_home: TinyHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker finds it whose PATH lacks the scripts of its own installation."""
    package = tmp_path / "packages" / "vllm"
    (package / "entrypoints" / "cli").mkdir(parents=True)
    for folder in (package, package / "entrypoints", package / "entrypoints" / "cli"):
        (folder / "__init__.py").touch()
    (package / "entrypoints" / "cli" / "main.py").write_text(VLLM, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    process = start(tmp_path / "out", f"artifact={tiny_home.policy}", "engine=vllm", "idle_minutes=0.001")
    output = said(process)
    assert process.returncode == 0, output
    assert '["serve", "zhufu-policy", "--served-model-name", "zhufu-policy", "--host", "127.0.0.1", "--port"' in output
    (package / "__init__.py").write_text("import libcudart", "utf-8")
    process = start(tmp_path / "out", f"artifact={tiny_home.policy}", "engine=vllm")
    assert "error: engine = vllm, but vLLM cannot be imported (ModuleNotFoundError: No module" in said(process)
    assert process.returncode == 2


def test_what_is_wrong_is_said_before_the_start(database: Database, tmp_path: Path) -> None:
    for wish in ("latest", "artifact:7", "artifact:x", str(tmp_path)):
        with pytest.raises(UserError, match="no trained policy"):
            find_policy(database, wish)
    for values, field in (({"port": 70000}, "port"), ({"model": "a/b@c"}, "model"), ({"color": 1}, "color")):
        with pytest.raises(UserError, match=field):
            parse_serve_settings(values)
