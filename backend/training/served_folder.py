"""The folder that `transformers serve` reads: links to the model's files, and the two it would misread.

- generation_config.json: where sampling is off, a temperature of the request would be ignored.
- tokenizer_config.json: of a family that it knows (Qwen) the server reads replies by the family's chat marks.
  In a model with a template of its own it does not find them, and its streams begin with the whole request.
  A starter's plan is reasoning, which is not part of the greeting.
"""

import json
from pathlib import Path
from typing import Any

from backend.training.plan import CLOSE, OPEN

GENERATION, TOKENIZER, TEMPLATE = "generation_config.json", "tokenizer_config.json", "chat_template.jinja"
FAMILY_MARK = "<|im_start|>"
SMALL_BYTES = 300_000_000


def arrange(model: Path, folder: Path) -> Path:
    """Fill `folder` (emptied before) so that the model in `model` is served as it was trained."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for file in model.iterdir():
        if file.name not in (GENERATION, TOKENIZER):
            (folder / file.name).symlink_to(file)
    generation = {**_read(model / GENERATION), "do_sample": True}
    (folder / GENERATION).write_text(json.dumps(generation), "utf-8")
    (folder / TOKENIZER).write_text(json.dumps(served_tokenizer(model), ensure_ascii=False), "utf-8")
    return folder


def threads(model: Path) -> dict[str, str]:
    """Environment for the server: one thread for a small model.

    Its steps are too short to share, and beside a training on the same two cores every barrier between two
    threads waits for the scheduler: 20 seconds for a greeting in place of a third of one.
    """
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return {"OMP_NUM_THREADS": "1"} if size < SMALL_BYTES else {}


def served_tokenizer(model: Path) -> dict[str, Any]:
    """Its tokenizer_config.json, with how to read replies."""
    told = _read(model / TOKENIZER)
    template = told.get("chat_template") or _text(model / TEMPLATE)
    end = told.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    if "response_template" in told or not template or FAMILY_MARK in template or not end:
        return told
    # The anchor is the end of the request, so nothing of it is taken for the reply.
    told["response_template"] = {
        "defaults": {"role": "assistant"},
        "start_anchor_pattern": r"\Z",
        "fields": {
            "content": {"close": end, "content": "text", "repeats": True, "join": ""},
            "reasoning_content": {
                "open": OPEN,
                "close": CLOSE,
                "content": "text",
                "repeats": True,
                "join": " ",
            },
        },
    }
    return told


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""
