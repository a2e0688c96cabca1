"""The trained starter that comes with the project: both models trained by their recipe, and what is shipped of them.

    python -m bench.ship_starter                                      a tenth of the training, compared with the card
    python -m bench.ship_starter --write [--out DIR] [--work DIR]     all of it, about ten CPU-minutes on one thread

Both trainings run as their programs do (`backend.training.programs`), in a home of their own without other data. The
files become float16 and the tokenizers lose their line breaks; `bench.starter` measures the policy as it is shipped.
Without `--write` nothing is written: it fails where settings or data are others than the card's, or where a tenth of
the training does not come as far as it should.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from safetensors.torch import load_file, save_file

from backend.core.settings import PROJECT_ROOT
from backend.jobs.service import compute_sha256
from backend.starter.bank import load_bank
from backend.training.shipped import (
    CARD_FILE,
    LARGEST_SIZE,
    MODEL_FOLDER,
    PART_PROGRAMS,
    SHIP_COMMAND,
    composed_data_hash,
    load_card,
    recipe_hash,
    recipe_settings,
)
from bench.starter import held_out_requests, measure_policy

# The files that a model needs; programs leave others beside them.
KEPT_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
CHECK_SHARE = 0.1
# A tenth of the training reached .785, .565 and .719 (docs/experiments.md); less what chance takes away.
CHECK_BAND = {"occasion": 0.60, "address": 0.45, "composed_accuracy": 0.65}
MEASURED_SEED, MEASURED_COUNT = 1, 200


def main() -> None:
    """Train, convert, measure, write; or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--work", type=Path, help="Folder of the trainings; kept, and gone on with.")
    parser.add_argument("--write", action="store_true", help="Train in full and replace what is shipped.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch_folder:
        work_folder = options.work or Path(scratch_folder)
        sys.exit(ship(work_folder, options.out) if options.write else check(work_folder))


def ship(work_folder: Path, target_folder: Path) -> int:
    """Make the model and write it to `target_folder`. The exit code."""
    trained_folders = train_both(work_folder, 1.0)
    draft_folder = work_folder / "model"
    shutil.rmtree(draft_folder, ignore_errors=True)
    for part, trained_folder in trained_folders.items():
        convert(trained_folder, draft_folder / part)
    metrics = read_metrics(trained_folders, draft_folder / "policy")
    write_card(draft_folder, metrics)
    size = sum(model_file.stat().st_size for model_file in draft_folder.rglob("*") if model_file.is_file())
    print(f"{size:,} bytes of at most {LARGEST_SIZE:,}; {json.dumps(metrics)}")
    if size >= LARGEST_SIZE:
        return 1
    shutil.rmtree(target_folder, ignore_errors=True)
    shutil.copytree(draft_folder, target_folder)
    return 0


def check(work_folder: Path) -> int:
    """Compare recipe, data and a tenth of the training with the card. The exit code."""
    card = load_card()
    faults = [] if card.recipe_hash == recipe_hash() else ["settings"]
    faults += [] if card.data_hash == composed_data_hash() else ["data"]
    trained_folders = train_both(work_folder, CHECK_SHARE)
    metrics = read_metrics(trained_folders, trained_folders["policy"])
    reached = {**metrics["policy"], **metrics["reward_model"]}
    for figure_name, least in CHECK_BAND.items():
        print(f"{figure_name}: {reached[figure_name]:.3f} (at least {least})")
        faults += [figure_name] if reached[figure_name] < least else []
    print(f"not as the card says: {', '.join(faults)}" if faults else "as the card says")
    return int(bool(faults))


def train_both(work_folder: Path, share: float) -> dict[str, Path]:
    """The folders of both trained models; `share` of the epochs."""
    policy_folder = run_program(work_folder, "policy", share, {})
    return {
        "policy": policy_folder,
        "reward_model": run_program(work_folder, "reward_model", share, {"base": str(policy_folder)}),
    }


def run_program(work_folder: Path, part: str, share: float, changes: Mapping[str, Any]) -> Path:
    """One training by its recipe, gone on with where it was cut off; the folder of the model."""
    output_folder = (work_folder / f"{part}-training").resolve()
    artifact_folder = output_folder / "artifact"
    if (artifact_folder / "artifact.json").is_file():
        return artifact_folder
    output_folder.mkdir(parents=True, exist_ok=True)
    settings = recipe_settings(part) | changes
    settings["epochs"] *= share
    (output_folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    program = f"backend.training.programs.{PART_PROGRAMS[part]}"
    options = ["--out", output_folder, "--preset", "starter", "--config", output_folder / "settings.json", "--resume"]
    environment = {**os.environ, "ZHUFU_HOME": str((work_folder / "home").resolve()), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", program, *map(str, options)], cwd=PROJECT_ROOT, env=environment, check=True)
    return artifact_folder


def convert(trained_folder: Path, target_folder: Path) -> None:
    """The model as it is shipped: weights in float16, JSON without line breaks."""
    target_folder.mkdir(parents=True)
    weights = {
        name: tensor.half().contiguous() for name, tensor in load_file(trained_folder / "model.safetensors").items()
    }
    save_file(weights, target_folder / "model.safetensors", metadata={"format": "pt"})
    for file_name in KEPT_FILES:
        source_file = trained_folder / file_name
        if source_file.suffix == ".json" and source_file.is_file():
            file_values = json.loads(source_file.read_text("utf-8"))
            file_values |= {"dtype": "float16"} if file_name == "config.json" else {}
            file_text = json.dumps(file_values, ensure_ascii=False, separators=(",", ":"))
            (target_folder / file_name).write_text(file_text + "\n", "utf-8")
        elif source_file.is_file():
            shutil.copyfile(source_file, target_folder / file_name)
    for target_file in target_folder.iterdir():
        # safetensors writes for its owner alone; what is shipped is everybody's.
        target_file.chmod(0o644)


def read_metrics(trained_folders: Mapping[str, Path], policy_folder: Path) -> dict[str, dict[str, Any]]:
    """What the programs measured of both, and what `bench.starter` measures of the policy in `policy_folder`."""
    metrics = {
        part: json.loads((folder / "artifact.json").read_text("utf-8"))["metrics"]
        for part, folder in trained_folders.items()
    }
    bank = load_bank()
    asked = held_out_requests(bank, MEASURED_COUNT, Random(f"bench {MEASURED_SEED}"))
    measured = measure_policy(bank, policy_folder, asked, MEASURED_SEED)
    metrics["policy"] |= {figure_name: round(figure, 4) for figure_name, figure in measured.items()}
    return metrics


def write_card(model_folder: Path, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """`card.json`, and a README beside each model, which is hashed with it."""
    data_hash = composed_data_hash()
    for part in PART_PROGRAMS:
        readme_text = format_readme(part, data_hash, metrics[part])
        (model_folder / part / "README.md").write_text(readme_text, "utf-8")
    card = {
        "command": SHIP_COMMAND,
        "recipe_hash": recipe_hash(),
        "data_hash": data_hash,
        "settings": {part: recipe_settings(part) for part in PART_PROGRAMS},
        "parts": {
            part: {"sha256": compute_sha256(model_folder / part), "metrics": metrics[part]} for part in PART_PROGRAMS
        },
    }
    (model_folder / CARD_FILE).write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", "utf-8")


def format_readme(part: str, data_hash: str, metrics: Mapping[str, Any]) -> str:
    """The model card of one part."""
    settings_text = json.dumps(recipe_settings(part), ensure_ascii=False)
    figure_lines = [f"| {figure_name} | {figure} |" for figure_name, figure in metrics.items()]
    return "\n".join(
        [
            f"# The starter that comes with Zhufu: {part.replace('_', ' ')}",
            "",
            f"Made by `{SHIP_COMMAND}` with `backend.training.programs.{PART_PROGRAMS[part]}`, from scratch,",
            f"on what the clauses of `data/starter` compose (SHA-256 `{data_hash}`) and nothing else.",
            "It is for Chinese greetings on usual occasions, in sentences of that corpus, and for nothing else.",
            "Weights in float16.",
            "",
            f"Settings: `{settings_text}`",
            "",
            "| figure | |",
            "|---|---|",
            *figure_lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
