"""Commands that only look, with their keys and values, and the sentences for wrong use."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.golden.archive import as_set, copied
from tests.golden.expected import same
from tests.golden.looks import doors

pytestmark = pytest.mark.database
Masked = Callable[[Any], Any]
MAIN, ASKED = ("--endpoint", "示例模型"), "给奶奶的八十大寿祝福"

LOOKS: dict[str, tuple[str, ...]] = {
    "agreement": ("agreement",),
    "agreement-short": ("agreement", "--reference", "短评", "--judge", "rubric"),
    "agreement-compare": ("agreement", "--reference", "哪条更好"),
    "agreement-models": ("agreement", "--reference", "fake · 示例模型 · 1"),
    "examples": ("examples", ASKED, "-n", "3"),
    "pairs-list": ("pairs", "list"),
    "pairs-table": ("pairs", "table", "--run", "第一批", "--limit", "6"),
    "pairs-table-review": ("pairs", "table", "--run", "1", "--state", "review"),
    "pairs-show": ("pairs", "show", "1"),
    "pairs-estimate": ("pairs", "--prompts", "seed", "--generators", "示例模型", *MAIN, "--estimate"),
    "pairs-ablate-estimate": ("pairs", "ablate", "--dataset", "小集", *MAIN, "--estimate"),
    "principles-list": ("principles", "list"),
    "principles-list-run": ("principles", "list", "--run", "1", "--role", "S_D"),
    "principles-show": ("principles", "show", "5"),
    "principles-diff": ("principles", "diff", "1", "5"),
    "principles-runs": ("principles", "runs"),
    "principles-report": ("principles", "report", "1", "2"),
    "principles-answer": ("principles", "answer", "3"),
    "principles-estimate": ("principles", "--dataset", "world", *MAIN, "--rounds", "2", "--estimate"),
    "principles-replay": ("principles", "--replay", "2"),
    "judges-list": ("judges", "list"),
    "endpoints-list": ("endpoints", "list"),
    "jobs-list": ("jobs", "list"),
    "jobs-list-kind": ("jobs", "list", "--kind", "score", "--limit", "2"),
    "jobs-show": ("jobs", "show", "7"),
    "jobs-log": ("jobs", "log", "2"),
    "score-estimate": ("score", "--judge", "rubric", "--dataset", "world", "--estimate"),
    "score-again": ("score", "--judge", "rubric", "--dataset", "短评"),
    "export": ("export", "pairs", "--format", "csv", "-o", "OUT/pairs.csv"),
    "export-labels": ("export", "labels", "--format", "trl", "--dataset", "短评", "-o", "OUT/labels.jsonl"),
    "compose": ("compose", "-o", "OUT/composed.jsonl", "--rows", "5", "--seed", "3"),
    "migrate": ("migrate",),
    "doctor": ("doctor",),
}
OF_THE_MOMENT = {
    "examples": ("seconds",),  # how long the look took
    "score-again": ("seconds",),
    "doctor": ("python", "packages", "disk_free_gb"),  # of the machine
}
WRONG: dict[str, tuple[str, ...]] = {
    "no such reference": ("agreement", "--reference", "没有的"),
    "no such judge on the board": ("agreement", "--judge", "没有的"),
    "no judge": ("score", "--dataset", "短评"),
    "no such judge": ("score", "--judge", "没有的", "--dataset", "短评", *MAIN),
    "two targets": ("score", "--judge", "rubric", "--dataset", "短评", "--campaign", "优秀吗"),
    "several endpoints": ("score", "--judge", "principle", "--dataset", "没有的", "--endpoint", "谁"),
    "no such data set": ("score", "--judge", "rubric", "--dataset", "没有的"),
    "no such pair": ("pairs", "show", "9999"),
    "no such run": ("pairs", "table", "--run", "没有的"),
    "a run that is done": ("pairs", "resume", "--run", "1"),
    "nothing to pause": ("pairs", "pause", "--run", "1"),
    "two roles": ("principles", "diff", "1", "2"),
    "no such version": ("principles", "show", "99"),
    "a run that is not over": ("principles", "--replay", "4"),
    "no such setting": ("principles", "--dataset", "world", "--set", "nope=1"),
    "no such job": ("jobs", "show", "99"),
    "a job that has ended": ("jobs", "cancel", "1"),
    "no such format": ("export", "pairs", "--format", "nope", "-o", "OUT/x.csv"),
    "nothing to export": ("export", "labels", "--format", "csv", "--dataset", "范文", "-o", "OUT/x.csv"),
    "no generator": ("generate", "--prompt", ASKED),
    "no such field": ("train", "sft", "--set", "nope=1"),
    "a bad address": ("endpoints", "add", "x", "--base-url", "nowhere", "--model", "m"),
}


@pytest.fixture(scope="module")
def out(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to write to, while commands work on one copy of the home, which they leave as it is."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        as_set(patch, copied(unpacked, folder / "home"))
        yield folder


@pytest.mark.parametrize("name", LOOKS)
def test_looks(out: Path, masked: Masked, name: str) -> None:
    arguments = [one.replace("OUT", str(out)) for one in LOOKS[name]]
    code, said, complaints = doors.command(*arguments, "--json")
    value = json.loads(said)
    moment = OF_THE_MOMENT.get(name, ())
    assert set(moment) <= set(value), "still there, though their values are left out"
    kept = {key: "…" if key in moment else one for key, one in value.items()}
    told = {"arguments": arguments, "code": code, "stdout": kept, "stderr": complaints}
    same(f"commands/{name}", masked(told))


def test_wrong_use(out: Path, masked: Masked) -> None:
    told = {}
    for name, given in WRONG.items():
        arguments = [one.replace("OUT", str(out)) for one in given]
        code, said, complaints = doors.command(*arguments, "--json")
        told[name] = {"arguments": arguments, "code": code, "stdout": said, "stderr": complaints}
        assert code == 2 and said == "", name
    same("commands/wrong", masked(told))
