"""Tiny policies of every architecture that can be exported, with their real chat templates, all with random weights."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
)
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from backend.core.settings import PROJECT_ROOT
from backend.training.programs.starter_tokenizer import BYTE_TOKENS, train_tokenizer

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    # Wide enough that one token clearly beats the next, whoever computes it.
    "initializer_range": 0.15,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CHAT_END = "<|im_end|>"
# As training leaves the template of a model that has learnt to answer at once.
NO_THINKING = "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif %}"


def build_all(folder: Path) -> None:
    """`qwen2` (bfloat16, output of its own), `qwen3` (tied), `llama`, `starter`, `lora` on qwen3, and `reward`."""
    torch.manual_seed(0)
    lines = (PROJECT_ROOT / "data" / "seed" / "family.jsonl").read_text("utf-8").splitlines()[:200]
    chat = tokenizer(lines, "qwen2", ["<|endoftext|>", "<|im_start|>", CHAT_END], template("qwen2_5"))
    qwen2 = Qwen2ForCausalLM(config(Qwen2Config, chat, tie_word_embeddings=False)).bfloat16()
    qwen2.generation_config.update(do_sample=True, temperature=0.7, top_p=0.8)
    save(folder / "qwen2", qwen2, chat)
    thinking = tokenizer(lines, "qwen2", ["<|endoftext|>", "<|im_start|>", CHAT_END], NO_THINKING + template("qwen3"))
    qwen3 = config(Qwen3Config, thinking, tie_word_embeddings=True, head_dim=32)
    save(folder / "qwen3", Qwen3ForCausalLM(qwen3), thinking)
    save(folder / "reward", Qwen3ForSequenceClassification(qwen3), thinking)
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    begun = tokenizer(lines, "llama-bpe", special, LLAMA_TEMPLATE, begins=True)
    llama = config(LlamaConfig, begun, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE)
    save(folder / "llama", LlamaForCausalLM(llama), begun)
    build_starter(folder / "starter")
    adapted = get_peft_model(
        # In bfloat16 a merge rounds, and the text of random weights would turn on it.
        AutoModelForCausalLM.from_pretrained(folder / "qwen3", dtype="auto"),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
    )
    adapted.save_pretrained(folder / "lora")
    thinking.save_pretrained(folder / "lora")


def build_starter(folder: Path) -> None:
    """A model with the starter's own tokenizer, with numbers and plans."""
    requests = [
        "给奶奶的八十大寿写祝福",
        "爸爸六十岁生日",
        "祝儿子18岁生日快乐",
        "结婚二十五周年 寄语",
        "老师 2024 年教师节",
    ] * 6
    greetings = [
        "愿您福如东海，寿比南山。",
        "生日快乐，天天开心！",
        "感谢您的教诲，节日快乐。",
        "岁岁平安，年年有余。",
    ] * 6
    plain = train_tokenizer(requests, greetings, ["<|plan:生日|>", "<|plan:长辈|>"])
    model = Qwen3ForCausalLM(config(Qwen3Config, plain, tie_word_embeddings=True, head_dim=32))
    # A trained one writes no bytes; and what two libraries make of half a character differs.
    model.get_input_embeddings().weight.data[plain.convert_tokens_to_ids(BYTE_TOKENS)] = 0
    save(folder, model, plain)


def template(name: str) -> str:
    """A chat template as the model's makers wrote it."""
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text("utf-8")


# Llama's own names today's date, which no file can hold.
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def tokenizer(
    lines: list[str], split: str, special: list[str], chat_template: str, *, begins: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, split as the model's makers do; the last special token ends a turn."""
    built = Tokenizer(models.BPE(ignore_merges=begins))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[split]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    built.train_from_iterator(lines, trainer)
    built.add_special_tokens(special)
    if begins:
        first = special[0]
        built.post_processor = processors.TemplateProcessing(
            f"{first} $A", special_tokens=[(first, built.token_to_id(first))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token=special[0] if begins else None,
        eos_token=special[-1],
        pad_token=special[0],
        chat_template=chat_template,
    )


def config(kind: Any, tokenizer: PreTrainedTokenizerFast, **values: Any) -> Any:
    """The shape of a tiny model whose embedding has a few rows more than its vocabulary."""
    return kind(
        vocab_size=len(tokenizer) + 3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        num_labels=1,
        **SHAPE | values,
    )


def save(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """As training leaves a policy."""
    for name, weight in model.named_parameters():
        # As trained ones: no norm is exactly 1, no bias exactly 0.
        if name.endswith(("norm.weight", "bias")):
            torch.nn.init.normal_(weight, mean=float(name.endswith("norm.weight")), std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
