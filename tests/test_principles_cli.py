"""`principles` on the command line: keys, exit codes, and the archive."""

import json
from pathlib import Path

import pytest

from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import REPLY, world_file
from tests.test_scoring_cli import Cli, cli

__all__ = ["cli"]

pytestmark = pytest.mark.database
SETS = [
    part
    for name, value in {
        "labelled": 8,
        "attacks": 4,
        "duels": 8,
        "gate": 40,
        "locked": 20,
        "alpha": 0.2,
    }.items()
    for part in ("--set", f"{name}={value}")
]


@pytest.fixture
def world(cli: Cli, home: Path, fake_llm: FakeLLM) -> Cli:
    """The command line in a house with labels of the world."""
    fake_llm.script(reply=REPLY)
    cli("import", str(world_file(home, 220)), "--dataset", "world", "--json")
    return cli


def test_a_run_and_its_archive(world: Cli, home: Path, fake_llm: FakeLLM) -> None:
    code, out, err = world("principles", "--dataset", "world", "--rounds", "1", *SETS, "--estimate", "--json")
    rough = json.loads(out)
    assert code == 0 and rough["calls"] > 0 and rough["labels"]["gate"] == {"good": 20, "bad": 20}
    assert rough["locked_uses"] == {"runs": [], "comparisons": 0, "number": 1}
    code, out, err = world("principles", "--dataset", "world", "--rounds", "1", *SETS, "--publish", "好裁判", "--json")
    run = json.loads(out)
    assert code == 0, err
    assert run.keys() >= {"run", "rounds", "accepted", "rejected", "versions", "locked"}
    assert run["state"] == "done" and run["rounds"] == 1 and run["calls"] <= rough["calls"]
    keys = {"id", "role", "parent", "gate_score", "accepted", "reason"}
    assert all(one.keys() >= keys for one in run["versions"])
    assert 0 <= run["locked"]["before"] <= run["locked"]["after"] <= 1
    assert run["locked"]["rows"][0]["name"] == "start"
    assert run["published"]["judge"] == "好裁判"
    code, out, _ = world("judges", "--json")
    assert "好裁判" in {one["name"] for one in json.loads(out)["judges"]}
    assert json.loads(world("principles", "--replay", str(run["run"]), "--json")[1])["same"] is True

    versions = json.loads(world("principles", "list", "--role", "S_D", "--json")[1])["versions"]
    first, last = versions[0]["id"], versions[-1]["id"]
    shown = json.loads(world("principles", "show", str(first), "--json")[1])
    assert shown["rules"][0].keys() == {"id", "text", "evidence"}
    lines = json.loads(world("principles", "diff", str(first), str(last), "--json")[1])["lines"]
    assert {line["sign"] for line in lines} <= {"=", "+", "-"}
    rules = home / "rules.txt"
    rules.write_text("1. 看有没有套话。\n2. 看有没有语病。", encoding="utf-8")
    signed = ["--author", "小林", "--reason", "试试"]
    made = json.loads(world("principles", "edit", str(first), "--rules", str(rules), *signed, "--json")[1])
    assert (made["parent"], made["author"], made["accepted"]) == (first, "小林", None)
    back = json.loads(world("principles", "back", str(made["id"]), *signed, "--json")[1])
    assert back["current"] is True
    compared = json.loads(
        world("principles", "compare", str(first), str(made["id"]), "--dataset", "world", "--json")[1]
    )
    assert compared["result"]["labels"] == 220 and len(compared["result"]["rows"]) == 2
    published = json.loads(world("principles", "publish", str(made["id"]), "--name", "手写", "--json")[1])
    assert published["judge"] == "手写"
    forked = json.loads(world("principles", "fork", str(made["id"]), "--dataset", "world", "--json")[1])
    assert forked["job"] and forked["versions"][-1]["id"] == made["id"]
    assert len(json.loads(world("principles", "runs", "--json")[1])["runs"]) == 2
    assert world("principles", "report", str(run["run"]), str(forked["run"]))[0] == 2, "the fork is not over"

    searched = [*SETS, "--set", "gepa_labels=20", "--set", "gepa_calls=60", "--set", "rewrite=false"]
    code, out, err = world(
        "principles", "--dataset", "world", "--rounds", "1", "--optimizer", "gepa", *searched, "--json"
    )
    gepa = json.loads(out)
    assert (code, gepa["state"], gepa["optimizer"]) == (0, "done", "gepa"), err
    assert gepa["locked"]["uses"] == {"runs": [run["run"]], "comparisons": 1, "number": 3}
    assert {one["proposer"] for one in gepa["versions"]} <= {"start", "gepa"}
    assert json.loads(world("principles", "--replay", str(gepa["run"]), "--json")[1])["same"] is True
    rows = json.loads(world("principles", "report", str(run["run"]), str(gepa["run"]), "--json")[1])["rows"]
    assert [row["name"] for row in rows] == ["start", "rewrite", "game", "gepa", "length", "style", "ngram"]
    assert all({"kappa", "auc", "matched_auc", "calls", "cost"} <= row.keys() for row in rows)
    assert rows[2]["calls"] == run["calls"] and rows[3]["calls"] == gepa["calls"]
    assert [row["locked_uses"] and row["locked_uses"]["number"] for row in rows[:5]] == [
        None,
        None,
        1,
        3,
        None,
    ]


def test_a_budget_ends_cleanly_and_resumes(world: Cli) -> None:
    start = ["principles", "--dataset", "world", "--rounds", "1", *SETS, "--max-calls", "120", "--json"]
    code, out, _ = world(*start)
    run = json.loads(out)
    assert (code, run["state"], run["locked"]["before"]) == (0, "budget", None) and run["calls"] <= 120
    code, out, _ = world("principles", "--resume", str(run["run"]), "--max-calls", "5000", "--json")
    assert (code, json.loads(out)["state"]) == (0, "done")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "--dataset"),
        (["--dataset", "nowhere"], "no human reference"),
        (["--dataset", "world", "--rounds", "0"], "rounds"),
        (["--dataset", "world", "--set", "colour=red"], "colour"),
        (["--dataset", "world", "--set", "confirm=nobody"], "confirm"),
        (["--dataset", "world", "--agent", "nobody=x"], "AGENT=ENDPOINT"),
        (["--dataset", "world", "--endpoint", "missing"], "missing"),
        (["--dataset", "world", "--from", "99"], "version 99"),
        (["--resume", "99"], "run 99"),
        (["--replay", "99"], "run 99"),
        (["show", "99"], "version 99"),
        (["publish", "99", "--name", "x"], "version 99"),
        (["answer", "1", "nonsense"], "names no case"),
    ],
)
def test_wrong_use_is_one_sentence(world: Cli, wrong: list[str], said: str) -> None:
    code, out, err = world("principles", *wrong)
    assert code == 2 and out == "" and said in err and len(err.strip().splitlines()) == 1


def test_no_labels_and_labels_of_one_kind(world: Cli, home: Path) -> None:
    plain = home / "plain.txt"
    plain.write_text("\n".join(f"给第{n}位同学的祝福" for n in range(20)), encoding="utf-8")
    world("import", str(plain), "--dataset", "plain")
    code, _, err = world("principles", "--dataset", "plain")
    assert code == 2 and "no human reference" in err
    rows = [{"query": f"给第{n}位同学的祝福", "response": f"祝福第{n}号，天天开心", "label": 1} for n in range(200)]
    one = home / "one.jsonl"
    one.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    world("import", str(one), "--dataset", "one")
    code, _, err = world("principles", "--dataset", "one")
    assert code == 2 and "good + bad" in err and "+ 0" in err and "10 + 10" in err
