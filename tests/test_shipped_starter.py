"""The trained starter that comes with the project: its files, its artifacts in a home, and when it wakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.generation.generators import Readiness
from backend.generation.serving import check_artifact_files, parse_serve_settings
from backend.jobs.service import compute_sha256
from backend.llm.endpoints import EndpointInput
from backend.services import Services
from backend.training.programs.serve import dtype_options, find_policy
from backend.training.programs.served_folder import is_float16
from backend.training.service import OfferState, decide_offer
from backend.training.shipped import (
    LARGEST_SIZE,
    MODEL_FOLDER,
    SHIP_COMMAND,
    check_model_files,
    composed_data_hash,
    load_card,
    recipe_hash,
    register_shipped_starter,
)

PARTS = ("policy", "reward_model")


def test_the_committed_files_are_those_of_their_card() -> None:
    card = check_model_files()
    assert card.command == SHIP_COMMAND
    size = sum(file.stat().st_size for file in MODEL_FOLDER.rglob("*") if file.is_file())
    assert size < LARGEST_SIZE, f"{size:,} bytes travel with every clone"
    assert card.recipe_hash == recipe_hash(), f"its settings have changed since it was trained: {SHIP_COMMAND}"


@pytest.mark.parametrize("part", PARTS)
def test_the_committed_files_belong_together(part: str) -> None:
    folder = MODEL_FOLDER / part
    weights = load_file(folder / "model.safetensors")
    assert is_float16(folder) and {str(weight.dtype) for weight in weights.values()} == {"float16"}
    assert all(np.isfinite(weight).all() for weight in weights.values())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert tokenizer.get_vocab_size() == config["vocab_size"] == len(weights["model.embed_tokens.weight"])
    assert len(tokenizer.encode("生日快乐").ids) == 1
    assert ("score.weight" in weights) is (part == "reward_model")


def test_it_was_trained_on_what_the_clauses_compose_today() -> None:
    assert load_card().data_hash == composed_data_hash(), (
        f"data/starter has changed since; train it anew: {SHIP_COMMAND}"
    )


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder like the project's own, with models of a few bytes."""
    return make_release(tmp_path / "release", "first")


def make_release(folder: Path, content: str) -> Path:
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "config.json").write_text(json.dumps({"part": part, "content": content}))
    parts = {part: {"sha256": compute_sha256(folder / part), "metrics": {"steps": 3}} for part in PARTS}
    card = {"command": SHIP_COMMAND, "recipe_hash": "r", "data_hash": "d", "parts": parts}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.mark.database
def test_it_is_registered_once_and_every_release_anew(services: Services, home: Path, release: Path) -> None:
    policy, reward_model = register_shipped_starter(services.jobs, home, release)
    assert (policy.kind, reward_model.kind) == (ArtifactKind.POLICY, ArtifactKind.REWARD_MODEL)
    assert policy.is_shipped and policy.config["made_by"] == SHIP_COMMAND and policy.data_hash == "d"
    assert reward_model.parent_id == policy.id and home in policy.path.parents
    assert register_shipped_starter(services.jobs, home, release) == (policy, reward_model)
    shutil.rmtree(policy.path)
    assert register_shipped_starter(services.jobs, home, release)[0] == policy and policy.path.is_dir()
    newer, _ = register_shipped_starter(services.jobs, home, make_release(release, "second"))
    assert newer.id > policy.id and len(services.jobs.artifacts()) == 4
    check_artifact_files(policy)


@pytest.mark.database
def test_what_was_changed_is_refused(services: Services, home: Path, release: Path) -> None:
    policy, _ = register_shipped_starter(services.jobs, home, release)
    (policy.path / "config.json").write_text("{}")
    for refused in (services.generators.usable, services.generators.start):
        with pytest.raises(UserError, match="were changed"):
            refused(f"artifact:{policy.id}")
    (release / "reward_model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"reward_model is not what its card describes.*ship_starter --write"):
        register_shipped_starter(services.jobs, home, release)
    (release / "card.json").write_text("[]")
    with pytest.raises(UserError, match=r"card\.json is missing or broken"):
        register_shipped_starter(services.jobs, home, release)


@pytest.mark.database
def test_what_was_trained_here_goes_before_it(services: Services, home: Path, release: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(release / "policy", tmp_path / "own"))
    trained = services.jobs.add_artifact(ArtifactKind.POLICY, "own", own)
    shipped, _ = register_shipped_starter(services.jobs, home, release)
    assert shipped.id > trained.id
    assert [one.id for one in services.jobs.artifacts(ArtifactKind.POLICY)] == [trained.id, shipped.id]
    assert [one.artifact for one in services.generators.generators()] == [trained.id, shipped.id]
    assert find_policy(services.database, "latest") == own
    assert find_policy(services.database, f"artifact:{shipped.id}") == shipped.path


@pytest.mark.database
def test_it_wakes_where_nothing_else_can_write(services: Services, home: Path, release: Path) -> None:
    assert services.generators.wake_starter() is None
    policy, _ = register_shipped_starter(services.jobs, home, release)
    assert decide_offer(services.jobs, "shipped").state is OfferState.READY
    services.endpoints.save(EndpointInput("other", "http://127.0.0.1:9/v1", "m"))
    assert services.generators.wake_starter() is None
    services.endpoints.delete("other")
    woken = services.generators.wake_starter()
    assert woken is not None and woken.readiness is Readiness.STARTING and woken.job is not None
    job = services.jobs.job(woken.job)
    assert job.config["artifact"] == f"artifact:{policy.id}" and job.config["engine"] == "transformers"
    assert services.generators.wake_starter() is None, "it is being woken already"


@pytest.mark.parametrize(("stored", "given"), [("float16", ["--dtype", "float32"]), ("bfloat16", []), ("float32", [])])
def test_a_cpu_computes_a_float16_file_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, given: list[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dtype": stored}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert dtype_options(parse_serve_settings({"engine": "transformers"}), tmp_path) == given
