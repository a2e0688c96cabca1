"""`score` and `endpoints` on the command line: keys, exit codes, one sentence for what is wrong."""

import json
import sys
from pathlib import Path

import pytest

from backend.cli import main
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import data_file

KEYS = {"judge", "version", "items", "scored", "unscored", "cached", "calls", "cost", "seconds"}


class Cli:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self._monkeypatch.setattr(sys, "argv", ["backend", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fake_llm: FakeLLM) -> Cli:
    """The command line in a fresh home whose default endpoint is the fake server."""
    home.mkdir(parents=True)
    monkeypatch.setenv("ZHUFU_LLM_BASE_URL", fake_llm.base_url)
    monkeypatch.setenv("ZHUFU_LLM_MODEL", "fake")
    return Cli(capsys, monkeypatch)


def test_a_file_is_imported_and_judged(cli: Cli, home: Path, fake_llm: FakeLLM):
    path = data_file(home, 30)
    code, out, _ = cli("score", "--judge", "principle", "--file", str(path), "--json")
    first = json.loads(out)
    assert code == 0 and first.keys() >= KEYS
    assert (first["items"], first["scored"], first["unscored"], first["calls"]) == (30, 30, 0, 30)
    code, out, _ = cli("score", "--judge", "principle", "--dataset", "data", "--json")
    second = json.loads(out)
    assert (code, second["calls"], second["cached"], second["version"]) == (0, 0, 30, first["version"])
    code, out, _ = cli("agreement", "--reference", "data", "--judge", "principle", "--json")
    assert code == 0 and "principle" in {row["judge"] for row in json.loads(out)["judges"]}


def test_a_judge_that_gives_one_value_to_everything_is_named(cli: Cli, home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:always_good")
    path = data_file(home, 30)
    told = json.loads(cli("score", "--judge", "principle", "--file", str(path), "--json")[1])
    assert told["notice"].startswith("The judge gave 1 to all of the first 30 items") and told["error"] is None
    code, out, _ = cli("score", "--judge", "principle", "--dataset", "data")
    assert code == 0 and f"\nwarning: {told['notice']}" in out
    other = json.loads(cli("score", "--judge", "length", "--dataset", "data", "--json")[1])
    assert other["notice"] is None


def test_principles_from_a_file_make_another_version(cli: Cli, home: Path):
    path = data_file(home, 3)
    rules = home / "rules.txt"
    rules.write_text("1. 真诚\n2. 具体\n", encoding="utf-8")
    plain = json.loads(cli("score", "--judge", "principle", "--file", str(path), "--json")[1])
    other = json.loads(
        cli("score", "--judge", "principle", "--dataset", "data", "--principles", str(rules), "--json")[1]
    )
    assert plain["version"] != other["version"] and other["scored"] == 3
    again = json.loads(cli("score", "--judge", "principle", "--dataset", "data", "--json")[1])
    assert again["version"] == other["version"], "the newest stored version is meant by the name"


def test_estimate_cap_and_lines_for_people(cli: Cli, home: Path):
    path = data_file(home, 20)
    code, out, _ = cli("score", "--judge", "panel", "--file", str(path), "--estimate", "--json")
    assert code == 0 and json.loads(out)["calls"] == 80
    code, out, _ = cli("score", "--judge", "principle", "--dataset", "data", "--max-calls", "5", "--json")
    capped = json.loads(out)
    assert (code, capped["state"], capped["calls"], capped["left"]) == (0, "budget", 5, 15)
    code, out, _ = cli("score", "--judge", "principle", "--dataset", "data")
    assert code == 0 and "done" in out and "20 / 20" in out


def test_empty_replies_are_billed_and_so_end_a_run_at_its_cap(cli: Cli, home: Path, fake_llm: FakeLLM):
    fake_llm.script(faults={"thinking": 1.0})
    path = str(data_file(home, 60))
    code, out, _ = cli("score", "--judge", "principle", "--file", path, "--max-tokens", "4000", "--json")
    told, asked = json.loads(out), sum(fake_llm.state()["asked"].values())
    assert (code, told["state"], told["calls"]) == (0, "budget", asked) and 0 < told["left"] < 60
    assert fake_llm.state()["billed"] == 120 * asked <= 4000


def test_an_endpoint_that_refuses_the_key_is_exit_1_with_the_sentence(
    cli: Cli, home: Path, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
):
    fake_llm.script(api_key="right")
    monkeypatch.setenv("ZHUFU_LLM_API_KEY", "sk-wrong")
    code, out, err = cli("score", "--judge", "principle", "--file", str(data_file(home, 5)), "--json")
    told = json.loads(out)
    assert (code, told["state"], told["scored"]) == (1, "failed", 0) and "401" in told["error"]
    assert "sk-wrong" not in out + err
    code, _, err = cli("score", "--judge", "principle", "--dataset", "data")
    assert code == 1 and "401" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("score",),
        ("score", "--judge", "principle"),
        ("score", "--judge", "principle", "--dataset", "nothing"),
        ("score", "--judge", "principle", "--dataset", "a", "--campaign", "b"),
        ("score", "--judge", "nobody", "--dataset", "nothing"),
        ("score", "--judge", "principle", "--file", "nowhere.jsonl"),
        ("score", "--judge", "principle", "--dataset", "nothing", "--endpoint", "nowhere"),
        ("score", "--judge", "principle", "--dataset", "nothing", "--principles", "nowhere.txt"),
        ("score", "--judge", "reward_model", "--dataset", "nothing", "--artifact", "nowhere"),
        ("score", "--job", "999"),
        ("endpoints", "remove", "nowhere"),
        ("endpoints", "add", "x", "--base-url", "not a url", "--model", "m"),
        ("endpoints", "add", "x", "--base-url", "http://h/v1", "--model", "m", "--key-env", "NO_SUCH"),
    ],
)
def test_wrong_use_is_exit_2_with_one_sentence(cli: Cli, arguments: tuple[str, ...]):
    code, out, err = cli(*arguments)
    assert code == 2 and not out
    assert err.startswith("error: ") and len(err.strip().splitlines()) == 1


def test_endpoints_are_added_tested_and_removed_without_showing_the_key(
    cli: Cli, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    add = ("endpoints", "add", "mine", "--base-url", fake_llm.base_url, "--model", "fake")
    code, out, err = cli(*add, "--key-env", "MY_KEY", "--price-in", "2", "--json")
    assert code == 0 and json.loads(out)["has_key"] and "sk-secret" not in out + err
    code, out, _ = cli("endpoints", "--json")
    assert [row["name"] for row in json.loads(out)["endpoints"]] == ["default", "mine"]
    assert "sk-secret" not in out
    code, out, _ = cli("endpoints", "test", "mine", "--json")
    assert code == 0 and json.loads(out)["ok"]
    fake_llm.script(api_key="other")
    code, out, _ = cli("endpoints", "test", "mine", "--json")
    assert code == 1 and not json.loads(out)["ok"] and "401" in json.loads(out)["message"]
    assert cli("endpoints", "remove", "mine")[0] == 0


def test_judges_are_made_listed_and_tried(cli: Cli, home: Path, fake_llm: FakeLLM):
    rules = home / "rules.txt"
    rules.write_text("真诚\n具体", encoding="utf-8")
    add = ("judges", "add", "我的裁判", "--kind", "principle", "--principles", str(rules), "--json")
    made = json.loads(cli(*add)[1])
    assert json.loads(cli(*add)[1]) == made and (made["name"], made["newest"]) == ("我的裁判", True)
    assert [row["name"] for row in json.loads(cli("judges", "--json")[1])["judges"]] == ["我的裁判"]
    sample = ("--prompt", "给奶奶", "--greeting", "第1条祝福")
    code, out, _ = cli("judges", "try", "我的裁判", *sample, "--json")
    assert code == 0 and json.loads(out)["value"] == 1.0
    fake_llm.script(reply="tests.judge_replies:better")
    code, out, _ = cli("judges", "try", "pairwise", *sample, "--second", "第2条祝福", "--json")
    assert code == 0 and json.loads(out)["outcome"] == "a" and not json.loads(out)["flip"]
    assert cli("judges", "add", "x", "--kind", "reward_model")[0] == 2
