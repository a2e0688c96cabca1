"""Trained policies as files for other programs: what is written, read back, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from backend.cli import train_commands
from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.db.job_tables import Artifact
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.service import JobService
from backend.training.exporting import parse_export_settings
from backend.training.service import TrainingService
from tests import warm
from tests.job_helpers import QUICK, sweep
from ui.components.language import Translator
from ui.training.views import artifact_html

MODELS = ("qwen2", "qwen3", "llama", "starter", "lora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What `tests.export_probe` has written and read back."""
    done = warm.run("tests.export_probe", str(folder))
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


@pytest.mark.parametrize("model", MODELS)
def test_a_gguf_computes_what_the_model_does(found: dict[str, Any], model: str) -> None:
    """Read back by transformers' own reader; llama.cpp wrote the same greedy text (by hand, November 2026)."""
    written = found[model]
    assert written["difference"] == 0.0
    assert written["tokens"] == written["rows"]
    assert written["files"] == ["Modelfile", "README.md", "model.gguf"]


def test_what_stands_in_a_gguf(found: dict[str, Any]) -> None:
    qwen2, qwen3, llama, starter = (found[model]["metadata"] for model in MODELS[:4])
    for metadata, name, split in ((qwen2, "qwen2", "qwen2"), (qwen3, "qwen3", "qwen2"), (starter, "qwen3", "gpt-2")):
        assert metadata["general.architecture"] == name and metadata["tokenizer.ggml.pre"] == split
        assert metadata["tokenizer.ggml.eos_token_id"] == metadata["tokenizer.ggml.eot_token_id"]
        assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert llama["tokenizer.ggml.add_bos_token"] is True and llama["llama.rope.freq_base"] == 500_000
    assert "rope_freqs.weight" in found["llama"]["tensors"]
    assert qwen3["qwen3.attention.key_length"] == 32 and qwen2["qwen2.attention.head_count_kv"] == 2
    # As stored; vectors in full. A tied output is no tensor of its own.
    types = found["qwen2"]["tensors"]
    assert types["blk.0.attn_q.weight"] == types["output.weight"] == "BF16" and types["blk.0.attn_q.bias"] == "F32"
    assert "output.weight" not in found["qwen3"]["tensors"]
    # How training called the template is settled in the file.
    assert qwen3["tokenizer.chat_template"].startswith("{%- set enable_thinking = false %}")


def test_eight_bits(found: dict[str, Any]) -> None:
    types = found["eighth"]
    assert (
        types["blk.0.ffn_gate.weight"] == types["token_embd.weight"] == "Q8_0" and types["output_norm.weight"] == "F32"
    )


def test_the_starter_is_read_as_it_reads(found: dict[str, Any]) -> None:
    """Of the numbers with a token of their own, those without a shorter one to begin from are named."""
    ids = found["starter_ids"]
    assert ids["gguf"] == ids["own"]
    assert ids["differing"] == ["202", "二十五"], "half a year, and a number whose tens stand nowhere alone"
    assert "one request at a time" in found["starter"]["readme"] and "二十五" in found["starter"]["readme"]


def test_a_modelfile_has_the_template_in_go(found: dict[str, Any]) -> None:
    qwen2, qwen3, llama, starter = (found[model]["modelfile"] for model in MODELS[:4])
    assert qwen2.startswith("FROM ./model.gguf\nTEMPLATE ")
    assert "{{ if not .System }}<|im_start|>system\nYou are Qwen, created by Alibaba Cloud." in qwen2
    assert '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in qwen2
    assert 'PARAMETER stop "<|im_end|>"' in qwen2 and "PARAMETER temperature 0.7" in qwen2
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n" in qwen3
    # The first token is Ollama's to write, and this starter knows no system turns.
    assert "<|begin_of_text|>" not in llama and "<|eot_id|>" in llama
    assert "system" not in starter and "<|user|>{{ .Content }}" in starter
    assert "base_model: Qwen/Qwen3-0.6B" in found["qwen3"]["readme"]
    assert "ollama create zhufu-qwen2 -f Modelfile" in found["qwen2"]["readme"]


def test_merged_safetensors_write_what_the_adapter_does(found: dict[str, Any]) -> None:
    whole = found["whole"]
    assert whole["dtype"] == "torch.float32", "the base's own"
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(whole["files"])
    assert not any(name.startswith(("adapter", "training")) for name in whole["files"])
    assert whole["merged"] == whole["adapter"] != whole["base"]
    assert "is not an empty folder" in whole["again"]


def test_the_hub_gets_every_file_in_private(found: dict[str, Any]) -> None:
    hub = found["hub"]
    assert hub["address"].endswith("/somebody/zhufu/commit/1")
    assert hub["repositories"] == [{"name": "zhufu", "organization": "somebody", "visibility": "private"}]
    assert hub["files"] == ["Modelfile", "README.md", "model.gguf"] and hub["whole"]
    assert "401" in hub["unauthorised"] and "Connection refused" in hub["unreached"]
    assert "HF_TOKEN" in hub["tokenless"]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("reward", "does not write"),
        ("absent", "There is no trained policy"),
        ("architecture", "GemmaForCausalLM is not known"),
        ("unconverted", "could not write this model (this model is strange)"),
        ("baseless", "which is gone"),
        ("full", "free some space or name another folder"),
        ("filled", "is full; free some space"),
        ("torn", "are missing, torn or no safetensors"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(found: dict[str, Any], case: str, words: str) -> None:
    assert words in found["refused"][case] and "\n" not in found["refused"][case]


def test_llama_cpp_converts_what_is_not_known_here(found: dict[str, Any]) -> None:
    assert found["refused"]["converted"].endswith("qwen3-gguf")
    assert found["refused"]["left"] == [], "drafts"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"to": "onnx"}, "to"),
        ({"precision": "q8_0"}, "precision"),
        ({"push": "zhufu"}, "push"),
        ({"name": "a b"}, "name"),
        ({"color": 1}, "color"),
    ],
)
def test_wrong_settings_name_the_field(values: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match=f"export: {name} = "):
        parse_export_settings(values)


@pytest.mark.database
def test_an_export_is_a_job(
    database: Database, home: Path, folder: Path, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (QUICK | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}).items():
        monkeypatch.setenv(variable, value)
    shutil.copytree(folder / "qwen2", folder / "gone")
    with database.write() as session:
        for kind, model in (("policy", "qwen2"), ("reward_model", "reward"), ("policy", "gone")):
            path = str(folder / model)
            session.add(
                Artifact(kind=ArtifactKind(kind), name=f"小 {model}", path=path, sha256="0", config={}, metrics={})
            )
    shutil.rmtree(folder / "gone")
    code, done = export("artifact:1", "--to", "gguf", "--out", str(folder / "stated"), "--precision", "f16")
    assert code == 0 and done["path"] == str(folder / "stated"), done
    assert {path.name for path in (folder / "stated").iterdir()} == {"README.md", "model.gguf"}
    service = JobService(database, home, job_programs=JOB_PROGRAMS)
    trainings = TrainingService(service)
    assert str(trainings.find_export_folder(done["job"])) == done["path"]
    artifact = trainings.find_artifact(done["job"])
    assert artifact is not None and artifact.id == 1
    shown = artifact_html(Translator("en"), artifact, None, None, Path(done["path"]))
    assert "Exported to" in shown and done["path"] in shown
    for artifact_name, words in (("artifact:2", "does not write"), ("artifact:3", "files of artifact 3 are gone")):
        with pytest.raises(UserError, match=words):
            export(artifact_name, "--to", "gguf")
    sweep(database)


def export(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and object of `export-model … --json`."""
    app = typer.Typer()
    app.callback()(lambda: None)
    train_commands.register(app)
    result = CliRunner().invoke(app, ["export-model", *arguments, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)
