"""Whether llama.cpp writes what transformers writes: models exported to GGUF, the most likely token each time.

    pip install xllamacpp
    python -m bench.llama_cpp FOLDER… [--precision f32]

A line of JSON for each model: of how many requests the two texts are the same, and how many prompts have as many
tokens. Of the model's own rules of sampling (no pair twice, tokens never written) neither uses any. xllamacpp is no
dependency: it brings llama.cpp as a server in this process.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from backend.db.engine import Database
from backend.jobs.report import JobReport
from backend.training.exporting import parse_export_settings
from backend.training.programs.export import export_policy, find_policy_folder
from backend.training.programs.loading import load_tokenizer
from backend.training.programs.ollama_files import GGUF_FILE

TOKENS = 60
REQUESTS = (
    "给奶奶的八十大寿写祝福",
    "祝妈妈生日快乐",
    "给老师写一句教师节祝福",
    "结婚二十周年送给妻子的祝福",
    "新年给客户的祝福",
    "祝同事升职",
    "给孩子满月的祝福",
    "爷爷九十岁生日",
    "朋友乔迁新居",
    "中秋节给爸妈的问候",
    "给闺蜜的25岁生日祝福",
    "高考加油",
    "祝表哥新婚快乐，要文雅一点",
    "春节拜年 给邻居",
    "祝奶奶早日康复",
    "给叔叔的六十岁生日",
    "毕业祝福写给室友",
    "2024年春节祝福",
    "给外婆写一段30字左右的生日祝福",
    "公司周年庆",
)


def write_by_transformers(model_folder: Path) -> list[tuple[str, int]]:
    """Text and tokens of the prompt for each request."""
    tokenizer = load_tokenizer(str(model_folder))
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model.generation_config.update(no_repeat_ngram_size=0, repetition_penalty=1.0, suppress_tokens=None)
    replies = []
    for request in REQUESTS:
        turns = [{"role": "user", "content": request}]
        inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        prompt_length = inputs["input_ids"].shape[1]
        written = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0, prompt_length:]
        replies.append((tokenizer.decode(written, skip_special_tokens=True), prompt_length))
    return replies


def write_by_llama_cpp(gguf_path: Path) -> list[tuple[str, int]]:
    """The same by llama.cpp, through its chat endpoint."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf_path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 1024, 1, False
    # Keys and values in full as well; the usual 16 bits turn the text of random weights.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    greedy = {"max_tokens": TOKENS, "temperature": 0, "top_k": 1, "repeat_penalty": 1.0, "cache_prompt": False}
    replies = []
    for request in REQUESTS:
        reply = server.handle_chat_completions({"messages": [{"role": "user", "content": request}], **greedy})
        replies.append((reply["choices"][0]["message"]["content"], reply["usage"]["prompt_tokens"]))
    return replies


def compare(model_folder: Path, precision: str, work_folder: Path) -> dict[str, Any]:
    """Export one model, let both write, and count what is the same."""
    settings = parse_export_settings({"artifact": str(model_folder), "to": "gguf", "precision": precision})
    policy = find_policy_folder(Database(f"sqlite:///{work_folder}/none.db"), settings.artifact)
    exported = export_policy(settings, policy, work_folder / policy.name, JobReport(None, None))
    replies = list(zip(write_by_transformers(model_folder), write_by_llama_cpp(exported / GGUF_FILE), strict=True))
    # The server holds back a character whose bytes are not all there yet.
    return {
        "model": policy.name,
        "precision": precision,
        "requests": len(replies),
        "same_text": sum(own[0].rstrip("�") == theirs[0].rstrip("�") for own, theirs in replies),
        "same_prompt_tokens": sum(own[1] == theirs[1] for own, theirs in replies),
    }


def main() -> None:
    """Compare the models of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.llama_cpp")
    parser.add_argument("folders", nargs="+", type=Path, help="whole models, no adapters")
    parser.add_argument("--precision", default="auto", help="auto, f32, f16, bf16 or q8_0")
    options = parser.parse_args()
    if importlib.util.find_spec("xllamacpp") is None:
        sys.exit("error: this bench needs llama.cpp; run `pip install xllamacpp` in an environment of your own.")
    with tempfile.TemporaryDirectory() as work_folder:
        for model_folder in options.folders:
            result = compare(model_folder.resolve(), options.precision, Path(work_folder))
            print(json.dumps(result, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
