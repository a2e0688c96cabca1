"""Our programs against bare TRL with the same model, data and settings: CPU time of a step, one thread.

    python bench/training_overhead.py [--steps N] [--repeats N] [--json]

Bounds: the reward model at most 5 % more CPU a step; SFT at least 1.25 × faster on a CPU. SFT is measured
twice: in float32 as bare TRL, and as it is by default (bfloat16 where the CPU has the instructions).
The runs of a round alternate, and the figures are medians over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCH, LENGTH = {"sft": 16, "reward_model": 8}, {"sft": 96, "reward_model": 160}
QUIET = {"log_every": 10, "eval_every": 100_000, "save_every": 100_000, "samples": 0, "threads": 1}


def bare(kind: str, model: str, data: str, steps: int) -> None:
    """What a person would write with TRL alone; prints the CPU seconds of `train`."""
    from datasets import load_dataset
    from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=data, split="train", cache_dir=str(Path(data).parent / "cache"))
    common: dict[str, Any] = {
        "output_dir": str(Path(data).parent / "bare"),
        "max_steps": steps,
        "per_device_train_batch_size": BATCH[kind],
        "learning_rate": 1e-3,
        "max_length": LENGTH[kind],
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if kind == "sft":
        config = SFTConfig(**common, packing=True, packing_strategy="wrapped")
        trainer = SFTTrainer(model=model, args=config, train_dataset=rows)
    else:
        config = RewardConfig(**common, center_rewards_coefficient=0.01)
        trainer = RewardTrainer(model=model, args=config, train_dataset=rows)
    start = time.process_time()
    trainer.train()
    print(json.dumps({"seconds": time.process_time() - start}))


def chats(kind: str, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows in TRL's conversational form."""

    def turn(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    if kind == "sft":
        return [
            {
                "prompt": [turn("user", row["prompt"])],
                "completion": [turn("assistant", row["completion"])],
            }
            for row in rows
        ]
    return [
        {side: [turn("user", row["prompt"]), turn("assistant", row[side])] for side in ("chosen", "rejected")}
        for row in rows
    ]


class Workshop:
    """A home with the seed corpus and an untrained starter, and the programs that are compared."""

    def __init__(self, folder: Path, steps: int) -> None:
        from backend.core.enums import Split
        from backend.corpus.service import CorpusService
        from backend.db.engine import Database
        from backend.db.migrate import migrate
        from backend.training.snapshot import SnapshotOptions, export_snapshot

        self.folder, self.steps, self._runs = folder, steps, 0
        database = Database(f"sqlite:///{folder / 'zhufu.db'}")
        migrate(database)
        CorpusService(database).load_seed()
        self.snapshot = export_snapshot(database, folder, SnapshotOptions())
        database.close()
        for kind, name in (("sft", "sft"), ("reward_model", "pairs")):
            rows = self.snapshot.rows(name, Split.TRAIN)
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chats(kind, rows))
            (folder / f"{kind}.jsonl").write_text(text, "utf-8")
        self.ours("sft", base="starter", max_steps=1)
        self.model = folder / "run1" / "base"

    def ours(self, kind: str, **values: Any) -> float:
        """CPU seconds a step of our program."""
        self._runs += 1
        out = self.folder / f"run{self._runs}"
        settings = {
            **QUIET,
            "snapshot": self.snapshot.folder,
            "max_steps": self.steps,
            "batch_size": BATCH[kind],
            "max_length": LENGTH[kind],
            "learning_rate": 1e-3,
            "lora_rank": 0,
            **({"packing": "wrapped"} if kind == "sft" else {}),
            **({} if "base" in values else {"base": self.model}),
            **values,
        }
        sets = [f"--set={name}={value}" for name, value in settings.items()]
        self._run([sys.executable, "-m", f"backend.training.programs.{kind}", "--out", str(out), *sets])
        metrics = json.loads((out / "artifact" / "artifact.json").read_text("utf-8"))["metrics"]
        return metrics["train_cpu_seconds"] / metrics["steps"]

    def bare(self, kind: str) -> float:
        """CPU seconds a step of bare TRL."""
        data = str(self.folder / f"{kind}.jsonl")
        said = self._run([sys.executable, __file__, "--bare", kind, str(self.model), data, str(self.steps)])
        return json.loads(said.splitlines()[-1])["seconds"] / self.steps

    def _run(self, command: list[str]) -> str:
        settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout


def measure(steps: int, repeats: int) -> dict[str, float]:
    """Median CPU seconds a step of each program, and the two ratios."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder), steps)
        programs = {
            "sft_bare": lambda: shop.bare("sft"),
            "sft_ours_float32": lambda: shop.ours("sft", dtype="float32"),
            "sft_ours": lambda: shop.ours("sft"),
            "reward_bare": lambda: shop.bare("reward_model"),
            "reward_ours_float32": lambda: shop.ours("reward_model", dtype="float32"),
            "reward_ours": lambda: shop.ours("reward_model"),
        }
        rounds = [{name: program() for name, program in programs.items()} for _ in range(repeats)]
    seconds = {name: statistics.median(one[name] for one in rounds) for name in programs}
    ratios = {
        "sft_speedup_float32": [one["sft_bare"] / one["sft_ours_float32"] for one in rounds],
        "sft_speedup": [one["sft_bare"] / one["sft_ours"] for one in rounds],
        "reward_overhead_float32": [one["reward_ours_float32"] / one["reward_bare"] - 1 for one in rounds],
        "reward_speedup": [one["reward_bare"] / one["reward_ours"] for one in rounds],
    }
    return seconds | {name: statistics.median(values) for name, values in ratios.items()}


def main() -> None:
    """Print the figures; exit 1 beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", nargs=4, metavar=("KIND", "MODEL", "DATA", "STEPS"), help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.bare:
        kind, model, data, steps = wish.bare
        return bare(kind, model, data, int(steps))
    figures = measure(wish.steps, wish.repeats)
    if wish.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value:.3f}" for name, value in figures.items()))
    sys.exit(figures["sft_speedup"] < 1.25 or figures["reward_overhead_float32"] > 0.05)


if __name__ == "__main__":
    main()
