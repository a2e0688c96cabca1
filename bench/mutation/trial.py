"""A copy of the project in a temporary folder, in which one change after another is tried."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.mutation.changes import Mutant

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", "artifacts", "node_modules")
FIRST_LIMIT = 300.0
"""Seconds that the tests of one module may take before any change."""


@dataclass(frozen=True)
class Outcome:
    """killed, survived or timeout; after how many seconds, and by which test."""

    name: str
    seconds: float
    by: str


class Trial:
    """The copy and the process that runs tests in it. The working tree is only read."""

    def __enter__(self) -> "Trial":
        self._folder = Path(tempfile.mkdtemp(prefix="zhufu-mutants-"))
        self._tree = self._folder / "tree"
        shutil.copytree(ROOT, self._tree, ignore=OUTSIDE)
        settings = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(self._tree),
            "TMPDIR": str(self._folder),
        }
        self._log = self._folder / "log"
        self._zygote = subprocess.Popen(
            [sys.executable, str(self._tree / "bench/mutation/zygote.py")],
            cwd=self._tree,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._limits: dict[tuple[str, ...], float] = {}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zygote.kill()
        self._zygote.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare(self, tests: tuple[str, ...]) -> None:
        """Run the tests once on the project as it is. Raises SystemExit where they fail."""
        if tests in self._limits:
            return
        status, seconds = self._run(tests, FIRST_LIMIT, first=True)
        if status != 0:
            raise SystemExit(f"{' '.join(tests)} fail before any change:\n{self._log.read_text()}")
        self._limits[tests] = 10 + 4 * seconds

    def outcome(self, mutant: Mutant, tests: tuple[str, ...]) -> Outcome:
        """Whether the tests notice the change."""
        file = self._tree / mutant.module
        untouched = file.read_bytes()
        try:
            file.write_text(mutant.source, encoding="utf-8")
            status, seconds = self._run(tests, self._limits[tests], first=False)
        finally:
            file.write_bytes(untouched)
        if status is None:
            return Outcome("timeout", seconds, "")
        return Outcome("killed" if status else "survived", seconds, self._failed() if status else "")

    def _run(self, tests: tuple[str, ...], timeout: float, *, first: bool) -> tuple[int | None, float]:
        asked = {"tests": tests, "timeout": timeout, "log": str(self._log), "first": first}
        assert self._zygote.stdin is not None and self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(asked) + "\n")
        self._zygote.stdin.flush()
        reply = json.loads(self._zygote.stdout.readline())
        return reply["status"], reply["seconds"]

    def _failed(self) -> str:
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", self._log.read_text(errors="replace"), re.MULTILINE)
        return found.group(1) if found else "the process ended"
