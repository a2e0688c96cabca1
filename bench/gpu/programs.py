"""Programs that `bench.gpu_smoke` starts for what the real ones do not report.

timed ARGUMENTS…      the real GRPO, with the seconds of rollout, judge and update
bare FILE.json        GRPO as a person would write it with TRL alone, with the same settings and clocks
exhausted ARGUMENTS…  the real SFT, whose allocator refuses the first step (for machines without a card)
greedy ADAPTER REQUEST…  what an adapter over its base writes greedily
"""

import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

CLOCKED = {"_generate": "rollout", "_calculate_rewards": "judge", "training_step": "step", "_prepare_inputs": "prepare"}


class Clock:
    """Seconds by kind of work; on a GPU until its work is done."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(CLOCKED.values(), 0.0)

    def wrap(self, method: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """The method, with its time counted."""

        def clocked(*arguments: Any, **options: Any) -> Any:
            self._synchronize()
            began = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self._synchronize()
                self.seconds[kind] += time.perf_counter() - began

        return clocked

    def print_figures(self) -> None:
        """As one JSON object on the last line."""
        import torch

        peak_gb = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
        # A step prepares its inputs, of which a rollout and its rewards are part; the rest is the update.
        update = self.seconds["step"] - self.seconds["prepare"]
        figures = {"rollout_s": self.seconds["rollout"], "judge_s": self.seconds["judge"], "update_s": update}
        print("\n" + json.dumps({**figures, "peak_gb": peak_gb}), flush=True)

    def _synchronize(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def clock_trainer() -> Clock:
    """Clocks in TRL's own trainer, for our program and a bare one alike."""
    from trl import GRPOTrainer

    clock = Clock()
    for method_name, kind in CLOCKED.items():
        setattr(GRPOTrainer, method_name, clock.wrap(getattr(GRPOTrainer, method_name), kind))
    return clock


def run_timed(arguments: list[str]) -> None:
    """The real program under the clocks."""
    clock = clock_trainer()
    sys.argv = ["grpo", *arguments]
    try:
        runpy.run_module("backend.training.programs.grpo", run_name="__main__")
    finally:
        clock.print_figures()


def run_bare(settings_path: Path) -> None:
    """TRL alone: same model, requests, judge and sizes."""
    import torch
    from datasets import Dataset
    from openai import OpenAI
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    given = json.loads(settings_path.read_text("utf-8"))
    clock = clock_trainer()
    client = OpenAI(base_url=given["judge"], api_key="none", max_retries=2)

    def judge(completions: list[Any], **_columns: Any) -> list[float]:
        from concurrent.futures import ThreadPoolExecutor

        def ask(completion: Any) -> float:
            text = completion[0]["content"]
            reply = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": text}])
            return float("1" in str(reply.choices[0].message.content))

        with ThreadPoolExecutor(given["concurrency"]) as pool:
            return list(pool.map(ask, completions))

    on_gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(given["model"], padding_side="left")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.bfloat16 if on_gpu else torch.float32),
        reward_funcs=judge,
        args=GRPOConfig(**given["arguments"], bf16=on_gpu, use_cpu=not on_gpu, report_to="none", disable_tqdm=True),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": text}]} for text in given["requests"]]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=given["lora_rank"], target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    clock.print_figures()


def run_exhausted(arguments: list[str]) -> None:
    """The allocator's own error at the first step."""
    import torch
    from trl import SFTTrainer

    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 TiB.")

    sys.argv = ["sft", *arguments]
    with patch.object(SFTTrainer, "training_step", refuse):
        runpy.run_module("backend.training.programs.sft", run_name="__main__")


def run_greedy(adapter_folder: str, requests: list[str]) -> None:
    """Greedy texts of the adapter itself, not merged."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import PreTrainedTokenizerFast

    on_gpu = torch.cuda.is_available()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(adapter_folder)
    model = AutoPeftModelForCausalLM.from_pretrained(adapter_folder, dtype="auto" if on_gpu else torch.float32)
    model = model.to("cuda" if on_gpu else "cpu").eval()
    texts = []
    for request in requests:
        turns = [{"role": "user", "content": request}]
        ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        written = model.generate(**ids, max_new_tokens=24, do_sample=False)
        texts.append(tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    print("\n" + json.dumps(texts, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "timed":
        run_timed(rest)
    elif mode == "bare":
        run_bare(Path(rest[0]))
    elif mode == "exhausted":
        run_exhausted(rest)
    else:
        run_greedy(rest[0], rest[1:])
