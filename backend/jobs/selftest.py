"""A tiny real program that proves queue, worker and runner: it counts, reports, saves and resumes.

    python -m backend.jobs.selftest --job N

Its settings: `steps`, `seconds` (a step), `until` (done early when this file exists), and what goes
wrong: `fail_at` (an exception), `error_at` (a UserError), `kill_at` (SIGKILL to itself), `ignore_sigterm`,
`child` ("group" or "session": a grandchild that leaves the group or even the session), `linger` (the child
outlives the program).
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.errors import UserError
from backend.jobs.outcome import STOPPED
from backend.jobs.report import JobReport
from backend.settings import Settings


def main() -> None:
    """Run the job named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=int, required=True)
    job_id = parser.parse_args().job
    settings = Settings.load()
    database = Database(settings.url)
    try:
        with database.read() as session:
            job = session.get_one(Job, job_id)
        with JobReport(database, job_id) as report:
            code = count(job.config, Path(job.log_path or "").parent, report)
    except UserError as error:
        print(f"error: {error}", flush=True)
        code = 2
    finally:
        database.close()
    sys.exit(code)


def count(config: dict[str, Any], folder: Path, report: JobReport) -> int:
    """Count to `steps` from where the checkpoint stands; the exit code."""
    steps, seconds = int(config.get("steps", 3)), float(config.get("seconds", 0.0))
    if config.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = _child(config.get("child"))
    checkpoint = folder / "checkpoint.txt"
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    report.log(f"counting from {start} to {steps} as process {os.getpid()}")
    for step in range(start + 1, steps + 1):
        time.sleep(seconds)
        _misbehave(config, step)
        _save(checkpoint, step)
        report.metric(step, count=step, attempt_start=start)
        report.progress(step / steps, f"{step} / {steps}")
        if "until" in config and Path(config["until"]).exists():
            break
        if report.stop_requested() and not config.get("ignore_sigterm"):
            return STOPPED
    if child is not None and not config.get("linger"):
        child.kill()
        child.wait()
    return 0


def _save(checkpoint: Path, step: int) -> None:
    draft = checkpoint.with_suffix(".new")
    draft.write_text(str(step))
    draft.replace(checkpoint)


def _misbehave(config: dict[str, Any], step: int) -> None:
    if step == config.get("fail_at"):
        raise ValueError(f"step {step} went wrong")
    if step == config.get("error_at"):
        raise UserError(f"Step {step} is not possible.", f"第 {step} 步无法进行。")
    if step == config.get("kill_at"):
        os.kill(os.getpid(), signal.SIGKILL)


def _child(way: str | None) -> "subprocess.Popen[bytes] | None":
    if way is None:
        return None
    sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    if way == "session":
        return subprocess.Popen(sleeper, start_new_session=True)
    return subprocess.Popen(sleeper, process_group=0)


if __name__ == "__main__":
    main()
