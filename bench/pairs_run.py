"""A whole run of pairs against the fake server: `python -m bench.pairs_run [--prompts N] [--judge J]`.

With --second only the second opinion is measured: none, the judge again where its mistakes are systematic
(the same again), and where they are independent (others at another draw).

The fake generator's good texts are longer. Says how well length and style alone tell the emitted pairs, how
many that cost, how often a label is the hidden truth, and the peak memory of the run beside that of a run a
quarter as long, which should be about the same.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from backend.core.settings import PROJECT_ROOT, Settings
from backend.preferences.emit import PossiblePairs, emit_pairs
from backend.preferences.records import PairFilter
from backend.services import build_services
from tests.fake_llm import quality
from tests.llm_fixtures import FakeLLM, running
from tests.pair_helpers import SCRIPT, house, judged_run, prompts, prompts_file


def main() -> None:
    """Run a quarter, then all, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2_000)
    parser.add_argument("--judge", default="principle")
    parser.add_argument("--second", action="store_true")
    given = parser.parse_args()
    if given.second:
        print(json.dumps(opinions(given.prompts, given.judge), indent=1))
        return
    with running() as fake:
        fake.script(**SCRIPT)
        quarter = measured(fake, given.prompts // 4, given.judge)
        whole = measured(fake, given.prompts, given.judge)
    pairing = {"prompts": 10_000, **paired(10_000)}
    ratio = whole["peak_mb"] / quarter["peak_mb"]
    print(
        json.dumps(
            {"quarter": quarter, "whole": whole, "memory_ratio": round(ratio, 3), "pairing": pairing},
            indent=1,
        )
    )


def opinions(count: int, judge: str) -> dict[str, Any]:
    """The same run without a second opinion, and with one of a judge who errs alike or otherwise."""
    found = {}
    with running() as fake:
        for name, second, reply in (
            ("none", "none", "panel"),
            ("systematic", "again", "panel"),
            ("independent", "again", "wavering"),
        ):
            fake.script(**SCRIPT | {"reply": f"tests.pair_replies:{reply}"})
            found[name] = measured(fake, count, judge, second)
    return found


def measured(fake: FakeLLM, count: int, judge: str, second: str = "none") -> dict[str, Any]:
    """One run by command in a fresh home, with its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZHUFU_HOME"] = folder
        with house(fake, concurrency=32) as services:
            source = prompts_file(services, prompts(count))
        options = ["--prompts", source, "--generators", "fake", "--judge", judge, "--endpoint", "fake"]
        command = [
            sys.executable,
            "-m",
            "backend",
            "pairs",
            *options,
            "--check",
            "0",
            "--second",
            second,
            "--name",
            "bench",
            "--json",
        ]
        began = time.monotonic()
        out = Path(folder) / "out.json"
        with out.open("wb") as file:
            child = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=file)
            _, status, used = os.wait4(child.pid, 0)
        assert status == 0, "the run failed"
        found = json.loads(out.read_text(encoding="utf-8"))
        names = ("prompts", "candidates", "judged", "possible", "pairs", "length_accuracy", "style_accuracy")
        return {
            **{name: found[name] for name in names},
            "dropped": found["dropped"],
            "calls": found["calls"],
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_mb": round(used.ru_maxrss / 1024),
            **truth(),
        }


def paired(count: int) -> dict[str, Any]:
    """The last stage alone, on that many prompts with four judged candidates each: in a fresh process."""
    code = f"from bench.pairs_run import pairing_alone; pairing_alone({count})"
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"ZHUFU_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
    return dict(json.loads(done.stdout))


def pairing_alone(count: int) -> None:
    """Fill a house, then pair, and print what that took beyond the filled house."""
    services = build_services(Settings.load())
    run = judged_run(services, count)
    importlib.import_module("sklearn.linear_model")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    report = emit_pairs(services.database, run, services.pairs.find_run(run).request)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
    services.close()
    found = {"possible": report.possible, "pairs": report.after.pairs, "grown_mb": grown // 1024}
    print(json.dumps({**found, "cpu_seconds": round(time.process_time() - began, 1)}))


def truth() -> dict[str, Any]:
    """How often labels are the hidden truth, and how well the surface told them before balancing."""
    services = build_services(Settings.load())
    try:
        run = services.pairs.find_run("bench")
        possible = [
            (pair.chosen.text, pair.rejected.text) for pair in PossiblePairs(services.database, run.id, run.request.way)
        ]
        page = services.pairs.pair_page(run.id, PairFilter(), 0, 1_000_000)
        emitted = [(row.chosen, row.rejected) for row in page.rows]
    finally:
        services.close()
    before = run.report.before if run.report else None
    return {
        "labels_right": {"possible": right(possible), "emitted": right(emitted)},
        "told_before": {"length": before.length, "style": before.style} if before else {},
    }


def right(pairs: list[tuple[str, str]]) -> float:
    """Share of pairs that are the hidden truth."""
    return round(sum(quality(a) == 1 and quality(b) == 0 for a, b in pairs) / max(len(pairs), 1), 3)


if __name__ == "__main__":
    main()
