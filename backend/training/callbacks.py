"""What happens during training: stop when asked, say how it goes, answer fixed requests."""

import re
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backend.jobs.report import JobReport

RENAMED = {"learning_rate": "lr", "eval_mean_token_accuracy": "eval_token_accuracy"}
SILENT = re.compile(r"total_flos|num_input_tokens_seen|(train|eval)_(runtime|\w+_per_second)")


class StopWhenAsked(TrainerCallback):
    """After the step in which the wish to stop arrives: save a checkpoint and end."""

    def __init__(self, report: JobReport) -> None:
        self._report = report

    def on_step_end(
        self, _args: TrainingArguments, _state: TrainerState, control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Called by the trainer after each optimizer step."""
        if self._report.stop_requested():
            control.should_save = True
            control.should_training_stop = True


class Progress(TrainerCallback):
    """Every log entry of the trainer as a metric and a line; progress with the time that is left."""

    def __init__(self, report: JobReport, device: str) -> None:
        self._report, self._device = report, device
        self._began = self._marked = time.monotonic()
        self._first = self._tokens = 0

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """The clock starts, at the step the run goes on from."""
        self._began = self._marked = time.monotonic()
        self._first, self._tokens = state.global_step, state.num_input_tokens_seen

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs: Any
    ) -> None:
        """Share done and a guess of the rest."""
        step, total = state.global_step, state.max_steps
        each = (time.monotonic() - self._began) / max(step - self._first, 1)
        self._report.progress(step / max(total, 1), f"{step} / {total}, {_span((total - step) * each)} left")

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Numbers only: TRL logs None for what it could not compute."""
        if not state.is_world_process_zero:
            return
        values = {
            RENAMED.get(name, name): value
            for name, value in (logs or {}).items()
            if not SILENT.fullmatch(name)
        }
        if "loss" in values:
            values |= self._speed(int(values.get("num_tokens") or state.num_input_tokens_seen))
        self._report.metric(state.global_step, **values)
        shown = " ".join(f"{name} {_short(value)}" for name, value in values.items())
        print(f"step {state.global_step}/{state.max_steps} {shown}", flush=True)

    def _speed(self, tokens: int) -> dict[str, float]:
        moment = time.monotonic()
        speed: dict[str, float] = {}
        if tokens > self._tokens:
            speed["tokens_per_second"] = (tokens - self._tokens) / max(moment - self._marked, 1e-9)
        self._marked, self._tokens = moment, tokens
        if self._device == "cuda":
            speed["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        return speed


class Samples(TrainerCallback):
    """What the model writes for the same requests, at the start, every so many steps and at the end."""

    def __init__(
        self, report: JobReport, tokenizer: Any, prompts: Sequence[str], every: int, tokens: int, seed: int
    ) -> None:
        self._report, self._tokenizer, self._prompts = report, tokenizer, list(prompts)
        self._every, self._tokens, self._seed = every, tokens, seed

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        model: Any = None,
        **_kwargs: Any,
    ) -> None:
        """Called by the trainer after each optimizer step."""
        due = state.global_step % self._every == 0 or state.global_step >= state.max_steps
        if due and self._prompts and args.world_size == 1:
            texts = generate(model, self._tokenizer, self._prompts, self._tokens, self._seed)
            for prompt, text in zip(self._prompts, texts, strict=True):
                self._report.sample(state.global_step, prompt, text)


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    tokens: int,
    seed: int,
    *,
    temperature: float = 0.8,
    top_p: float = 0.95,
    no_repeat_ngram_size: int = 0,
    repetition_penalty: float = 1.0,
) -> list[str]:
    """One sampled greeting for each request; leaves the random state and the mode of the model alone.

    Drawn as in training unless told otherwise: a guard against repetition would hide from the monitor what
    the policy has become.
    """
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in turns]
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(model.device)
    tokenizer.padding_side = side
    training, _ = model.training, model.eval()
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=tokens,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            no_repeat_ngram_size=no_repeat_ngram_size,
            repetition_penalty=repetition_penalty,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            use_cache=True,
        )
    model.train(training)
    written = out[:, batch["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
