"""The programs end to end, by hand: what they leave behind, stopping, going on, adapters, sentences."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backend.core.enums import ArtifactKind
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.job_tables import Artifact
from backend.db.migrate import migrate
from backend.training.programs.reward_terms import LengthDebias
from tests.training_helpers import arguments, card, interrupted, losses, probe, run, run_cold, snapshot

STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for what the programs share, such as merged adapters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZHUFU_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small data snapshot."""
    folder = tmp_path_factory.mktemp("data")
    database = Database(f"sqlite:///{folder / 'data.db'}")
    migrate(database)
    found = snapshot(database, folder, folder)
    database.close()
    return str(found.folder)


@pytest.fixture(scope="module")
def policy(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted run of SFT on the starter: its folder and what it said."""
    out = tmp_path_factory.mktemp("policy") / "out"
    done = run_cold("sft", out, max_steps=STEPS, eval_every=3, sample_every=3, snapshot=data)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_sft_leaves_a_policy_with_its_card(policy: tuple[Path, str], data: str) -> None:
    out, said = policy
    facts = card(out)
    assert facts["kind"] == "policy" and facts["metrics"]["steps"] == STEPS
    assert facts["data"]["hash"] == json.loads((Path(data) / "manifest.json").read_text("utf-8"))["hash"]
    assert facts["settings"]["batch_size"] == 4 and {"torch", "trl", "peft"} <= set(facts["versions"])
    assert facts["metrics"]["eval_loss"] > 0 and "eval_loss" in said and "tokens_per_second" in said
    files = {file.name for file in (out / "artifact").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= files
    assert "training_args.bin" not in files and not (out / "checkpoints").exists()


def test_stopped_and_resumed_is_like_never_stopped(policy: tuple[Path, str], data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    values = {"max_steps": STEPS, "eval_every": 3, "sample_every": 3, "snapshot": data}
    code, said = interrupted("sft", out, "step 3/", **values)
    assert code == 75, said
    first = losses(said)
    assert 3 <= max(first) < STEPS and list((out / "checkpoints").glob("checkpoint-*"))
    done = run("sft", out, "--resume", **values)
    assert done.returncode == 0, done.stderr
    second = losses(done.stdout)
    assert min(second) == max(first) + 1
    assert first | second == pytest.approx(losses(policy[1]), rel=1e-3)


def test_a_plan_is_learnt_before_the_greeting(data: str, tmp_path: Path) -> None:
    planned = Path(shutil.copytree(data, tmp_path / "planned"))
    rows = [json.loads(line) for line in (planned / "sft.jsonl").read_text("utf-8").splitlines()]
    lines = [json.dumps(row | {"plan": ["birthday", "妈妈"]}) + "\n" for row in rows]
    (planned / "sft.jsonl").write_text("".join(lines), "utf-8")
    done = run("sft", tmp_path / "out", max_steps=1, samples=0, snapshot=planned)
    assert done.returncode == 0, done.stderr
    found = probe("look", str(tmp_path / "out" / "artifact"), str(planned))
    first = json.loads(found.stdout.splitlines()[-1])["first"]
    assert first[:2] == ["<|plan:birthday|>", "<|plan:妈妈|>"] and len(first) > 2


def test_adapters_all_the_way(policy: tuple[Path, str], data: str, tmp_path: Path) -> None:
    adapter, rewards = tmp_path / "adapter", tmp_path / "rewards"
    values = {"snapshot": data, "max_steps": 2, "lora_rank": 4}
    done = run("sft", adapter, base=policy[0] / "artifact", **values)
    assert done.returncode == 0, done.stderr
    assert (adapter / "artifact" / "adapter_model.safetensors").is_file()
    done = run("reward_model", rewards, base=adapter / "artifact", debias=True, max_length=192, **values)
    assert done.returncode == 0, done.stderr
    facts = card(rewards)
    for judge in ("", "debiased_", "ngram_", "length_"):
        assert {f"{judge}{name}_accuracy" for name in ("all", "length_matched", "rejected_longer")} <= set(
            facts["metrics"]
        )
    assert facts["metrics"]["held_out"] == "test" and facts["metrics"]["all_pairs"] > 0
    assert facts["metrics"]["all_unscored"] == 0
    assert LengthDebias.load(rewards / "artifact") is not None


def test_dpo_learns_from_pairs_with_the_start_as_its_reference(
    policy: tuple[Path, str], data: str, tmp_path: Path
) -> None:
    out = tmp_path / "whole"
    base = {"snapshot": data, "base": policy[0] / "artifact", "max_length": 192}
    done = run("dpo", out, **base, max_steps=8, learning_rate=1e-3, sft_weight=0.1, sample_every=8, eval_every=4)
    assert done.returncode == 0, done.stderr
    facts = card(out)
    assert facts["kind"] == "policy" and facts["metrics"]["held_out"] == "test" and facts["metrics"]["all_pairs"] > 0
    for scorer in ("", "ngram_", "length_"):
        for subset in ("all", "length_matched", "rejected_longer"):
            assert f"{scorer}{subset}_accuracy" in facts["metrics"]
    assert facts["metrics"]["all_accuracy"] > 0.5 and facts["metrics"]["all_unscored"] == 0
    first, last = losses(done.stdout)[1], losses(done.stdout)[8]
    assert last < first and "eval_accuracy" in done.stdout and "margin" in done.stdout
    assert (out / "artifact" / "model.safetensors").is_file() and not (out / "checkpoints").exists()
    adapter = tmp_path / "adapter"
    done = run("dpo", adapter, **base, max_steps=1, lora_rank=4, loss_type="sigmoid_norm", precompute_reference=True)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout)[1] == pytest.approx(math.log(2), rel=1e-3), "as the start, so neither is preferred"
    assert (adapter / "artifact" / "adapter_model.safetensors").is_file()
    found = json.loads(probe("likelihood", str(policy[0] / "artifact"), data).stdout.splitlines()[-1])
    assert found["ours"] == pytest.approx(found["trl"], rel=1e-4)


def test_what_cannot_work_is_one_sentence(policy: tuple[Path, str], data: str, tmp_path: Path) -> None:
    few, full = tmp_path / "few", tmp_path / "full"
    few.mkdir()
    (few / "manifest.json").write_bytes((Path(data) / "manifest.json").read_bytes())
    lines = (Path(data) / "sft.jsonl").read_text("utf-8").splitlines()[:5]
    (few / "sft.jsonl").write_text("\n".join(lines), "utf-8")
    full.mkdir()
    (full / "snapshot.txt").symlink_to("/dev/full")
    trained = policy[0] / "artifact"
    with closing(Database(Settings.load().url)) as database:
        migrate(database)
        with database.write() as session:
            kind = ArtifactKind.REWARD_MODEL
            session.add(Artifact(kind=kind, name="judge", path=str(trained), sha256="0" * 64, config={}, metrics={}))
    cases: list[tuple[list[str], str]] = [
        (arguments(tmp_path / "1", snapshot="nothing"), "There is no data snapshot “nothing”"),
        (arguments(tmp_path / "2", snapshot=data, base="nobody/nothing"), "base “nobody/nothing” cannot"),
        (arguments(tmp_path / "3", snapshot=data, base="/nowhere"), "base “/nowhere” holds no model"),
        (arguments(tmp_path / "4", snapshot=data, device="cuda"), "no usable GPU"),
        (arguments(tmp_path / "5", snapshot=few), "at least 20 are needed"),
        (arguments(tmp_path / "6", learning_rate=7), "learning_rate = 7 is not usable"),
        (arguments(tmp_path / "7", snapshot=data, base="artifact:1"), "There is no policy “artifact:1”"),
        (arguments(policy[0], snapshot=data), "is not empty; add --resume"),
        (arguments(full, "--resume", snapshot=data, base=trained, max_steps=1), f"disk of {full} is full"),
    ]
    done = probe("runs", said="\n".join(json.dumps(case) for case, _ in cases))
    assert json.loads(done.stdout.splitlines()[-1]) == [2] * len(cases), done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == len(cases)
    for sentence, (_, says) in zip(sentences, cases, strict=True):
        assert says in sentence


def test_tokenizer_loses_nothing_and_the_lean_loss_is_trls(policy: tuple[Path, str], data: str) -> None:
    done = probe("look", str(policy[0] / "artifact"), data)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"] == []
    assert found["lean"] == pytest.approx(found["trl"], rel=1e-5)
