"""Tiny models, built from a config, for the tests of the programs: `python -m tests.grpo_tiny`.

ZHUFU_HOME gets the seed corpus, its snapshot, and the folders `policy`, `lora` and `rm`. They know nothing of
greetings; they only run fast.
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

from backend.core.enums import Split
from backend.core.settings import Settings
from backend.services import build_services
from backend.training.programs.starter_tokenizer import NEVER_WRITTEN, train_tokenizer
from backend.training.snapshot import Snapshot, SnapshotOptions, export_snapshot

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def data(settings: Settings) -> Snapshot:
    """The seed corpus as a snapshot."""
    services = build_services(settings)
    services.corpus.load_seed()
    snapshot = export_snapshot(services.database, settings.home, SnapshotOptions())
    services.close()
    return snapshot


def models(home: Path, snapshot: Snapshot) -> None:
    """A policy, an adapter for it, and a reward model, all with random weights."""
    rows = snapshot.rows("sft", Split.TRAIN)
    tokenizer = train_tokenizer(*([row[name] for row in rows] for name in ("prompt", "completion")))
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        num_labels=1,
        **SHAPE,
    )
    policy = Qwen3ForCausalLM(config)
    policy.generation_config.suppress_tokens = tokenizer.convert_tokens_to_ids(list(NEVER_WRITTEN))
    # As the starter has it, for whoever asks it for greetings.
    policy.generation_config.no_repeat_ngram_size = 2
    policy.save_pretrained(home / "policy")
    Qwen3ForSequenceClassification(config).save_pretrained(home / "rm")
    policy = AutoModelForCausalLM.from_pretrained(home / "policy")
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.save_pretrained(home / "lora")
    for name in ("policy", "rm", "lora"):
        tokenizer.save_pretrained(home / name)


if __name__ == "__main__":
    house = Settings.load()
    made = data(house)
    models(house.home, made)
    (house.home / "tiny.json").write_text(json.dumps({"snapshot": made.hash}), "utf-8")
