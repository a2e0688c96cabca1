"""Programs of `backend.training` run as they are: in processes of their own, tiny and by hand."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from backend.core.settings import PROJECT_ROOT
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.training.snapshot import Snapshot, SnapshotOptions, export_snapshot
from tests import warm

TINY = {
    "batch_size": 4,
    "max_length": 160,
    "log_every": 1,
    "save_every": 100,
    "eval_every": 100,
    "sample_every": 100,
    "samples": 1,
    "threads": 1,
    "dtype": "float32",
}
_STEP = re.compile(r"^step (\d+)/\d+ loss (\S+)", re.MULTILINE)


def snapshot(database: Database, home: Path, folder: Path) -> Snapshot:
    """A data snapshot of a few dozen pairs of the seed corpus."""
    lines = (PROJECT_ROOT / "data" / "seed" / "family.jsonl").read_text("utf-8").splitlines()[:80]
    file = folder / "few.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    CorpusService(database).import_file(file, dataset="few", kind="seed")
    return export_snapshot(database, home, SnapshotOptions())


def arguments(out: Path, *more: str, **values: Any) -> list[str]:
    """The arguments of a program run by hand."""
    sets = [f"--set={name}={value}" for name, value in (TINY | values).items()]
    return ["--out", str(out), *sets, *more]


def probe(*given: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run `tests.training_probe`; what it prints."""
    done = warm.run("tests.training_probe", *given, said=said)
    assert done.returncode == 0, done.stderr
    return done


def run(program: str, out: Path, *more: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return warm.run(f"backend.training.programs.{program}", *arguments(out, *more, **values))


def broken(fault: str, file: str, count: int, program: str, *given: str) -> subprocess.CompletedProcess[str]:
    """Run a program with a fault at a file, see `tests.fault_injection`."""
    module = f"backend.training.programs.{program}"
    return warm.run("tests.fault_injection", fault, file, str(count), module, *given)


def run_cold(program: str, out: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    """The same, started as a person would."""
    command = [sys.executable, "-m", f"backend.training.programs.{program}", *arguments(out, **values)]
    environment = os.environ | warm.FIXED
    return subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=120)


def interrupted(program: str, out: Path, at: str, **values: Any) -> tuple[int, str]:
    """Run a program, send SIGTERM once its output holds `at`; exit code and output."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as output, open(os.devnull) as nothing:
        files = (nothing.fileno(), writing, writing)
        process = warm.started(
            f"backend.training.programs.{program}", *arguments(out, **values), files=files, env=os.environ
        )
        os.close(writing)
        said: list[str] = []
        for line in output:
            said.append(line)
            if line.startswith(at):
                process.send_signal(signal.SIGTERM)
    return process.wait(), "".join(said)


def losses(output: str) -> dict[int, float]:
    """Training loss by step."""
    return {int(step): float(loss) for step, loss in _STEP.findall(output)}


def card(out: Path) -> dict[str, Any]:
    """The model card of a finished run."""
    found: dict[str, Any] = json.loads((out / "artifact" / "artifact.json").read_text("utf-8"))
    return found


def within(seconds: float, look: Any) -> Any:
    """What `look` returns once it is true."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.05)
    return found
