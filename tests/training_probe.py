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
from pathlib import Path
from unittest.mock import patch

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from backend.core.enums import Split
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.jobs.report import JobReport
from backend.training.programs import grpo
from backend.training.programs.dpo import PairWriter
from backend.training.programs.implicit_reward import ImplicitReward
from backend.training.programs.models import load_tokenizer
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.reward_judges import RewardModelReward
from backend.training.programs.reward_server import RewardModel
from backend.training.programs.sft import LeanSFTTrainer, _build_dataset, train
from backend.training.settings import settings_for
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
    first = _build_dataset(rows, tokenizer)[0]["completion"][0]["content"]
    told = {"lost": lost, "trl": values["SFTTrainer"], "lean": values["LeanSFTTrainer"]}
    print(json.dumps(told | {"first": tokenizer.tokenize(first)}))


def loss(kind: type[SFTTrainer], artifact: str, tokenizer, rows, folder: str) -> float:  # type: ignore[no-untyped-def]
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32),
        args=SFTConfig(output_dir=folder, use_cpu=True, bf16=False, report_to=[], activation_checkpointing=False),
        train_dataset=_build_dataset(rows, tokenizer),
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
    found = []
    for line in sys.stdin.read().splitlines():
        preset, values, gpu, vllm = json.loads(line)
        with (
            tempfile.TemporaryDirectory() as folder,
            patch("importlib.util.find_spec", {"vllm": vllm or None}.get),
            patch.object(TrainingRun, "device", "cuda" if gpu else "cpu"),
        ):
            out, settings = Path(folder), settings_for("grpo", preset, values)
            run = TrainingRun("grpo", settings, out, out, JobReport(None, None), lambda: Database(""), None)
            try:
                told = vars(grpo._build_arguments(run))
                found.append({name: value for name, value in told.items() if _plain(value)})
            except UserError as error:
                found.append({"refused": str(error)})
    print(json.dumps(found))


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
        "reward": lambda: reward(*sys.argv[2:]),
    }[sys.argv[1]]()
