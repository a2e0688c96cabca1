"""Would the tests notice? Small changes to the cores of this project, each of which a test ought to fail on.

`python -m bench.mutants` tries SAMPLE changes of each module, the same ones every time, in a copy of the
project, and prints how many were noticed; `--sample 40` more of them, `--all` every one (hours), `--core
gate` or `--module budget` only some, `--again` only those that the last run left standing. Changes that
nobody noticed lie as diffs in `var/mutants/`. Those that change nothing are told apart by
`bench/mutation/equivalent.toml`, where each has its reason. Operators are mutmut's; words for people, log
lines and docstrings are left alone (`bench/mutation/changes.py` has the list). One trial at a time, about
one a second.
"""

import argparse
import json
import shutil
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.mutation.changes import Mutant, mutants
from bench.mutation.cores import CORES
from bench.mutation.trial import ROOT, Outcome, Trial

SAMPLE = 4
"""Changes tried of each module where nothing else is said: five to ten minutes in all."""
FOLDER = ROOT / "var" / "mutants"
EQUIVALENT = ROOT / "bench" / "mutation" / "equivalent.toml"


@dataclass(frozen=True)
class Module:
    """A module, its sample of all its changes, and the tests that guard it."""

    core: str
    path: str
    tests: tuple[str, ...]
    sample: list[Mutant]
    of: int


def chosen(arguments: argparse.Namespace) -> Iterator[Module]:
    """What the command line asks for. A sample is the first by key, so it does not shift with other lines."""
    for core, modules in CORES.items():
        for path, tests in modules.items():
            if arguments.core not in core or arguments.module not in path:
                continue
            made = mutants(ROOT, path)
            drawn = set(sorted(one.key for one in made)[: None if arguments.all else arguments.sample])
            sample = [one for one in made if one.key in drawn]
            yield Module(core, path, tests, sample, len(made))


def known(file: Path = EQUIVALENT) -> dict[tuple[str, str, str, str], str]:
    """Why a change, known by module, function and the lines before and after, changes nothing."""
    rows = tomllib.loads(file.read_text(encoding="utf-8")).get("equivalent", [])
    return {(row["module"], row["where"], row["before"], row["after"]): row["why"] for row in rows}


def identity(mutant: Mutant) -> tuple[str, str, str, str]:
    """What `known` knows a change by."""
    return mutant.module, mutant.where, mutant.before, mutant.after


class Results:
    """Outcomes by key, kept in a folder after every trial, so that a run can be broken off."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "results.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.by_key: dict[str, dict[str, Any]] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def note(self, mutant: Mutant, outcome: Outcome) -> None:
        """Keep the outcome, and the diff of what nobody noticed."""
        row = {"module": mutant.module, "where": mutant.where, **vars(outcome)}
        self.by_key[mutant.key] = row
        self._file.write_text(json.dumps(self.by_key, indent=1))
        diff = self._folder / Path(mutant.module).with_suffix("") / f"{mutant.key}.diff"
        diff.unlink(missing_ok=True)
        if outcome.name == "survived":
            diff.parent.mkdir(parents=True, exist_ok=True)
            diff.write_text(mutant.diff(ROOT), encoding="utf-8")

    def name(self, mutant: Mutant) -> str:
        """killed, survived, timeout, or "" where it was not tried."""
        return str(self.by_key.get(mutant.key, {}).get("name", ""))


def tried(module: Module, trial: Trial, results: Results, *, again: bool) -> None:
    """Try the sample, or what is still standing of it. What is known to change nothing is not tried."""
    same = known()
    work = [one for one in module.sample if identity(one) not in same]
    if again:
        work = [one for one in work if results.name(one) not in ("killed", "timeout")]
    if not work:
        return
    trial.prepare(module.tests)
    for mutant in work:
        results.note(mutant, trial.outcome(mutant, module.tests))


def counts(modules: list[Module], results: Results) -> Counter[str]:
    """How many of the samples came to what. A change that hangs is noticed: its test never passes."""
    same = known()
    found: Counter[str] = Counter()
    for module in modules:
        found["all"] += module.of
        for mutant in module.sample:
            found["equivalent" if identity(mutant) in same else results.name(mutant) or "not tried"] += 1
    return found


def line(name: str, found: Counter[str]) -> str:
    """One row of the table."""
    noticed = found["killed"] + found["timeout"]
    of = noticed + found["survived"]
    share = f"{noticed / of:6.1%}" if of else "     –"
    cells = (found[key] for key in ("all", "killed", "timeout", "survived", "equivalent", "not tried"))
    return f"{name:42}" + "".join(f"{cell:>11,}" for cell in cells) + f"   {share}"


def table(modules: list[Module], results: Results) -> str:
    """Every module under its core, each core, and all."""
    heads = ("changes", "killed", "timeouts", "survived", "equivalent", "not tried")
    rows = [" " * 42 + "".join(f"{head:>11}" for head in heads) + "   noticed"]
    for core in dict.fromkeys(one.core for one in modules):
        of_core = [one for one in modules if one.core == core]
        rows += [line(f"  {one.path.removeprefix('backend/')}", counts([one], results)) for one in of_core]
        rows.append(line(core, counts(of_core, results)))
    return "\n".join([*rows, line("all", counts(modules, results))])


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", default="", help=f"part of a name: {', '.join(CORES)}")
    parser.add_argument("--module", default="", help="part of a path")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="changes of each module (default %(default)s)")
    parser.add_argument("--all", action="store_true", help="every change")
    parser.add_argument("--again", action="store_true", help="only those not noticed by the run before")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for outcomes and diffs (emptied first)")
    parser.add_argument("--report", action="store_true", help="try nothing, print what is known")
    return parser.parse_args()


def main() -> None:
    """Try, print, and leave diffs."""
    arguments, began = parsed(), time.monotonic()
    if not (arguments.again or arguments.report):
        shutil.rmtree(arguments.folder, ignore_errors=True)
    results, modules = Results(arguments.folder), []
    with Trial() if not arguments.report else nullcontext() as trial:
        for module in chosen(arguments):
            modules.append(module)
            if trial is not None:
                tried(module, trial, results, again=arguments.again)
                print(line(module.path, counts([module], results)), flush=True)
    print(table(modules, results))
    print(f"{time.monotonic() - began:.0f} s; diffs of what nobody noticed: {arguments.folder}")


if __name__ == "__main__":
    main()
