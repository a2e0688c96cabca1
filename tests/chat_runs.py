"""SFT, reward models and GRPO on tiny models with real chat templates, in one process: python -m tests.chat_runs OUT"""

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from backend.core.errors import UserError
from backend.db.engine import Database
from backend.training.programs import grpo, models, reward_model, sft
from backend.training.programs.callbacks import generate_greetings
from backend.training.programs.chat_format import encode_exchange, encode_greeting, find_answer_opening, render_request
from backend.training.programs.program import TrainingRun
from backend.training.programs.reward_server import RewardModel
from backend.training.programs.rewards import Reward, RewardValues
from backend.training.settings import parse_settings
from tests import chat_models
from tests.grpo_runs import Told

GREETING = "祝您生日快乐，福如东海。"
REQUESTS = [f"给第{number}位朋友的生日祝福" for number in range(40)]
QUICK: dict[str, Any] = {
    "batch_size": 16,
    "max_length": 128,
    "log_every": 1,
    "samples": 2,
    "dtype": "float32",
    "learning_rate": 0.01,
}
PROGRAMS: dict[str, Callable[[TrainingRun[Any]], None]] = {
    "sft": sft.train,
    "reward_model": reward_model.train,
    "grpo": grpo.train,
}
Rows = list[dict[str, str]]


def snapshot(folder: Path, **files: Rows) -> Path:
    """A snapshot of these rows, the last four of each file held out."""
    folder.mkdir(parents=True)
    facts = {}
    for name in ("sft", "pairs", "labels", "prompts"):
        rows = files.get(name, [])
        split = [row | {"split": "train" if n < len(rows) - 4 else "validation"} for n, row in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in split), "utf-8")
        facts[name] = {"rows": {"train": max(len(rows) - 4, 0)}}
    manifest = {"hash": folder.name, "files": facts, "dropped": {}, "options": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def greetings(completion: str = GREETING) -> Rows:
    return [{"prompt": request, "completion": completion} for request in REQUESTS]


def pairs(chosen: str = GREETING, rejected: str = "新年好！") -> Rows:
    return [{"prompt": request, "chosen": chosen, "rejected": rejected} for request in REQUESTS]


def run(out: Path, program: str, base: Path, data: Path, **changes: Any) -> dict[str, Any]:
    """One run; how it ended, what it told, and the folder of what came out."""
    told, out_folder = Told(), out / f"{program}-{len(list(out.iterdir()))}"
    out_folder.mkdir()
    settings = parse_settings(program, QUICK | {"base": str(base), "snapshot": str(data)} | changes)
    ended = "done"
    try:
        torch.manual_seed(0)
        PROGRAMS[program](
            TrainingRun(program, settings, out_folder, out, told, lambda: Database("sqlite://"), None)  # type: ignore[arg-type]
        )
    except UserError as error:
        ended = f"error: {error}"
    except Exception:
        ended = traceback.format_exc()
    card = out_folder / "artifact" / "artifact.json"
    return {
        "ended": ended,
        "metrics": told.metrics,
        "logs": told.logs,
        "samples": told.samples,
        "artifact": str(out_folder / "artifact"),
        "card": json.loads(card.read_text("utf-8"))["metrics"] if card.exists() else {},
    }


def written(artifact: str, tokens: int = 40) -> list[str]:
    """What a trained policy answers, loaded from its files alone."""
    model = AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32)
    tokenizer = models.load_tokenizer(artifact)
    return generate_greetings(model, tokenizer, REQUESTS[:6], tokens, 0, temperature=0.1)


def lengths(artifact: str, tokens: int = 60) -> list[int]:
    """Tokens up to where a trained policy stops, without a word from us where that is."""
    model = AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32)
    tokenizer = models.load_tokenizer(artifact)
    found = []
    for request in REQUESTS[:6]:
        given = tokenizer(render_request(tokenizer, request), add_special_tokens=False, return_tensors="pt")
        ids = model.generate(**given, max_new_tokens=tokens, do_sample=False)
        found.append(ids.shape[1] - given["input_ids"].shape[1])
    return found


class Reading(Reward):
    """Remembers what it was shown; longer is better."""

    name = "reading"

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        self.shown += greetings
        return [float(len(text)) for text in greetings]


def thinking(out: Path) -> dict[str, Any]:
    """A Qwen3 that is not to think, one that is, and what a reward is shown of either."""
    base = chat_models.qwen3(out / "qwen3")
    plain, thoughtful = (
        snapshot(out / "plain", sft=greetings()),
        snapshot(out / "thoughtful", sft=greetings(f"<think>\n对方是朋友。\n</think>\n\n{GREETING}")),
    )
    learnt = run(out, "sft", base, plain, max_steps=60)
    own = models.load_tokenizer(learnt["artifact"])
    row = encode_greeting(own, REQUESTS[0], GREETING)
    thinks = run(out, "sft", base, thoughtful, max_steps=1, thinking=True)
    thinker = models.load_tokenizer(thinks["artifact"])
    answers = ["想着<think>想着", "<think>\n想\n</think>\n\n祝您快乐", "新年好！"]
    reward = Reading()
    values = reward(
        ["?"] * 3,
        [[{"role": "assistant", "content": answer}] for answer in answers],
        request=REQUESTS[:3],
        opening=[""] * 3,
        completion_ids=[[1] * 7, [1] * 5, [1]],
    )
    opened = reward(["?"], ["想着，还没有想完"], request=REQUESTS[:1], opening=["<think>\n"])
    return {
        "learnt": learnt,
        "rendered": render_request(own, "?"),
        "rendered_thinking": own.apply_chat_template(
            [{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        ),
        "labels": own.decode([label for label in row.labels if label != -100]),
        "written": written(learnt["artifact"]),
        "thoughtless": run(out, "sft", base, plain, max_steps=1, thinking=True)["ended"],
        "thinks": thinks["ended"],
        "thinking_labels": thinker.decode(
            encode_greeting(thinker, "?", f"<think>\n想\n</think>\n\n{GREETING}").token_ids[-24:]
        ),
        "opening": [find_answer_opening(own), find_answer_opening(thinker)],
        "shown": reward.shown,
        "values": [*values, *opened],
        "counted": dict(reward.failures),
        "tokens": reward.token_count,
    }


def stopping(out: Path) -> dict[str, Any]:
    """A base model whose own end is not that of its template."""
    base, data = chat_models.qwen2(out / "qwen2"), snapshot(out / "turns", sft=greetings())
    learnt = run(out, "sft", base, data, max_steps=60)
    ends = GenerationConfig.from_pretrained(learnt["artifact"]).eos_token_id
    tokenizer = models.load_tokenizer(learnt["artifact"])
    adapter = run(out, "sft", base, data, max_steps=1, lora_rank=2)
    again = run(out, "sft", Path(adapter["artifact"]), data, max_steps=1)
    return {
        "learnt": learnt,
        "ends": tokenizer.convert_ids_to_tokens(ends),
        "eos": tokenizer.eos_token,
        "lengths": lengths(learnt["artifact"]),
        "expected": len(tokenizer(GREETING)["input_ids"]) + 1,
        "written": written(learnt["artifact"]),
        "merged": tokenizer.convert_ids_to_tokens(GenerationConfig.from_pretrained(again["artifact"]).eos_token_id),
        "bare": run(out, "sft", chat_models.qwen2(out / "bare", None), data, max_steps=1)["ended"],
        "chatml": run(out, "sft", out / "bare", data, max_steps=1, chat_template="chatml")["ended"],
        "plain": run(out, "sft", out / "bare", data, max_steps=1, chat_template="plain")["ended"],
    }


def rows(out: Path) -> dict[str, Any]:
    """What is left out of a training, and what nothing can be learnt from."""
    base = out / "qwen3"
    long = GREETING * 200
    mixed = snapshot(out / "mixed", sft=greetings()[:30] + greetings(long)[30:], pairs=_mixed_pairs(long))
    reward = run(out, "reward_model", base, mixed, max_steps=2)
    tokenizer = models.load_tokenizer(reward["artifact"])
    scorer = RewardModel(Path(reward["artifact"]), 512, 8)
    return {
        "sft": run(out, "sft", base, mixed, max_steps=1),
        "sft_none": run(out, "sft", base, mixed, max_steps=1, max_length=16)["ended"],
        "sft_context": run(out, "sft", base, mixed, max_steps=1, max_length=1024),
        "reward": reward,
        "same_text": scorer._encode_pair(REQUESTS[0], GREETING) == encode_exchange(tokenizer, REQUESTS[0], GREETING),
        "pairs_none": run(out, "reward_model", base, mixed, max_steps=1, max_length=16)["ended"],
        "pairs_equal": run(
            out, "reward_model", base, snapshot(out / "equal", pairs=pairs(GREETING, GREETING)), max_steps=1
        )["ended"],
        "pair": run(out, "reward_model", base, snapshot(out / "single", pairs=pairs()[:1]), max_steps=1)["ended"],
    }


def _mixed_pairs(long: str) -> Rows:
    found = pairs()
    for number in range(3):
        found[number] |= {"rejected": GREETING}
    for number in range(3, 8):
        found[number] |= {"chosen": long}
    found[8] |= {"rejected": "<think>没有想完"}
    return found


def bases(out: Path) -> dict[str, Any]:
    """Bases that cannot be used, each with its sentence."""
    data = snapshot(out / "few", sft=greetings(), prompts=[{"prompt": request} for request in REQUESTS])
    qwen3, qwen2 = out / "qwen3", out / "qwen2"
    pickles = _copy(qwen3, out / "pickles")
    (pickles / "model.safetensors").rename(pickles / "pytorch_model.bin")
    small = {"prompts": 2, "generations": 2, "batch_size": 4, "max_new_tokens": 8, "gold": "off", "max_steps": 1}
    cases = {
        "pickles": run(out, "sft", pickles, data),
        "foreign_words": run(out, "sft", _adapter(qwen2, out / "foreign", words=True), data),
        "foreign_shape": run(out, "sft", _adapter(qwen2, out / "shape", of=_wider(qwen2, out / "wider")), data),
        "gone": run(out, "sft", _adapter(qwen2, out / "gone", of=out / "nowhere"), data),
        "context": run(out, "grpo", qwen3, data, **small | {"max_length": 1024}),
        "requests": run(out, "grpo", qwen3, data, **small | {"max_length": 24}),
        "gated": _gated(out, data),
        "code": run(out, "sft", qwen3, data, remote_code="somebody/else"),
        "words": run(out, "sft", _too_many_words(_copy(qwen3, out / "words")), data),
    }
    return {name: result["ended"] for name, result in cases.items()}


def _gated(out: Path, data: Path) -> dict[str, Any]:
    words = (
        "You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/some/body."
    )
    with patch.object(AutoTokenizer, "from_pretrained", side_effect=OSError(words)):
        return run(out, "sft", Path("some/body"), data)


def _copy(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _adapter(base: Path, folder: Path, of: Path | None = None, *, words: bool = False) -> Path:
    """An adapter of `base`; its files name another one, or its words have other numbers."""
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((base / name).read_bytes())
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    settings["base_model_name_or_path"] = str(of or base)
    (folder / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    if words:
        told = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        known = list(told["model"]["vocab"])
        told["model"]["vocab"][known[-1]], told["model"]["vocab"][known[-2]] = (
            told["model"]["vocab"][known[-2]],
            told["model"]["vocab"][known[-1]],
        )
        (folder / "tokenizer.json").write_text(json.dumps(told), "utf-8")
    return folder


def _wider(base: Path, folder: Path) -> Path:
    config = AutoConfig.from_pretrained(base)
    config.hidden_size = 2 * config.hidden_size
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def _too_many_words(folder: Path) -> Path:
    tokenizer = models.load_tokenizer(str(folder))
    tokenizer.add_tokens([f"<word{number}>" for number in range(3)])
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    out = Path(sys.argv[1])
    results = {scenario.__name__: scenario(out) for scenario in (thinking, stopping, rows, bases)}
    (out / "results.json").write_text(json.dumps(results), "utf-8")
