"""The fake model server as a fixture, and short ways to endpoints and clients for it."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from backend.core.settings import PROJECT_ROOT
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FAST = RetryPolicy(base_pause_s=0.01, max_pause_s=0.05)


class FakeLLM:
    """A handle on the server in its own process."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.base_url = f"{address}/v1"

    def script(self, **changes: Any) -> None:
        """A fresh script and fresh counters."""
        self._call(json.dumps(changes).encode())

    def state(self) -> dict[str, Any]:
        """Counters and the last request bodies."""
        return self._call(None)

    def endpoint(self, **changes: Any) -> Endpoint:
        """An endpoint for this server."""
        given = {"name": "fake", "base_url": self.base_url, "model": "fake", "timeout_s": 5.0, **changes}
        if isinstance(given.get("api_key"), str):
            given["api_key"] = SecretStr(given["api_key"])
        return Endpoint(**given)

    def _call(self, data: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}/_control", data=data)
        with _DIRECT.open(request, timeout=10) as response:
            return dict(json.loads(response.read()))


@contextlib.contextmanager
def running(port: int = 0) -> Iterator[FakeLLM]:
    """The server, from start to end; port 0 is any free one."""
    command = [sys.executable, "-m", "tests.fake_llm", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT)
    assert process.stdout is not None
    try:
        yield FakeLLM(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def _fake_llm_process() -> Iterator[FakeLLM]:
    with running() as fake:
        yield fake


@pytest.fixture
def fake_llm(_fake_llm_process: FakeLLM) -> FakeLLM:
    """The fake server with an empty script: verdicts by hidden quality, no latency, no faults."""
    _fake_llm_process.script()
    return _fake_llm_process
