"""What merging adapters does, in one process of its own: `python -m tests.merging_probe FOLDER`; JSON of findings."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from backend.core.errors import UserError
from backend.training.programs import merging
from backend.training.programs.merging import MergedModels, compute_merge_key, merge_adapter
from tests.fault_injection import inject
from tests.grpo_tiny import SHAPE
from tests.tiny_models import CHAT, tokenizer_of


def build_adapter(folder: Path) -> Path:
    """A base in bfloat16 and an adapter on it that changes what it says."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(CHAT)
    base = folder / "base"
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SHAPE)).to(torch.bfloat16).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    )
    adapted.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    (folder / "adapter" / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    return folder / "adapter"


def look_at_merge(adapter: Path, merged: Path) -> dict[str, Any]:
    """Dtypes of the files, and how far the merged model is from base and adapter together."""
    with safe_open(merged / "model.safetensors", "pt") as weights:
        dtypes = sorted({str(weights.get_tensor(name).dtype) for name in weights.keys()})  # noqa: SIM118
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(adapter.parent / "base", dtype=torch.float32)
        plain = base(tokens).logits
        expected = PeftModel.from_pretrained(base, adapter)(tokens).logits
        found = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(tokens).logits
    return {
        "dtypes": dtypes,
        "error": float((found - expected).abs().max()),
        "change": float((plain - expected).abs().max()),
        "end": json.loads((merged / "generation_config.json").read_text())["eos_token_id"],
        "names": sorted(path.name for path in merged.iterdir()),
    }


def in_child(work: Any) -> int:
    """Run `work` in a fork; its number."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return child


def open_at_once(home: Path, adapter: Path) -> dict[str, int]:
    """Three processes that need the same merge at the same time, the first of them killed in the middle of it."""
    log = home.parent / "merges.txt"

    def merge_and_log(*given: Any) -> None:
        with log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        merge_adapter(*given)

    def open_one() -> None:
        with patch.object(merging, "merge_adapter", merge_and_log):
            MergedModels(home).open(adapter, home / "runs" / str(os.getpid()))

    def be_killed() -> None:
        inject("kill", "tokenizer_config.json")
        open_one()

    killed = in_child(be_killed)
    while not log.exists():
        time.sleep(0.01)
    others = [in_child(open_one) for _ in range(2)]
    return {
        "killed": os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]),
        "codes": sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in others),
        "merges": len(log.read_text().splitlines()),
        "drafts": len(list((home / "merged").glob(".*.part"))),
    }


def look_at_keeping(home: Path, adapter: Path) -> dict[str, Any]:
    """When a merge is removed, and when it is not."""
    run = home / "runs" / "1"
    (run / "checkpoints").mkdir(parents=True)
    found: dict[str, Any] = {}
    with MergedModels(home) as first:
        merged = first.open(adapter, run)
        before = (merged / "config.json").stat().st_mtime_ns
        (merged / "model.safetensors").write_bytes((merged / "model.safetensors").read_bytes()[:-10])
        first.open(adapter, run)
        found["torn is merged again"] = (merged / "config.json").stat().st_mtime_ns > before
        found["used"] = MergedModels(home).remove_unneeded(0)
    found["resumable"] = MergedModels(home).remove_unneeded(0)
    shutil.copytree(adapter, run / "artifact")
    shutil.rmtree(run / "checkpoints")
    config = json.loads((run / "artifact" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(merged)
    (run / "artifact" / "adapter_config.json").write_text(json.dumps(config))
    found["of an adapter"] = MergedModels(home).remove_unneeded(0)
    shutil.rmtree(run / "artifact")
    found["fresh"] = MergedModels(home).remove_unneeded()
    found["unneeded"] = len(MergedModels(home).remove_unneeded(0))
    found["left"] = [path.name for path in (home / "merged").iterdir()]
    return found


def look_at_faults(home: Path, adapter: Path) -> dict[str, Any]:
    """A full disk before and while writing, an adapter of another base, a request to stop."""
    found: dict[str, Any] = {}
    full = shutil.disk_usage(home)._replace(free=1000)
    with patch.object(shutil, "disk_usage", lambda _path: full):
        found["full before"] = explain(lambda: MergedModels(home).open(adapter, home))
    other = Path(shutil.copytree(adapter.parent, home.parent / "other"))
    wide = Qwen3ForCausalLM(Qwen3Config(vocab_size=400, **SHAPE | {"hidden_size": 48}))
    wide.save_pretrained(other / "base")
    config = json.loads((other / "adapter" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(other / "base")
    (other / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    found["other base"] = explain(lambda: merge_adapter(other / "adapter", other / "merged"))
    (other / "base" / "model.safetensors").write_bytes(b"torn")
    found["torn base"] = explain(lambda: merge_adapter(other / "adapter", other / "merged"))
    found["stopped"] = explain(lambda: MergedModels(home, stop).open(adapter, home))
    inject("full", "generation_config.json")
    found["full while"] = explain(lambda: MergedModels(home).open(adapter, home))
    found["left"] = [path.name for path in (home / "merged").iterdir() if path.suffix != ".users"]
    return found


def stop() -> None:
    raise InterruptedError("stopped")


def explain(work: Any) -> str:
    """What it says."""
    try:
        work()
    except (UserError, OSError) as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    """All of it, in an order in which each leaves a home that the next can use."""
    adapter, home = build_adapter(folder), folder / "home"
    home.mkdir()
    target = folder / "merged"
    merge_adapter(adapter, target)
    moved = Path(shutil.copytree(adapter, folder / "moved", copy_function=shutil.copy))
    (moved / "README.md").write_text("a card")
    found = {
        "merge": look_at_merge(adapter, target),
        "same key": compute_merge_key(moved) == compute_merge_key(adapter),
        "at once": open_at_once(home, adapter),
        "keeping": look_at_keeping(home, adapter),
        "faults": look_at_faults(home, adapter),
    }
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
