"""What a GPU shows and a CPU cannot: the training programs at real sizes, with random weights built on the spot.

    python -m bench.gpu_smoke [--stage A --stage B …] [--cpu] [--folder DIR]

Prints one JSON object a line: a figure, or a check with “ok”. No network. Each stage ends within 8 minutes on one H200:
A  1.5B: SFT with an adapter, a reward model on it, GRPO by that reward model
B  SIGKILL during a save and during a merge, then resumed
C  7B: GRPO by a scripted judge; seconds and memory, beside TRL alone with the same settings
D  a batch that no card holds, and the published settings on one card
E  an adapter merged and served answers as it does by itself
With --cpu every stage runs on tiny shapes, which proves this script and not a card; the allocator's refusal (D) is
played there. Exits 1 where a check fails.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.jobs.local import CPU_PREFIX, find_devices
from backend.training.grpo_settings import GrpoSettings
from bench.gpu.world import Finished, SmokeWorld

TOLERANCE = 0.10
MAX_FIRST_KL = 1e-3
FREED_MB = 500
LORA = {"lora_rank": 16, "lora_alpha": 32, "gradient_checkpointing": True, "save_every": 1000}
REQUESTS = ("给奶奶的八十大寿写一句祝福", "新年快到了，给老师写祝福", "朋友结婚，写一句")
ADAPTER_FILE = "adapter_model.safetensors"


class Report:
    """Lines of JSON on standard output; whether every check held."""

    def __init__(self) -> None:
        self.stage, self.all_ok = "", True

    def figure(self, name: str, value: Any) -> None:
        """A measured value."""
        print(json.dumps({"stage": self.stage, "name": name, "value": value}, ensure_ascii=False), flush=True)

    def check(self, name: str, ok: bool, detail: Any = None) -> None:
        """Something that must hold."""
        self.all_ok &= ok
        line = {"stage": self.stage, "check": name, "ok": ok, "detail": detail}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def finished(self, name: str, finished: Finished, *, with_memory: bool = True) -> bool:
        """A program ended well, its losses are finite, and its memory was as estimated."""
        losses = finished.values("loss")
        ended_well = finished.exit_code == 0
        self.check(f"{name}: ends well", ended_well, None if ended_well else finished.output[-1500:])
        self.check(f"{name}: losses are finite", bool(losses) and all(map(math.isfinite, losses)), losses[-3:])
        self.figure(f"{name}: seconds", round(finished.seconds, 1))
        if with_memory:
            self._memory(name, finished)
        return ended_well

    def _memory(self, name: str, finished: Finished) -> None:
        estimated, measured = finished.estimated_gb, finished.measured_gb
        self.figure(f"{name}: memory", {"estimated_gb": estimated, "measured_gb": measured})
        # On a CPU there is no allocator to ask.
        if estimated is None or measured is None:
            self.check(f"{name}: an estimate is reported", estimated is not None)
            return
        difference = estimated / measured - 1
        self.check(f"{name}: memory is within the estimate", abs(difference) <= TOLERANCE, round(difference, 3))


def stage_a(world: SmokeWorld, report: Report) -> None:
    """SFT, reward model, GRPO, each on what came before."""
    base = world.model("1.5B")
    sft = train_policy(world, "a-sft", base, max_steps=20)
    if not report.finished("SFT", sft):
        return
    policy, rewards = world.folder / "a-sft" / "artifact", world.folder / "a-reward" / "artifact"
    check_adapter(report, "SFT", policy)
    pairs = {"batch_size": 8, "max_length": 256, "learning_rate": 2e-4, "max_steps": 20}
    reward_model = world.train("reward_model", "a-reward", base=policy, **LORA, **pairs)
    if not report.finished("reward model", reward_model, with_memory=world.on_cpu):
        return
    check_adapter(report, "reward model", rewards)
    grpo = world.train(
        "grpo", "a-grpo", base=policy, reward_artifact=rewards, **LORA, **rollout_sizes(world), max_steps=10
    )
    if not report.finished("GRPO", grpo):
        return
    check_adapter(report, "GRPO", world.folder / "a-grpo" / "artifact")
    divergences = grpo.values("kl")
    report.check("GRPO: starts where the policy is", divergences[0] < MAX_FIRST_KL, divergences[:2])
    # A reward model on another device than its inputs fails on every batch, and all is unscored.
    report.check("GRPO: every greeting is scored", max(grpo.values("unscored"), default=0.0) == 0.0)
    report.figure("GRPO: reward", grpo.values("reward"))


def train_policy(world: SmokeWorld, out_name: str, base: Path, *more: str, **setting_values: Any) -> Finished:
    """SFT of an adapter in blocks that are full, so that every batch is as long as the estimate takes it."""
    sizes = {"batch_size": 4, "max_length": 128} if world.on_cpu else {"batch_size": 8, "max_length": 512}
    return world.train("sft", out_name, *more, **(policy_settings(base) | sizes | setting_values))


def policy_settings(base: Path) -> dict[str, Any]:
    """What the SFTs here have in common."""
    return {"base": base, **LORA, "packing": "wrapped", "learning_rate": 2e-4, "scheduler": "constant", "warmup": 0}


def rollout_sizes(world: SmokeWorld) -> dict[str, Any]:
    """Rollouts of one update each."""
    sizes = {
        "prompts": 8,
        "generations": 8,
        "batch_size": 16,
        "accumulation": 4,
        "max_new_tokens": 128,
        "max_length": 224,
    }
    if world.on_cpu:
        sizes = {"prompts": 2, "generations": 2, "batch_size": 4, "accumulation": 1, "max_new_tokens": 12}
        sizes["max_length"] = 140
    monitor = {"monitor": json.dumps({"action": "off"}), "eval_prompts": 2, "gold": "off"}
    return {**sizes, **monitor, "beta": 0.04, "learning_rate": 1e-5, "vllm": "off"}


def check_adapter(report: Report, name: str, artifact_folder: Path) -> None:
    """The adapter has moved from its start, where half of it is zero, and nothing of the base was saved."""
    from safetensors import safe_open

    with safe_open(artifact_folder / ADAPTER_FILE, framework="pt") as weights:
        tensors = {key: weights.get_tensor(key) for key in weights.keys()}  # noqa: SIM118
    moved = [bool(tensor.abs().sum() > 0) for key, tensor in tensors.items() if "lora_B" in key]
    report.check(f"{name}: the adapter moved", bool(moved) and all(moved), f"{sum(moved)} of {len(moved)} matrices")
    others = [key for key in tensors if "lora_" not in key and "score" not in key]
    report.check(f"{name}: the base did not", not others, others[:3])
    dtypes = sorted({str(tensor.dtype) for tensor in tensors.values()})
    report.check(f"{name}: adapters are trained in float32", dtypes == ["torch.float32"], dtypes)


def stage_b(world: SmokeWorld, report: Report) -> None:
    """Killed and resumed is as never killed."""
    base, steps = world.model("1.5B"), {"max_steps": 8, "save_every": 2}
    whole = train_policy(world, "b-whole", base, **steps)
    if not report.finished("uninterrupted", whole):
        return
    checkpoints = world.folder / "b-killed" / "checkpoints"
    sizes = {"batch_size": 4, "max_length": 128} if world.on_cpu else {"batch_size": 8, "max_length": 512}
    settings = {**policy_settings(base), **sizes, **steps}
    killed = world.kill_when("sft", "b-killed", lambda: is_being_saved(checkpoints), **settings)
    report.check("killed during a save", killed, [path.name for path in sorted(checkpoints.glob("*"))])
    resumed = train_policy(world, "b-killed", base, "--resume", **steps)
    report.finished("resumed", resumed, with_memory=False)
    report.check("resumed: losses as uninterrupted", *compare_losses(whole, resumed))

    policy, merged = world.folder / "b-whole" / "artifact", world.home / "merged"
    pairs = {"base": policy, **LORA, "batch_size": 4, "max_length": 256, "max_steps": 2}
    killed = world.kill_when("reward_model", "b-merge", lambda: is_being_merged(merged), **pairs)
    report.check("killed during a merge", killed)
    again = world.train("reward_model", "b-merge", "--resume", **pairs)
    report.finished("resumed after the merge", again, with_memory=False)


def is_being_saved(checkpoints: Path) -> bool:
    """Whether a checkpoint's files are being written: its state comes last."""
    folders = list(checkpoints.glob("checkpoint-[4-9]"))
    return any(any(folder.iterdir()) and not (folder / "trainer_state.json").exists() for folder in folders)


def is_being_merged(merged: Path) -> bool:
    """Whether there is a draft of a merge that is not whole."""
    return any(any(draft.iterdir()) for draft in merged.glob(".*.part"))


def compare_losses(whole: Finished, resumed: Finished) -> tuple[bool, Any]:
    """Whether the steps that both took have the same losses, but for what a GPU rounds differently."""
    differences = {
        step: figures["loss"] - whole.steps[step]["loss"]
        for step, figures in resumed.steps.items()
        if "loss" in figures and "loss" in whole.steps.get(step, {})
    }
    is_same = bool(differences) and all(abs(difference) < 0.02 for difference in differences.values())
    return is_same, {step: round(difference, 6) for step, difference in differences.items()}


def stage_c(world: SmokeWorld, report: Report) -> None:
    """Seconds and memory of GRPO by a judge, beside TRL alone."""
    from tests.llm_fixtures import running

    base, sizes = world.model("7B"), rollout_sizes(world)
    with running() as judge:
        judge.script(latency_s=0.2)
        world.environment |= {"ZHUFU_LLM_BASE_URL": judge.base_url, "ZHUFU_LLM_MODEL": "fake"}
        judged = {"base": base, "reward": "principle", **LORA, **sizes, "max_steps": 5, "lora_dropout": 0}
        ours = world.run("bench.gpu.programs", "timed", *world.arguments(world.folder / "c-ours", **judged))
        report.finished("GRPO by a judge", ours)
        report_speed(report, "ours", ours, sizes)
        bare_settings = write_bare_settings(world, base, judge.base_url, sizes)
        bare = world.run("bench.gpu.programs", "bare", str(bare_settings))
    report.check("TRL alone: ends well", bare.exit_code == 0, None if bare.exit_code == 0 else bare.output[-1500:])
    report_speed(report, "TRL alone", bare, sizes)


def report_speed(report: Report, name: str, finished: Finished, sizes: dict[str, Any]) -> None:
    """Seconds by kind of work, tokens a second, and the peak."""
    last_lines = [line for line in finished.output.splitlines() if line.startswith("{")]
    if not last_lines:
        return
    figures = json.loads(last_lines[-1])
    tokens = 5 * sizes["prompts"] * sizes["generations"] * sizes["max_new_tokens"]
    figures["rollout_tokens_per_second"] = tokens / max(figures["rollout_s"], 1e-9)
    report.figure(name, {key: value and round(value, 2) for key, value in figures.items()})


def write_bare_settings(world: SmokeWorld, base: Path, judge_url: str, sizes: dict[str, Any]) -> Path:
    """The same training in TRL's own words."""
    from backend.core.enums import Split
    from backend.training.snapshot import open_snapshot

    rows = open_snapshot(world.home, str(world.snapshot_folder)).rows("prompts", Split.TRAIN)
    arguments = {
        "output_dir": str(world.folder / "c-bare"),
        "max_steps": 5,
        "per_device_train_batch_size": sizes["batch_size"],
        "gradient_accumulation_steps": sizes["accumulation"],
        "generation_batch_size": sizes["prompts"] * sizes["generations"],
        "num_generations": sizes["generations"],
        "max_completion_length": sizes["max_new_tokens"],
        "beta": sizes["beta"],
        "learning_rate": sizes["learning_rate"],
        "loss_type": "grpo",
        "activation_checkpointing": True,
        "save_strategy": "no",
        "logging_steps": 1,
    }
    given = {
        "model": str(base),
        "judge": judge_url,
        "concurrency": 8,
        "lora_rank": LORA["lora_rank"],
        "arguments": arguments,
        "requests": [row["prompt"] for row in rows[:400]],
    }
    settings_path = world.folder / "bare.json"
    settings_path.write_text(json.dumps(given, ensure_ascii=False), "utf-8")
    return settings_path


def stage_d(world: SmokeWorld, report: Report) -> None:
    """What no card holds is a sentence, and leaves the card free."""
    base, before = world.model("1.5B"), world.used_gpu_mb()
    absurd = {**policy_settings(base), "max_length": 2048, "gradient_checkpointing": False, "memory_check": "warn"}
    absurd["batch_size"] = 4 if world.on_cpu else 512
    arguments = world.arguments(world.folder / "d-absurd", **absurd)
    if world.on_cpu:
        exhausted = world.run("bench.gpu.programs", "exhausted", *arguments)
    else:
        exhausted = world.run("backend.training.programs.sft", *arguments)
    is_sentence = exhausted.exit_code == 2 and "The GPU's memory was not enough" in exhausted.output
    report.check("out of memory: a sentence", is_sentence, exhausted.output[-300:])
    after = world.used_gpu_mb()
    is_free = before is None or after is None or after - before < FREED_MB
    report.check("out of memory: the card is free again", is_free, {"before_mb": before, "after_mb": after})

    large = world.model("7B", config_only=True)
    published = {"base": large, "processes": 1, "reward": "ngram", "vllm": "off"}
    if "sharding" in GrpoSettings.model_fields:
        published["sharding"] = "none"
    refused = world.train("grpo", "d-published", "--preset=published", **published)
    is_refused = refused.exit_code == 2 and "This needs about" in refused.output
    report.check("published on one card: refused before loading", is_refused, refused.output.strip()[-400:])
    report.figure("published on one card: seconds until refused", round(refused.seconds, 1))


def stage_e(world: SmokeWorld, report: Report) -> None:
    """Merged and served, an adapter writes what it writes by itself."""
    policy = world.folder / "e-sft" / "artifact"
    # Far enough from its start that merging changes what is written.
    sft = train_policy(world, "e-sft", world.model("1.5B"), max_steps=20, learning_rate=5e-3)
    report.finished("SFT", sft, with_memory=False)
    greedy = world.run("bench.gpu.programs", "greedy", str(policy), *REQUESTS)
    report.check("the adapter writes", greedy.exit_code == 0, greedy.output[-300:])
    own_texts = json.loads(greedy.output.strip().splitlines()[-1])
    with world.serving(policy) as ask:
        served_texts = [ask(request) for request in REQUESTS]
    # A server may leave out white space at the ends.
    is_same = [own.strip() == served.strip() for own, served in zip(own_texts, served_texts, strict=True)]
    detail = {"own": own_texts, "served": served_texts}
    report.check("served: the adapter's own texts", all(own_texts) and all(is_same), detail)


STAGES: dict[str, Callable[[SmokeWorld, Report], None]] = {
    "A": stage_a,
    "B": stage_b,
    "C": stage_c,
    "D": stage_d,
    "E": stage_e,
}


def main() -> None:
    """Run the stages that were named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, help="may be repeated; default: all")
    parser.add_argument("--cpu", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--folder", type=Path, help="keeps models and runs; default: a temporary one")
    options = parser.parse_args()
    if not options.cpu and not any(not name.startswith(CPU_PREFIX) for name in find_devices(None)):
        print(json.dumps({"note": "no GPU is here; --cpu runs every stage on tiny shapes"}))
        return
    report = Report()
    with tempfile.TemporaryDirectory(prefix="gpu-smoke-") as temporary_folder:
        world = SmokeWorld((options.folder or Path(temporary_folder)).resolve(), on_cpu=options.cpu)
        for name in options.stage or STAGES:
            report.stage = name
            STAGES[name](world, report)
    sys.exit(not report.all_ok)


if __name__ == "__main__":
    main()
