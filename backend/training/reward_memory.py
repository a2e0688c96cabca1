"""What a reward remembers, kept with every checkpoint, so that a resumed run goes on as if never stopped."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from backend.training.rewards import Reward


class RewardMemory(TrainerCallback):
    """One file a process: each scores its own share of the batch."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def on_save(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Called by the trainer once its own files are written."""
        known = self._reward.state()
        if known is not None:
            path = _file(args, state)
            path.parent.mkdir(parents=True, exist_ok=True)
            # A training may be killed here; half a file would keep it from going on.
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
            draft.replace(path)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """What was known at the checkpoint that training goes on from."""
        path = _file(args, state)
        if state.global_step and path.is_file():
            self._reward.restore(json.loads(path.read_text("utf-8")))


def _file(args: TrainingArguments, state: TrainerState) -> Path:
    folder = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
    return Path(str(args.output_dir)) / folder / f"reward-{args.process_index}.json"
