"""What is known of checkpoints, in a process of its own: `python -m tests.checkpoint_probe CHECKPOINT FOLDER`."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from transformers import TrainerControl, TrainerState

from backend.jobs.report import JobReport
from backend.training.programs import checkpoints
from backend.training.programs.checkpoints import CheckpointKeeper, find_checkpoints, mark_path, mean_loss, remove_torn


def tear(checkpoint: Path, folder: Path) -> dict[str, bool]:
    """For each file of a checkpoint: whether one without it, and one with half of it, is taken for whole."""
    found = {"whole": find_checkpoints(checkpoint.parent).last == checkpoint}
    for file in sorted(path.relative_to(checkpoint) for path in checkpoint.iterdir() if path.is_file()):
        for way in ("without", "half"):
            copy = Path(shutil.copytree(checkpoint, folder / way / str(file) / checkpoint.name))
            kept = (copy / file).read_bytes()[: (copy / file).stat().st_size // 2]
            (copy / file).unlink()
            if way == "half":
                (copy / file).write_bytes(kept)
            found[f"{way} {file}"] = find_checkpoints(copy.parent).last is not None
    return found


def choose(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Of four checkpoints the two newest torn, one of them by its mark alone."""
    for step in (2, 9, 10, 11):
        shutil.copytree(checkpoint, folder / f"checkpoint-{step}")
    (folder / "checkpoint-11" / "trainer_state.json").unlink()
    mark_path(folder / "checkpoint-10").touch()
    mark_path(folder / "checkpoint-12").touch()
    (folder / "checkpoint-notes").mkdir()
    removed, last = remove_torn(folder), find_checkpoints(folder).last
    return {"removed": removed, "last": last.name if last else None, "left": sorted(p.name for p in folder.iterdir())}


def save_steps(folder: Path, total: int, seconds_a_step: float, *, is_automatic: bool = True) -> list[int]:
    """At which steps a training of so many would save that takes so long for each."""
    now, saved = [0.0], []
    args = SimpleNamespace(world_size=1)
    state = TrainerState(max_steps=total, is_world_process_zero=True)
    with patch.object(checkpoints.time, "monotonic", lambda: now[0]):
        keeper = CheckpointKeeper(JobReport(None, None), folder, is_automatic)
        keeper.on_train_begin(args, state, TrainerControl())  # type: ignore[arg-type]
        for step in range(1, total + 1):
            now[0] += seconds_a_step
            state.global_step, control = step, TrainerControl()
            keeper.on_step_end(args, state, control)  # type: ignore[arg-type]
            if control.should_save:
                saved.append(step)
                keeper.on_save(args, state, control)  # type: ignore[arg-type]
    return saved


def main(checkpoint: Path, folder: Path) -> None:
    """All of it as JSON."""
    log = [{"step": step, "loss": float(step)} for step in (2, 4, 6)]
    found = {
        "torn": tear(checkpoint, folder / "torn"),
        "chosen": choose(checkpoint, folder / "chosen"),
        "quick": save_steps(folder / "quick", 125, 1),
        "slow": save_steps(folder / "slow", 200, 190),
        "short": save_steps(folder / "short", 3, 1),
        "explicit": save_steps(folder / "explicit", 200, 190, is_automatic=False),
        "loss": mean_loss(TrainerState(global_step=6, log_history=log), 4, 6.0),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
