"""The method in miniature on the research data: can a judge teach, and does the monitor see a collapse?

    python -m bench.mini_experiment [--seeds 1 2] [--runs rm_collapse rm_kl judge dpo dpo_normed] [--smoke]

A mediocre policy (SFT on two thirds of the chosen and all rejected greetings) learns by GRPO from a reward
model without KL, from the reward model with KL, and from a binary judge (learnt from labels in which length
says nothing) with terms for length, repetition, diversity and fit; and by DPO from the reward model's pairs, without
any reward. All of it are the programs of
`backend.training`, started as anybody would. Requests are divided: rewards learn from one half; gold, its
length-matched twin and the reading of fit ("points back") from the other. No policy and no reward learns from
requests of the test split, and no checkpoint is chosen by them. distinct-2 is compared at equal amounts of
text, because the start writes half as much as the taught policies and more text alone lowers it; that of
all text stands beside it. What was broken off goes on where it stopped; its CPU time is then counted without
what came before. On a machine that does other work set OMP_NUM_THREADS=1: threads that wait for each other
there cost ten times the time.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from backend.core.enums import Split
from backend.core.settings import PROJECT_ROOT
from backend.core.text import assign_bucket, count_characters, digest, strip_white_space
from backend.generation.diversity import build_profile, distinct_n
from backend.judges.crossfit import TrainingLabel, TrainingPool
from backend.judges.ngram import fit_ngram
from backend.training.programs.gold import GoldJudge, find_request_half
from backend.training.programs.reward_terms import RequestFit, learn_request_fit
from backend.training.programs.rewards import mean_scored

Row = dict[str, Any]
REWARD, GOLD = 0, 1
SIDES = ("chosen", "rejected")
BIN = 4
GOOD_LENGTH = 75
SFT: dict[str, Any] = {
    "shape": "wide",
    "learning_rate": 6e-3,
    "adam_beta2": 0.95,
    "batch_size": 32,
    "epochs": 8,
    "eval_every": 500,
}
FORMED = dict.fromkeys(("length_weight", "repetition_weight", "diversity_weight", "format_weight"), 0.0)
RUNS: dict[str, dict[str, Any]] = {
    "rm_collapse": {
        "reward": "reward_model",
        "learning_rate": 3e-4,
        "beta": 0.0,
        "max_steps": 160,
        **FORMED,
    },
    "rm_kl": {"reward": "reward_model", "learning_rate": 1e-4, "beta": 0.04, **FORMED},
    "judge": {
        "reward": "ngram",
        "binary": True,
        "learning_rate": 1.6e-3,
        "scheduler": "linear",
        "beta": 0.04,
        "max_steps": 200,
        "max_new_tokens": 72,
        "eval_prompts": 128,
        "eval_every": 10,
        **FORMED,
        "reward_weight": 1.6,
        "length_weight": 1.0,
        "length_low": 48,
        "length_high": 68,
        "fit_weight": 4.5,
        "diversity_weight": 2.6,
        "repetition_weight": 0.5,
    },
}
# By DPO from the pairs of the reward model, without a monitor; the second by the mean over tokens.
PAIR_RUNS: dict[str, dict[str, Any]] = {
    "dpo": {"learning_rate": 1e-4, "epochs": 1},
    "dpo_normed": {"learning_rate": 1e-4, "epochs": 1, "loss_type": "sigmoid_norm", "beta": 2.0},
}
RUNS |= PAIR_RUNS
FIGURES = ("length", "distinct_2", "distinct_2_equal", "self_bleu_4", "repetition", "fit")
SMOKE_RUNS = ["rm_collapse", "judge", "dpo"]
TINY = {
    "sft": {"max_steps": 3, "batch_size": 8},
    "reward_model": {"max_steps": 2, "batch_size": 8},
    "dpo": {"max_steps": 2, "batch_size": 8},
    "grpo": {
        "max_steps": 2,
        "prompts": 2,
        "generations": 4,
        "batch_size": 8,
        "max_new_tokens": 16,
        "eval_prompts": 8,
        "eval_every": 1,
    },
}


@dataclass(frozen=True)
class Plan:
    """One seed's experiment."""

    seed: int
    out: Path
    smoke: bool

    @property
    def held_out(self) -> int:
        """Requests of the final evaluation."""
        return 16 if self.smoke else 256


@dataclass(frozen=True)
class Readers:
    """Learnt on the half of the requests that no reward learns from."""

    gold: GoldJudge
    length_matched: GoldJudge
    request_fit: RequestFit


def main() -> None:
    """Every seed in turn, a table and a JSON file at the end."""
    options = _options()
    runs = options.runs or (SMOKE_RUNS if options.smoke else list(RUNS))
    pairs = _pairs(options.data)
    results = []
    for seed in options.seeds:
        plan = Plan(seed, options.out / f"seed-{seed}{'-smoke' if options.smoke else ''}", options.smoke)
        results.append(experiment(plan, pairs[:600] if options.smoke else pairs, runs))
        print(table(results[-1]), flush=True)
    path = options.out / "results.json"
    path.write_text(json.dumps(results, ensure_ascii=False, indent=1), "utf-8")
    print(f"figures: {path}")


def experiment(plan: Plan, pairs: Sequence[Row], runs: Sequence[str]) -> dict[str, Any]:
    """All programs of one seed, and what the policies write for held-out requests."""
    plan.out.mkdir(parents=True, exist_ok=True)
    began = sum(os.times()[:4])
    data = _snapshots(plan, pairs)
    readers = _readers(pairs)
    requests = _requests(plan, pairs)
    sft = _program(plan, "sft", "sft", snapshot=data["policy"], **SFT)
    rm = _program(plan, "reward_model", "reward_model", snapshot=data["reward"], base=str(sft))
    measured = {"before": _measured(plan, sft, requests, readers)}
    used = [_card(sft), _card(rm)]
    for name in runs:
        settings = RUNS[name] | {"base": str(sft), "snapshot": data["reward"]}
        if name not in PAIR_RUNS:
            settings |= {"gold_snapshot": data["gold"], "reward_artifact": str(rm)}
            settings |= {"snapshot": data["judge"]} if settings["reward"] == "ngram" else {}
        kept = _program(plan, "dpo" if name in PAIR_RUNS else "grpo", name, **settings)
        used.append(_card(kept))
        told = {key: used[-1].get(key) for key in ("steps", "best_step", "stopped", "train_cpu_seconds")}
        watched = {} if name in PAIR_RUNS else _watched(plan.out / name)
        measured[name] = _measured(plan, kept, requests, readers) | told | watched
    bodies = {name: row.pop("texts") for name, row in measured.items()}
    for name, value in _equally_long(bodies, plan.seed).items():
        measured[name]["distinct_2_equal"] = value
    return {
        "seed": plan.seed,
        "smoke": plan.smoke,
        "requests": len(requests),
        "training_cpu_seconds": round(sum(card["train_cpu_seconds"] for card in used)),
        "cpu_seconds": round(sum(os.times()[:4]) - began),
        "policies": measured,
        "targets": {} if plan.smoke else _targets(measured),
    }


def table(result: dict[str, Any]) -> str:
    """The figures of one seed for people."""
    columns = ("excellence", "length_matched", *FIGURES, "points_back")
    cpu = f"{result['training_cpu_seconds']} CPU-seconds of training, {result['cpu_seconds']} in all"
    lines = [f"seed {result['seed']}, {result['requests']} held-out requests, {cpu}"]
    lines.append(f"{'policy':14s}" + "".join(f"{name:>18s}" for name in columns) + "   steps  kept")
    for name, row in result["policies"].items():
        figures = "".join(f"{row[column]:18.3f}" for column in columns)
        lines.append(f"{name:14s}{figures}   {row.get('steps', '-')!s:>5s}  {row.get('best_step', '-')!s:>4s}")
        lines += [f"  warned: {said}" for said in row.get("warned", [])]
        if row.get("stopped"):
            lines.append(f"  stopped: {row['stopped']}")
    lines += [f"{'reached' if ok else 'MISSED '}  {target}" for target, ok in result["targets"].items()]
    return "\n".join(lines)


def _targets(measured: dict[str, Row]) -> dict[str, bool]:
    before, found = measured["before"], {}
    if "judge" in measured:
        judge = measured["judge"]
        found = {
            "judge: length-matched excellence >= .90": judge["length_matched"] >= 0.90,
            f"judge: mean length <= {GOOD_LENGTH}": judge["length"] <= GOOD_LENGTH,
            "judge: self-BLEU-4 no worse than before": judge["self_bleu_4"] <= before["self_bleu_4"],
            "judge: distinct-2 no worse than before": judge["distinct_2"] >= before["distinct_2"],
            "judge: distinct-2 of equal text no worse than before": judge["distinct_2_equal"]
            >= before["distinct_2_equal"],
            "judge: fit above before": judge["fit"] > before["fit"],
            "judge: the monitor neither stops it nor warns": not judge["stopped"] and not judge["warned"],
        }
    if "rm_collapse" in measured:
        collapse = measured["rm_collapse"]
        found |= {
            "rm, lr 3e-4, no KL: the monitor stops it": bool(collapse["stopped"]),
            "rm, lr 3e-4, no KL: before distinct-2 halves": collapse["distinct_2_at_stop"] > 0.5,
        }
    return found


def _equally_long(bodies: dict[str, list[str]], seed: int) -> dict[str, float]:
    """distinct-2 of equally many characters of each policy, mean of 5 draws: more text alone lowers it."""
    size = min(sum(map(count_characters, texts)) for texts in bodies.values())
    found: dict[str, list[float]] = defaultdict(list)
    for draw in range(5):
        for name, texts in bodies.items():
            mixed = random.Random(seed + draw).sample(texts, len(texts))
            ends = accumulate(map(count_characters, mixed))
            found[name].append(distinct_n([text for text, end in zip(mixed, ends, strict=True) if end <= size], 2))
    return {name: fmean(values) for name, values in found.items()}


def _card(artifact: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact / "artifact.json").read_text("utf-8"))["metrics"]
    return found


def _watched(folder: Path) -> Row:
    """What the monitor found, and distinct-2 (of all text) of its last reading over that of the first."""
    readings = json.loads((folder / "monitor.json").read_text("utf-8"))["readings"]
    name = "held_out/distinct_2"
    found = [f"step {one['step']}: {', '.join(one['findings'])}" for one in readings if one["findings"]]
    return {"distinct_2_at_stop": readings[-1][name] / readings[0][name], "warned": found}


def _measured(plan: Plan, policy: Path, requests: list[str], readers: Readers) -> Row:
    from transformers import AutoModelForCausalLM

    from backend.training.programs.callbacks import generate_greetings
    from backend.training.programs.models import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(policy, dtype="float32")
    texts = generate_greetings(model, load_tokenizer(str(policy)), requests, 16 if plan.smoke else 128, plan.seed)
    figures = build_profile(requests, texts)
    return {
        "excellence": readers.gold.read_greetings(requests, texts).excellence,
        "length_matched": readers.length_matched.read_greetings(requests, texts).excellence,
        "points_back": mean_scored(readers.request_fit.rate_greetings(requests, texts)),
        **asdict(figures),
        "texts": texts,
        "examples": [f"{request} → {text}" for request, text in list(zip(requests, texts, strict=True))[:8]],
    }


def _program(plan: Plan, kind: str, name: str, **settings: Any) -> Path:
    """Run a program of backend.training, or go on with it; the folder of its artifact."""
    out = plan.out / name
    if (out / "artifact" / "artifact.json").is_file():
        return out / "artifact"
    config = plan.out / f"{name}.json"
    values = settings | {"seed": plan.seed} | (TINY[kind] if plan.smoke else {})
    config.write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    preset = "starter" if kind == "dpo" else "starter_cpu"
    command = [sys.executable, "-m", f"backend.training.programs.{kind}", "--preset", preset, "--resume"]
    environment = os.environ | {"ZHUFU_HOME": str(plan.out / "home")}
    print(f"{kind} → {out}", flush=True)
    with (plan.out / f"{name}.log").open("a", encoding="utf-8") as log:
        done = subprocess.run(
            [*command, "--out", str(out), "--config", str(config)],
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        sys.exit(f"{name} failed with code {done.returncode}: see {plan.out / name}.log")
    return out / "artifact"


def _snapshots(plan: Plan, pairs: Sequence[Row]) -> dict[str, str]:
    """Names of the bodies of data, in the form that the programs read. Of test requests only gold knows."""
    known = [row for row in pairs if row["split"] != Split.TEST]
    mediocre = []
    for row in known:
        taken = [row["rejected"]] + ([row["chosen"]] if assign_bucket(row["prompt"], 3, hash_salt="third") else [])
        mediocre += [{"split": row["split"], "prompt": row["prompt"], "completion": text} for text in taken]
    prompts = [{"split": row["split"], "prompt": row["prompt"]} for row in known]
    mine = [row for row in known if find_request_half(row["prompt"]) == REWARD]
    learnt = {"sft": [_good(row) for row in mine], "prompts": prompts}
    split = {row["prompt"]: row["split"] for row in mine}
    matched = [asdict(one) | {"split": split[one.prompt]} for one in _matched(_labels(mine))]
    gold = [row for row in pairs if find_request_half(row["prompt"]) == GOLD]
    return {
        "policy": _write(plan, {"sft": mediocre, "prompts": prompts}),
        "reward": _write(plan, learnt | {"pairs": mine}),
        "judge": _write(plan, learnt | {"labels": matched}),
        "gold": _write(plan, {"pairs": gold}),
    }


def _good(row: Row) -> Row:
    return {"split": row["split"], "prompt": row["prompt"], "completion": row["chosen"]}


def _write(plan: Plan, rows: dict[str, list[Row]]) -> str:
    texts = {
        name: "".join(
            sorted({json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows.get(name, [])})
        )
        for name in ("sft", "pairs", "labels", "prompts")
    }
    name = digest(*texts.values())
    folder = plan.out / "home" / "snapshots" / name[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / f"{file}.jsonl").write_text(text, "utf-8")
    files = {file: {"sha256": digest(text), "rows": {"all": text.count("\n")}} for file, text in texts.items()}
    manifest = {"revision": 1, "hash": name, "options": {}, "dropped": {}, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return name


def _readers(pairs: Sequence[Row]) -> Readers:
    mine = [row for row in pairs if find_request_half(row["prompt"]) == GOLD]
    labels = _labels(mine)
    return Readers(
        gold=GoldJudge(fit_ngram(TrainingPool(labels=labels))),
        length_matched=GoldJudge(fit_ngram(TrainingPool(labels=_matched(labels)))),
        request_fit=learn_request_fit((row["prompt"], row["chosen"]) for row in mine if row["split"] != Split.TEST),
    )


def _labels(pairs: Iterable[Row]) -> list[TrainingLabel]:
    return [TrainingLabel(row["prompt"], row[side], side == "chosen") for row in pairs for side in SIDES]


def _matched(labels: Iterable[TrainingLabel]) -> list[TrainingLabel]:
    """As many good as bad ones in every bin of lengths, so that length says nothing."""
    bins: dict[int, dict[bool, list[TrainingLabel]]] = defaultdict(lambda: {True: [], False: []})
    for label in sorted(set(labels), key=lambda one: digest(one.prompt, one.greeting)):
        bins[count_characters(label.greeting) // BIN][label.good].append(label)
    kept: list[TrainingLabel] = []
    for sides in bins.values():
        size = min(map(len, sides.values()))
        kept += sides[True][:size] + sides[False][:size]
    return kept


def _requests(plan: Plan, pairs: Sequence[Row]) -> list[str]:
    known = sorted({row["prompt"] for row in pairs if row["split"] == Split.TEST})
    return random.Random(plan.seed).sample(known, min(plan.held_out, len(known)))


def _pairs(data: Path) -> list[Row]:
    """Every pair with its split by request, repeats left out."""
    path = data / "reward_data_train.json"
    if not path.is_file():
        sys.exit(f"{path} is missing; give the folder of the research data with --data.")
    found = {}
    for row in json.loads(path.read_text("utf-8")):
        prompt, chosen, rejected = (
            row["conversations"][0]["value"],
            row["chosen"]["value"],
            row["rejected"]["value"],
        )
        place = assign_bucket(prompt, 10, hash_salt="mini")
        split = Split.TEST if place == 0 else Split.VALIDATION if place == 1 else Split.TRAIN
        key = (strip_white_space(prompt), strip_white_space(chosen), strip_white_space(rejected))
        found[key] = {
            "split": split,
            "prompt": prompt.strip(),
            "chosen": chosen.strip(),
            "rejected": rejected.strip(),
        }
    return list(found.values())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=PROJECT_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=PROJECT_ROOT / "var" / "mini_experiment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), help="default: all; smoke: two")
    parser.add_argument("--smoke", action="store_true", help="tiny data and few steps: does everything work?")
    return parser.parse_args()


if __name__ == "__main__":
    main()
