"""Tiny Qwen3 models with a tokenizer of their own, built in a process of its own: `FOLDER chat|reward`."""

import sys
from pathlib import Path

from tests import warm

LINES = [
    "祝您生日快乐，福如东海。",
    "新年好！愿你一切顺利。",
    "只输出一个 JSON 对象",
    "判定 理由 verdict 0 1",
    "user assistant",
]
SAMPLE = ("给奶奶", "祝您生日快乐")
EXPECTED = "expected.txt"
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
CHAT += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def build(folder: Path, kind: str) -> Path:
    """Build one in another process, so that this one never imports torch."""
    done = warm.run("tests.tiny_models", str(folder), kind)
    assert done.returncode == 0, done.stderr
    return folder


def main(folder: Path, kind: str) -> None:
    """Random weights with a fixed seed, saved as a trained model would be."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    tokenizer = tokenizer_of(CHAT if kind == "chat" else None)
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=8192 if kind == "chat" else 256,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        num_labels=1,
    )
    torch.manual_seed(0)
    model = (Qwen3ForCausalLM if kind == "chat" else Qwen3ForSequenceClassification)(config)
    if kind == "reward":
        (folder / EXPECTED).write_text(str(_score(model, tokenizer)), encoding="utf-8")
    # Half precision on disk, as training leaves it: the server must compute in single precision on CPU.
    model.half().save_pretrained(folder)


def _score(model, tokenizer) -> float:  # type: ignore[no-untyped-def]
    """What the saved model says of `SAMPLE`, computed by hand in single precision."""
    import torch

    rounded = model.half().float().eval()
    ids = tokenizer("".join(SAMPLE) + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return float(rounded(input_ids=ids).logits[0, 0])


def tokenizer_of(template: str | None):  # type: ignore[no-untyped-def]
    """A byte-level BPE trained on a few lines."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(LINES, trainer)
    eos = "<|im_end|>" if template else "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=eos, pad_token="<|endoftext|>", additional_special_tokens=special[1:]
    )
    tokenizer.chat_template = template
    return tokenizer


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
