"""What happens during training: stop when asked, report how it goes, answer fixed requests."""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from backend.generation.thoughts import remove_thoughts
from backend.jobs.report import JobReport
from backend.training.messages import training_step
from backend.training.programs.chat_format import end_token_ids, find_answer_opening, render_request
from backend.training.programs.rewards import Reward
from backend.training.programs.sharding import input_device, is_sharded, readable_model

METRIC_NAMES = {
    "learning_rate": "lr",
    "eval_mean_token_accuracy": "eval_token_accuracy",
    # DPO's implicit rewards bear the names of a reward model's, and share its curves.
    "rewards/accuracies": "accuracy",
    "eval_rewards/accuracies": "eval_accuracy",
    "rewards/margins": "margin",
    "eval_rewards/margins": "eval_margin",
}
IGNORED_METRICS = re.compile(r"total_flos|num_input_tokens_seen|(train|eval)_(runtime|\w+_per_second)")


# From the tokens that the trainer has seen (requests included, padding not, over all processes) to those that count.
TokenCounter = Callable[[int], int]


class ProgressReporter(TrainerCallback):
    """Every log entry of the trainer as a metric and a line; progress with the time that is left.

    `tokens_per_second` is tokens of greetings in a second of wall clock, over all processes: those that SFT learns
    (the end of a turn included) or GRPO writes. Requests and padding do not count. Where both texts of a pair are
    read whole (reward model), all tokens but padding count.
    """

    def __init__(self, report: JobReport, device: str, count_tokens: TokenCounter | None = None) -> None:
        self._report, self._device = report, device
        self._count_tokens = count_tokens or (lambda tokens_seen: tokens_seen)
        self._started_at = self._last_logged_at = time.monotonic()
        self._first_step = self._token_count = 0

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """The clock starts, at the step the run goes on from."""
        self._started_at = self._last_logged_at = time.monotonic()
        self._first_step = state.global_step
        self._token_count = self._count_tokens(int(state.num_input_tokens_seen))

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Share done and a guess of the rest."""
        current_step, total_steps = state.global_step, state.max_steps
        seconds_per_step = (time.monotonic() - self._started_at) / max(current_step - self._first_step, 1)
        self._report.progress(
            current_step / max(total_steps, 1),
            training_step(current_step, total_steps, (total_steps - current_step) * seconds_per_step),
        )

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Numbers only: TRL logs None for what it could not compute."""
        # Every process of a training logs the same figures.
        if not state.is_world_process_zero:
            return
        metric_values = {
            METRIC_NAMES.get(metric_name, metric_name): metric_value
            for metric_name, metric_value in (logs or {}).items()
            if not IGNORED_METRICS.fullmatch(metric_name)
        }
        # Entries of an evaluation have no such loss, and nothing was trained in their time.
        if "loss" in metric_values:
            metric_values |= self._measure_speed(
                self._count_tokens(int(metric_values.get("num_tokens") or state.num_input_tokens_seen))
            )
        self._report.metric(state.global_step, **metric_values)
        metrics_text = " ".join(
            f"{metric_name} {_format_number(metric_value)}" for metric_name, metric_value in metric_values.items()
        )
        print(f"step {state.global_step}/{state.max_steps} {metrics_text}", flush=True)

    def _measure_speed(self, token_count: int) -> dict[str, float]:
        current_time = time.monotonic()
        speed_metrics: dict[str, float] = {}
        if token_count > self._token_count:
            speed_metrics["tokens_per_second"] = (token_count - self._token_count) / max(
                current_time - self._last_logged_at, 1e-9
            )
        self._last_logged_at, self._token_count = current_time, token_count
        if self._device == "cuda":
            speed_metrics["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        return speed_metrics


class SampleReporter(TrainerCallback):
    """What the model writes for the same requests, at the start, every so many steps and at the end."""

    def __init__(
        self,
        report: JobReport,
        tokenizer: Any,
        prompts: Sequence[str],
        step_interval: int,
        max_new_tokens: int,
        seed: int,
        trainer: Trainer,
    ) -> None:
        self._report, self._tokenizer, self._prompts = report, tokenizer, list(prompts)
        self._step_interval, self._max_new_tokens, self._seed = step_interval, max_new_tokens, seed
        self._trainer = trainer

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Called by the trainer after each optimizer step."""
        is_due = state.global_step % self._step_interval == 0 or state.global_step >= state.max_steps
        if not is_due or not self._prompts:
            return
        greetings = None
        # A whole model the first process reads alone; the others wait for it at their next step.
        if state.is_world_process_zero or is_sharded(self._trainer):
            with readable_model(self._trainer) as model:
                greetings = generate_greetings(model, self._tokenizer, self._prompts, self._max_new_tokens, self._seed)
        if greetings and state.is_world_process_zero:
            for prompt, greeting_text in zip(self._prompts, greetings, strict=True):
                self._report.sample(state.global_step, prompt, greeting_text)


@torch.no_grad()
def generate_greetings(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    seed: int,
    *,
    temperature: float = 0.8,
    top_p: float = 0.95,
    no_repeat_ngram_size: int = 0,
    repetition_penalty: float = 1.0,
) -> list[str]:
    """One sampled greeting for each request, without thoughts; empty where a thought did not end in time.

    Leaves the random state and the mode of the model alone. By default drawn as in training: a guard against
    repetition would hide from the monitor what the policy has become.
    """
    prompt_texts = [render_request(tokenizer, prompt) for prompt in prompts]
    # Generation goes on at the right end; set back, since the tokenizer is the trainer's own.
    previous_side, tokenizer.padding_side = tokenizer.padding_side, "left"
    device = input_device(model)
    encoded_batch = tokenizer(prompt_texts, padding=True, add_special_tokens=False, return_tensors="pt").to(device)
    tokenizer.padding_side = previous_side
    was_training, _ = model.training, model.eval()
    # Sampling must not shift the random state of training: a run with samples equals one without.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        output_tokens = model.generate(
            input_ids=encoded_batch["input_ids"],
            attention_mask=encoded_batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            no_repeat_ngram_size=no_repeat_ngram_size,
            repetition_penalty=repetition_penalty,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end_token_ids(model, tokenizer),
            use_cache=True,
        )
    model.train(was_training)
    written_tokens = output_tokens[:, encoded_batch["input_ids"].shape[1] :]
    answer_opening = find_answer_opening(tokenizer)
    return [
        (remove_thoughts(answer_opening + written_text) or "").strip()
        for written_text in tokenizer.batch_decode(written_tokens, skip_special_tokens=True)
    ]


def _format_number(metric_value: Any) -> str:
    return f"{metric_value:.4g}" if isinstance(metric_value, float) else str(metric_value)


class RewardMemory(TrainerCallback):
    """Keeps what a reward knows in every checkpoint. One file a process: each scores its own share of the batch."""

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
