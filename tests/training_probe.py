"""What needs torch but not a process for each case; tests start this with `python -m`.

training_probe look ARTIFACT SNAPSHOT     JSON: texts that a tokenizer loses, one loss by both trainers
training_probe runs < LINES               each line the JSON arguments of one run of SFT; JSON: exit codes
training_probe rollouts < LINES           each line [preset, settings, GPU?, vLLM?]; JSON: what TRL is told,
                                          or the sentence that refuses it
training_probe likelihood ARTIFACT SNAPSHOT  JSON: log-likelihoods of pairs, by TRL and by ours
training_probe reward ARTIFACT < LINES    each line [request, greeting]; JSON: what a reward model gives
                                          them as a reward, as a binary one, and before its length term
"""

import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from backend.core.enums import Split
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.jobs.report import JobReport
from backend.training.model_shapes import SHAPES_BY_SIZE, STARTER_SHAPES
from backend.training.programs import grpo, vllm_rollouts
from backend.training.programs.dpo import PairWriter
from backend.training.programs.implicit_reward import ImplicitReward
from backend.training.programs.models import load_tokenizer
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.reward_judges import RewardModelReward
from backend.training.programs.reward_server import RewardModel
from backend.training.programs.sft import LeanSFTTrainer, build_dataset, train
from backend.training.programs.training_rows import select_greetings
from backend.training.programs.vllm_rollouts import RolloutMachine
from backend.training.settings import SftSettings, settings_for
from backend.training.snapshot import open_snapshot

STRANGE = (
    "",
    " ",
    "\n",
    "\u3000",
    "龘𠮷𪚥",
    "🎂👨‍👩‍👧",
    "hello, world",
    "ﷺ",
    "祝您生日快乐！",
    "\u200d",
    "0",
)


def look(artifact: str, data: str) -> None:
    """Texts that encode to nothing or come back changed; the loss of one batch by both trainers."""
    tokenizer = AutoTokenizer.from_pretrained(artifact)
    lost = [
        text
        for text in STRANGE
        if text and (not (ids := tokenizer(text)["input_ids"]) or tokenizer.decode(ids) != text)
    ]
    rows = open_snapshot(Path("/nowhere"), data).rows("sft", Split.TRAIN)[:8]
    with tempfile.TemporaryDirectory() as folder:
        values = {kind.__name__: loss(kind, artifact, tokenizer, rows, folder) for kind in (SFTTrainer, LeanSFTTrainer)}
    first = [label for label in _rows(rows, tokenizer)[0]["labels"] if label != -100]
    told = {"lost": lost, "trl": values["SFTTrainer"], "lean": values["LeanSFTTrainer"]}
    print(json.dumps(told | {"first": tokenizer.convert_ids_to_tokens(first)}))


def _rows(rows, tokenizer):  # type: ignore[no-untyped-def]
    out = Path(tempfile.gettempdir())
    run = TrainingRun("sft", SftSettings(), out, out, JobReport(None, None), lambda: Database(""), None)
    return build_dataset(select_greetings(run, tokenizer, Split.TRAIN, rows, None))


def loss(kind: type[SFTTrainer], artifact: str, tokenizer, rows, folder: str) -> float:  # type: ignore[no-untyped-def]
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32),
        args=SFTConfig(output_dir=folder, use_cpu=True, bf16=False, report_to=[], activation_checkpointing=False),
        train_dataset=_rows(rows, tokenizer),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        return float(trainer.compute_loss(trainer.model.eval(), dict(batch)))


def runs() -> None:
    """Exit code of each run; what they say goes to standard error."""
    codes = []
    for line in sys.stdin.read().splitlines():
        sys.argv[1:] = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                main("sft", train)
        except SystemExit as ended:
            codes.append(ended.code)
    print(json.dumps(codes))


def rollouts() -> None:
    """What TRL is told, on a machine that has this or has it not."""
    print(json.dumps([rollout(*json.loads(line)) for line in sys.stdin.read().splitlines()]))


def rollout(preset: str, values: dict[str, Any], gpu: bool, vllm: str | None, size: str) -> dict[str, Any]:
    """One of them, with the messages beside what TRL is told; `vllm` is its version, of a model of that size."""
    messages: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(RolloutMachine, "look", lambda _device: RolloutMachine(vllm, 80_000_000_000 if gpu else None)),
        patch.object(vllm_rollouts, "read_shape", lambda *_base: SHAPES[size]),
        patch.object(vllm_rollouts, "_server_obstacle", lambda _address: None),
        patch.object(TrainingRun, "device", "cuda" if gpu else "cpu"),
        patch.object(JobReport, "log", lambda _report, message: messages.append(message.en)),
    ):
        out, settings = Path(folder), settings_for("grpo", preset, values)
        run = TrainingRun("grpo", settings, out, out, JobReport(None, None), lambda: Database(""), None)
        try:
            told = vars(grpo._build_arguments(run, "base"))
        except UserError as error:
            return {"refused": str(error)}
    return {name: value for name, value in told.items() if _plain(value)} | {"messages": messages}


def merges() -> None:
    """What a bfloat16 base loses by merging and unmerging an adapter, by TRL alone and with its base remembered."""
    drifts = {}
    for name in ("plain", "exact"):
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_config(SMALL).bfloat16()
        shape = sum(weight.numel() for weight in base.parameters())
        model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
        if name == "exact":
            vllm_rollouts.keep_base_exact(model)
        weight = model.base_model.model.model.layers[0].mlp.down_proj.base_layer.weight
        before, during = weight.clone(), None
        for _ in range(20):
            model.merge_adapter()
            during = weight.clone()
            model.unmerge_adapter()
        drifts[name] = float((weight - before).abs().max() / before.abs().mean())
        drifts[f"{name}_merged"] = bool((during != before).any())
    with tempfile.TemporaryDirectory() as folder:
        SMALL.save_pretrained(folder)
        found = vllm_rollouts.read_shape(folder, None)
    drifts["shape"] = found is not None and found.parameter_count == shape
    print(json.dumps(drifts))


SHAPES = {
    "1.5B": SHAPES_BY_SIZE["Qwen/Qwen2.5-1.5B"],
    "7B": SHAPES_BY_SIZE["Qwen/Qwen2.5-7B"],
    "40B": replace(SHAPES_BY_SIZE["Qwen/Qwen2.5-7B"], layer_count=168),
    "starter": STARTER_SHAPES["deep"],
}
SMALL = Qwen2Config(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    architectures=["Qwen2ForCausalLM"],
)


def reward(artifact: str) -> None:
    """A reward model in this process, as GRPO has it."""
    items = [json.loads(line) for line in sys.stdin.read().splitlines()]
    requests, texts = zip(*items, strict=True)
    plain, binary = RewardModelReward(Path(artifact)), RewardModelReward(Path(artifact), binary=True)
    told = {"reward": plain.score(requests, texts), "binary": binary.score(requests, texts)}
    print(json.dumps(told | {"raw": RewardModel(Path(artifact), 1024, 8).raw_scores(items)}))


def likelihood(artifact: str, data: str) -> None:
    """Log-likelihoods of a batch of pairs, by TRL's trainer and by ours."""
    tokenizer = load_tokenizer(artifact)
    writer = PairWriter(tokenizer, {})
    rows = open_snapshot(Path("/nowhere"), data).rows("pairs", Split.TRAIN)[:6]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32),
            args=DPOConfig(output_dir=folder, use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=6),
            train_dataset=writer.build_dataset(rows),
            processing_class=tokenizer,
        )
        batch = trainer.data_collator([trainer.train_dataset[index] for index in range(len(rows))])
        chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    ours = ImplicitReward(trainer.model, writer.encode_pair, max_length=200, batch_size=4)
    found = ours._log_likelihoods([(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows])
    print(json.dumps({"trl": [*chosen.tolist(), *rejected.tolist()], "ours": found}))


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


if __name__ == "__main__":
    {
        "look": lambda: look(*sys.argv[2:]),
        "runs": runs,
        "rollouts": rollouts,
        "likelihood": lambda: likelihood(*sys.argv[2:]),
        "merges": merges,
        "reward": lambda: reward(*sys.argv[2:]),
    }[sys.argv[1]]()
