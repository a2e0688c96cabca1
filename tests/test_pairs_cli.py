"""`pairs` by command: its keys, its exits, a background job that pauses, and the ablations beside labels."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.core.enums import JobStatus, PairStage
from backend.core.errors import UserError
from backend.preferences.emit import SECOND_JUDGED_SHARE
from tests.fake_llm import quality
from tests.job_helpers import sweep, until, worker
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT, candidates, house, prompts, prompts_file, request
from tests.pair_replies import composed

pytestmark = pytest.mark.database
PATIENCE_S = 120
"""A job starts a process, which takes long on a machine with other work."""
CONTRACT = {"run", "prompts", "candidates", "kept", "pairs", "dropped", "length_accuracy", "style_accuracy"}


def ask(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["pairs", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_the_contract_of_the_command(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT)
    with house(fake_llm, "other") as services:
        source = prompts_file(services, [*prompts(12), prompts(1)[0], "红烧肉怎么做", "写10条生日祝福"])
    rough = ask("--prompts", source, "--generators", "fake", "other", "--endpoint", "fake", "--estimate")
    assert (
        rough["estimate"] and rough["kept"] == 12 and rough["calls"] == 12 * 4 * 5 + 4 * round(48 * SECOND_JUDGED_SHARE)
    )
    made = ask("--prompts", source, "--generators", "fake", "other", "--judge", "panel", "--endpoint", "fake")
    assert made.keys() >= CONTRACT and (made["prompts"], made["candidates"]) == (15, 48)
    lost = {"prompt_duplicate": 1, "prompt_not_a_greeting": 1, "prompt_several": 1}
    assert lost.items() <= made["dropped"].items() and made["length_accuracy"] in (0.5, None)
    assert made["kept"] <= made["judged"] <= made["debated"] <= made["candidates"]
    assert made["state"] == "done" and made["stage"] == "done"
    few = made["style_accuracy"] is None
    assert few == ("fewer than 40 pairs" in (made["style_unsaid"] or ""))
    listed = ask("list")
    assert [run["run"] for run in listed["runs"]] == [made["run"]]
    table = ask("table", "--run", made["name"], "--limit", "3")
    assert table["total"] == sum(made["states"].values()) and len(table["pairs"]) <= 3
    pair = table["pairs"][0]["pair"]
    whole = ask("show", str(pair))
    assert whole["chosen"]["details"]["final"]["verdict"] == 1 and whole["version"] == made["version"]
    assert ask("flip", str(pair), "--name", "小林")["state"] == "flipped"
    assert ask("settle", "--run", str(made["run"]))["states"]["flipped"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prompts", "p.txt"], "--generators"),
        (["--generators", "fake"], "--prompts"),
        (["--prompts", "none.txt", "--generators", "fake", "--endpoint", "fake"], "none.txt"),
        (["--prompts", "p.txt", "--generators", "fake", "--temperatures", "warm"], "0.7,1.0"),
        (["--prompts", "p.txt", "--generators", "fake", "--check", "2"], "between 0 and 1"),
        (["--prompts", "p.txt", "--generators", "fake", "--judge", "length", "--no-reflect"], "Only a panel"),
        (["show", "99"], "99"),
        (["resume", "--run", "nothing"], "nothing"),
        (["ablate"], "exactly one"),
    ],
)
def test_wrong_use_is_one_sentence(
    home: Path, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
):
    with house(fake_llm) as services:
        prompts_file(services, prompts(2), "p.txt")
        monkeypatch.chdir(services.settings.home)
    with pytest.raises(UserError, match=told):
        CliRunner().invoke(app, ["pairs", *arguments], catch_exceptions=False)


def test_a_job_that_pauses_and_goes_on(home: Path, fake_llm: FakeLLM):
    fake_llm.script(**SCRIPT, latency_s=0.05)
    with house(fake_llm, concurrency=4) as services:
        try:
            with worker(home):
                source = prompts_file(services, prompts(30))
                run, job = services.pairs.submit(request(services, source, judge="principle"))
                until(lambda: len(candidates(services, run.id)) > 8, PATIENCE_S)
                services.jobs.pause(job.id)
                until(lambda: services.jobs.job(job.id).ended, PATIENCE_S)
                paused = services.jobs.job(job.id)
                kept = len(candidates(services, run.id))
                assert paused.status is JobStatus.PAUSED and 8 < kept < 120
                assert 0 < paused.progress < 1 and "candidates" in paused.progress_text
                fake_llm.script(**SCRIPT)
                services.pairs.resume(run.id)
                until(lambda: services.jobs.job(job.id).ended, PATIENCE_S)
                done = services.jobs.job(job.id)
        finally:
            sweep(services.database)
        finished = services.pairs.find_run(run.id)
        assert done.status is JobStatus.SUCCEEDED and done.progress == 1.0
        assert finished.stage is PairStage.DONE and len(candidates(services, run.id)) == 120
        events = [event.data for event in services.jobs.events(job.id) if event.kind == "metric"]
        assert events[-1]["pairs"] == services.pairs.funnel(run.id).pairs


def test_ablations_beside_labels(home: Path, fake_llm: FakeLLM):
    import random

    fake_llm.script(**SCRIPT)
    draw = random.Random(5)
    texts = [composed(draw, n % 2 == 0) for n in range(60)]
    with house(fake_llm) as services:
        rows = [
            {"query": prompt, "response": text, "label": quality(text)}
            for prompt, text in zip(prompts(60), texts, strict=True)
        ]
        path = services.settings.home / "labels.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        services.corpus.import_file(path, dataset="labels")
    rough = ask("ablate", "--dataset", "labels", "--endpoint", "fake", "--estimate")
    done = ask("ablate", "--dataset", "labels", "--endpoint", "fake")
    again = ask("ablate", "--dataset", "labels", "--endpoint", "fake")
    assert rough["calls"] == done["calls"] == 60 * (4 + 3 + 3 + 3 + 3) and again["calls"] == 0
    row = {one["off"]: one for one in done["rows"]}
    assert list(row) == [None, "positive", "negative", "judge", "reflect"]
    assert all(one["n"] == 60 and one["unscored"] == 0 for one in row.values())
    assert row[None]["accuracy"] > row["reflect"]["accuracy"] > 0.6
    assert max(row["positive"]["kappa"], row["negative"]["kappa"]) < row[None]["kappa"]
