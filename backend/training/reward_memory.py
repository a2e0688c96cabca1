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

    def on_save(self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any) -> None:
        """Called by the trainer once its own files are written."""
        saved_state = self._reward.state()
        if saved_state is not None:
            memory_path = _memory_path(args, state)
            memory_path.parent.mkdir(parents=True, exist_ok=True)
            # A training may be killed here; half a file would keep it from going on.
            draft_path = memory_path.with_suffix(".new")
            draft_path.write_text(json.dumps(saved_state, ensure_ascii=False), "utf-8")
            draft_path.replace(memory_path)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """What was known at the checkpoint that training goes on from."""
        memory_path = _memory_path(args, state)
        if state.global_step and memory_path.is_file():
            self._reward.restore(json.loads(memory_path.read_text("utf-8")))


def _memory_path(args: TrainingArguments, state: TrainerState) -> Path:
    checkpoint_name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
    return Path(str(args.output_dir)) / checkpoint_name / f"reward-{args.process_index}.json"
