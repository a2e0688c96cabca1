"""Exports of tiny policies in this process, read back: `FOLDER` gets the models and, in `out`, what is written."""

import errno
import json
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf
import huggingface_hub
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from backend.core.errors import UserError
from backend.db.engine import Database
from backend.jobs.report import JobReport
from backend.training.exporting import ExportSettings
from backend.training.programs import export, hub_upload
from backend.training.programs.export import export_policy, find_policy_folder
from backend.training.programs.foreseen_errors import explain_error
from tests.export_models import build_all
from tests.fake_hub import fake_hub

REQUEST = [{"role": "user", "content": "给奶奶的八十大寿写祝福"}]
REPORT = JobReport(None, None)


def write(folder: Path, model: str, target: str, **settings: Any) -> Path | str:
    """The folder of an export, or the sentence that refuses it."""
    wanted = ExportSettings(artifact=str(folder / model), to=target, **settings)
    out = folder / "out" / f"{model}-{target}{settings.get('precision', '')}"
    try:
        policy = find_policy_folder(Database(f"sqlite:///{folder}/no.db"), wanted.artifact)
        return export_policy(wanted, policy, out, REPORT)
    except (UserError, OSError) as error:
        return str(explain_error(error, folder))


def greedy(model: Any, tokenizer: Any) -> list[int]:
    """What a model writes for the request, the most likely token each time."""
    asked = tokenizer.apply_chat_template(REQUEST, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    replied = model.generate(**asked, do_sample=False, max_new_tokens=24, pad_token_id=0, suppress_tokens=None)
    return [int(token) for token in replied[0, asked["input_ids"].shape[1] :]]


def load(folder: Path) -> Any:
    """A model in single precision, so that two ways to compute agree."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def look(folder: Path, model: str) -> dict[str, Any]:
    """One GGUF beside the model it was written from: metadata, tensors, what it computes."""
    written = write(folder, model, "ollama")
    assert isinstance(written, Path), written
    reader = gguf.GGUFReader(written / "model.gguf")
    whole = load(folder / model) if (folder / model / "config.json").is_file() else merged(folder / model)
    # Its reader takes a head's width from no file of Qwen3, hence the configuration.
    back = AutoModelForCausalLM.from_pretrained(
        written, gguf_file="model.gguf", config=whole.config, dtype=torch.float32
    )
    own = PreTrainedTokenizerFast.from_pretrained(folder / model)
    ids = torch.arange(5, 60).unsqueeze(0)
    with torch.inference_mode():
        difference = (whole(ids).logits - back(ids).logits).abs().max()
    metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return {
        "metadata": {name: value for name, value in metadata.items() if not isinstance(value, list)},
        "tokens": len(metadata["tokenizer.ggml.tokens"]),
        "rows": whole.config.vocab_size,
        "tensors": tensor_types(written),
        "difference": float(difference),
        "text": own.decode(greedy(whole, own), skip_special_tokens=True),
        "files": sorted(path.name for path in written.iterdir()),
        "modelfile": (written / "Modelfile").read_text("utf-8"),
        "readme": (written / "README.md").read_text("utf-8"),
    }


def tensor_types(written: Any) -> dict[str, str]:
    """Types of the tensors of an export by name."""
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(written / "model.gguf").tensors}


def merged(folder: Path) -> Any:
    """An adapter with its base."""
    return AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto").merge_and_unload().float()


def whole_models(folder: Path) -> dict[str, Any]:
    """Merged safetensors beside the adapter: types, files, and the same text."""
    written = write(folder, "lora", "safetensors")
    assert isinstance(written, Path), written
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(written, dtype="auto"),
        AutoTokenizer.from_pretrained(written),
    )
    adapted = AutoPeftModelForCausalLM.from_pretrained(folder / "lora", dtype="auto")
    return {
        "dtype": str(model.dtype),
        "files": sorted(path.name for path in written.iterdir()),
        "merged": greedy(model.float(), tokenizer),
        "adapter": greedy(adapted.float(), tokenizer),
        "base": greedy(load(folder / "qwen3"), tokenizer),
        "again": write(folder, "lora", "safetensors"),
    }


def starter_ids(folder: Path) -> dict[str, list[Any]]:
    """Requests as the starter reads them, and as its GGUF does."""
    from backend.training.programs.gguf_tokenizer import read_tokenizer

    own = PreTrainedTokenizerFast.from_pretrained(folder / "starter")
    expressed = read_tokenizer(folder / "starter", own, len(own) + 3)
    as_bpe = expressed.as_bpe()
    requests = ["给奶奶的八十大寿写祝福", "爸爸六十岁生日，80 二十八 1", "祝儿子18岁\n快乐！"]
    turns = [[{"role": "user", "content": request}] for request in requests]
    return {
        "own": [own.apply_chat_template(turn, return_dict=False)[1:] for turn in turns],
        "gguf": [as_bpe.encode(request).ids for request in requests],
        "differing": expressed.differing_texts,
    }


def refusals(folder: Path) -> dict[str, Any]:
    """Sentences for what cannot be exported."""
    found: dict[str, Any] = {"reward": write(folder, "reward", "safetensors"), "absent": write(folder, "no", "gguf")}
    config = folder / "qwen3" / "config.json"
    original = config.read_text("utf-8")
    config.write_text(original.replace("Qwen3ForCausalLM", "GemmaForCausalLM"), "utf-8")
    with suppress(Exception):
        found["architecture"] = write(folder, "qwen3", "gguf")
    converter = folder / "bin" / "convert_hf_to_gguf.py"
    converter.parent.mkdir()
    converter.write_text(CONVERTER, "utf-8")
    converter.chmod(0o755)
    with patch.object(export.shutil, "which", lambda _name: str(converter)):
        found["converted"] = str(write(folder, "qwen3", "gguf"))
        found["unconverted"] = str(write(folder, "qwen3", "gguf", precision="q8_0"))
    config.write_text(original, "utf-8")
    (folder / "qwen3").rename(folder / "moved")
    found["baseless"] = write(folder, "lora", "gguf")
    (folder / "moved").rename(folder / "qwen3")
    with patch.object(export.shutil, "disk_usage", lambda _folder: type("Usage", (), {"free": 100_000})):
        found["full"] = write(folder, "llama", "gguf")
    with patch.object(gguf.GGUFWriter, "write_tensor_data", side_effect=OSError(errno.ENOSPC, "No space left")):
        found["filled"] = write(folder, "llama", "gguf")
    weights = folder / "llama" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    found["torn"] = write(folder, "llama", "safetensors")
    found["left"] = sorted(path.name for path in (folder / "out").iterdir() if path.name.startswith("."))
    return found


def uploads(folder: Path) -> dict[str, Any]:
    """An export on a hub of this machine, and the sentences of one that does not take it."""
    found: dict[str, Any] = {}
    written = folder / "out" / "qwen3-ollama"
    with fake_hub() as hub, patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", False):
        for name, token, address in (
            ("address", hub.token, hub.address),
            ("unauthorised", "hf_wrong", hub.address),
            ("unreached", hub.token, "http://127.0.0.1:9"),
        ):
            with patch.object(hub_upload, "HfApi", partial(huggingface_hub.HfApi, endpoint=address)):
                try:
                    found[name] = hub_upload.upload_folder(written, "somebody/zhufu", token, public=False)
                except UserError as error:
                    found[name] = str(error)
        found["repositories"] = hub.repositories
        found["files"] = sorted(hub.files)
        found["whole"] = all((written / name).read_bytes() == content for name, content in hub.files.items())
    with patch.dict(os.environ):
        os.environ.pop("HF_TOKEN", None)
        try:
            hub_upload.require_token()
        except UserError as error:
            found["tokenless"] = str(error)
    return found


CONVERTER = """import sys
if sys.argv[-1] == "q8_0":
    sys.exit("this model is strange")
open(sys.argv[3], "wb").write(b"GGUF")
"""


def main(folder: Path) -> None:
    """Everything by name, as one JSON object."""
    build_all(folder)
    (folder / "qwen3" / "artifact.json").write_text(
        json.dumps({"base": "Qwen/Qwen3-0.6B", "settings": {"chat_template_kwargs": {"enable_thinking": False}}}),
        "utf-8",
    )
    found = {
        **{model: look(folder, model) for model in ("qwen2", "qwen3", "llama", "starter", "lora")},
        "whole": whole_models(folder),
        "starter_ids": starter_ids(folder),
        "eighth": tensor_types(write(folder, "llama", "gguf", precision="q8_0")),
        "hub": uploads(folder),
        "refused": refusals(folder),
    }
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
