"""The folder that `transformers serve` reads: links to the model's files, and the two it would misread."""

import json
from pathlib import Path
from typing import Any

# Marks of the starter's plan. Here, because who starts a server must not wait until transformers is loaded twice.
PLAN_OPEN, PLAN_CLOSE = "<|plan:", "|>"
FAMILY_MARK = "<|im_start|>"


SMALL_MODEL_BYTES = 300_000_000


def arrange_folder(model_folder: Path, served_folder: Path) -> Path:
    """Fill `served_folder` (emptied before) so that the model in `model_folder` is served as it was trained."""
    if served_folder.is_symlink() or served_folder.is_file():
        served_folder.unlink()
    served_folder.mkdir(exist_ok=True)
    for old_link in served_folder.iterdir():
        old_link.unlink()
    for model_file in model_folder.iterdir():
        if model_file.name not in (GENERATION_FILE, TOKENIZER_FILE):
            (served_folder / model_file.name).symlink_to(model_file)
    # Without it the server writes greedily, whatever temperature a request asks for.
    generation_config = {**_read_json(model_folder / GENERATION_FILE), "do_sample": True}
    (served_folder / GENERATION_FILE).write_text(json.dumps(generation_config), "utf-8")
    (served_folder / TOKENIZER_FILE).write_text(
        json.dumps(build_tokenizer_config(model_folder), ensure_ascii=False), "utf-8"
    )
    return served_folder


def thread_environment(model_folder: Path) -> dict[str, str]:
    """Environment for the server: one thread for a small model.

    Its steps are too short to share, and beside a training on the same two cores every barrier between two
    threads waits for the scheduler: 20 seconds for a greeting in place of a third of one.
    """
    weight_bytes = sum(weight_file.stat().st_size for weight_file in model_folder.glob("*.safetensors"))
    return {"OMP_NUM_THREADS": "1"} if weight_bytes < SMALL_MODEL_BYTES else {}


def is_float16(model_folder: Path) -> bool:
    """Whether the weights are stored in float16."""
    model_config = _read_json(model_folder / "config.json")
    return "float16" in (model_config.get("dtype"), model_config.get("torch_dtype"))


def build_tokenizer_config(model_folder: Path) -> dict[str, Any]:
    """Its tokenizer_config.json, with how to read replies."""
    tokenizer_config = _read_json(model_folder / TOKENIZER_FILE)
    chat_template = tokenizer_config.get("chat_template") or _read_text(model_folder / TEMPLATE_FILE)
    end_token = tokenizer_config.get("eos_token")
    end_token = end_token.get("content") if isinstance(end_token, dict) else end_token
    if "response_template" in tokenizer_config or not chat_template or FAMILY_MARK in chat_template or not end_token:
        return tokenizer_config
    # The anchor is the end of the request, so nothing of it is taken for the reply.
    tokenizer_config["response_template"] = {
        "defaults": {"role": "assistant"},
        "start_anchor_pattern": r"\Z",
        "fields": {
            "content": {"close": end_token, "content": "text", "repeats": True, "join": ""},
            "reasoning_content": {
                "open": PLAN_OPEN,
                "close": PLAN_CLOSE,
                "content": "text",
                "repeats": True,
                "join": " ",
            },
        },
    }
    return tokenizer_config


def _read_json(file_path: Path) -> dict[str, Any]:
    return dict(json.loads(file_path.read_text("utf-8"))) if file_path.is_file() else {}


def _read_text(file_path: Path) -> str:
    return file_path.read_text("utf-8") if file_path.is_file() else ""


GENERATION_FILE, TOKENIZER_FILE, TEMPLATE_FILE = (
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
