"""Every program in two processes, as `accelerate launch` starts them: whole, stopped, killed, resumed, in error.

    python -m bench.several_processes [--program sft …]

Tiny models on the CPU (gloo), some four minutes a program on two cores. One JSON line for each run: exit code,
seconds, losses; the last line says what does not hold, and the exit code is 1 where something does not.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from backend.core.settings import PROJECT_ROOT
from backend.jobs.outcome import STOPPED
from tests.grpo_fixtures import TinyHome, make_tiny_home

PROGRAMS = ("sft", "reward_model", "dpo", "grpo")
STEPS = 6
BASICS: dict[str, Any] = {
    "processes": 2,
    "max_steps": STEPS,
    "batch_size": 4,
    "max_length": 160,
    "log_every": 1,
    "save_every": 2,
    "eval_every": 100,
    "samples": 0,
    "dtype": "float32",
    "learning_rate": 0.001,
}
GRPO = {"prompts": 4, "generations": 4, "batch_size": 8, "max_new_tokens": 12, "eval_prompts": 4, "gold": "off"}
_STEP = re.compile(r"^step (\d+)/\d+ loss (\S+)")


def settings_of(program: str, home: TinyHome) -> dict[str, Any]:
    """Settings of a program on the tiny models."""
    settings = BASICS | {"base": home.policy, "snapshot": home.snapshot}
    return settings | GRPO | {"reward_artifact": home.rm} if program == "grpo" else settings


def launch(
    program: str, out: Path, settings: dict[str, Any], *more: str, act: Callable[[int, int], bool] | None = None
) -> dict[str, Any]:
    """Run a program to its end; `act` is told its process number and each step until it has acted (True)."""
    assignments = [f"--set={name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", f"backend.training.programs.{program}", "--out", str(out), *assignments, *more]
    started = time.monotonic()
    losses: dict[int, float] = {}
    last_words: list[str] = []
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last_words = [*last_words[-20:], line.rstrip()]
            if step_line := _STEP.match(line):
                losses[int(step_line[1])] = float(step_line[2])
                if act is not None and act(process.pid, int(step_line[1])):
                    act = None
    errors = [line for line in last_words if line.startswith("error: ")]
    return {
        "program": program,
        "code": process.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "losses": losses,
        "error": errors[-1] if errors else None,
        "last": last_words[-1:] if process.returncode not in (0, STOPPED) else [],
        "left": [one.pid for one in psutil.process_iter(["cmdline"]) if str(out) in (one.info["cmdline"] or [])],
    }


def ask_to_stop(process_id: int, step: int) -> bool:
    """SIGTERM to the program that was started, after the second step."""
    if step >= 2:
        os.kill(process_id, signal.SIGTERM)
    return step >= 2


def kill_one(process_id: int, step: int) -> bool:
    """SIGKILL to the second of its processes, after the third step: past a checkpoint."""
    if step < 3:
        return False
    launcher = psutil.Process(process_id).children()[0]
    ranks = [one for one in launcher.children() if one.environ().get("RANK") == "1"]
    ranks[0].kill()
    return True


def is_same(parts: dict[int, float], whole: dict[int, float]) -> bool:
    """Whether the losses of an interrupted run are those of an uninterrupted one."""
    return parts.keys() == whole.keys() and all(abs(parts[step] - whole[step]) <= 2e-3 for step in whole)


def check_program(program: str, home: TinyHome, folder: Path) -> list[str]:
    """Every scenario of a program, printed; what does not hold."""
    settings, runs = settings_of(program, home), {}
    for name, out, more, act, changes in (
        ("whole", "whole", (), None, {}),
        ("stopped", "stopped", (), ask_to_stop, {}),
        ("resumed after a stop", "stopped", ("--resume",), None, {}),
        ("killed", "killed", (), kill_one, {}),
        ("resumed after a kill", "killed", ("--resume",), None, {}),
        ("too many processes", "many", (), None, {"processes": 64, "batch_size": 1, "prompts": 64}),
        ("an error in each process", "error", (), None, {"base": "/nowhere/at/all"}),
        ("a base that is broken", "broken", (), None, {"base": _broken_base(folder)}),
    ):
        allowed = {key: value for key, value in changes.items() if key in settings}
        runs[name] = launch(program, folder / f"{program}-{out}", settings | allowed, *more, act=act)
        print(json.dumps({"run": name} | runs[name], ensure_ascii=False), flush=True)
    whole, killed = runs["whole"]["losses"], runs["killed"]["losses"]
    after_kill = runs["resumed after a kill"]["losses"]
    checks = {
        "the whole run succeeds": runs["whole"]["code"] == 0 and len(whole) == STEPS,
        "a stop is exit code 75": runs["stopped"]["code"] == STOPPED and len(runs["stopped"]["losses"]) < STEPS,
        "stopped and resumed is like never stopped": is_same(
            runs["stopped"]["losses"] | runs["resumed after a stop"]["losses"], whole
        ),
        "a killed process ends the run": runs["killed"]["code"] not in (0, STOPPED),
        "killed and resumed is like never killed": is_same(killed | after_kill, whole) and min(after_kill) > 1,
        "errors are one sentence and exit code 2": all(
            runs[name]["code"] == 2 and runs[name]["error"]
            for name in ("too many processes", "an error in each process", "a base that is broken")
        ),
        "nothing is left running": not any(run["left"] for run in runs.values()),
    }
    return [f"{program}: {name}" for name, holds in checks.items() if not holds]


def _broken_base(folder: Path) -> Path:
    """A folder that looks like a model until its processes load it."""
    base = folder / "broken-base"
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text("{}", "utf-8")
    return base


def main() -> None:
    """Every program that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = make_tiny_home(folder)
        os.environ["ZHUFU_HOME"] = str(home.home)
        failed = [what for program in options.program or PROGRAMS for what in check_program(program, home, folder)]
    print(json.dumps({"fails": failed}, ensure_ascii=False))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
