"""`python -m backend.training.programs.grpo`: learning from rewards (GRPO), watched for collapse."""

import math
import random
from collections import Counter
from functools import partial
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from backend.core.enums import Split
from backend.core.folders import put_in_place
from backend.core.text import count_characters, strip_white_space
from backend.training.grpo_settings import GrpoSettings
from backend.training.messages import COLLAPSED, REQUESTS_CHOSEN
from backend.training.programs import models
from backend.training.programs.base_files import check_context_length
from backend.training.programs.callbacks import RewardMemory
from backend.training.programs.card import OutputKind
from backend.training.programs.chat_format import find_answer_opening, render_request
from backend.training.programs.collapse import CollapseMonitor
from backend.training.programs.environment import process_count, process_rank
from backend.training.programs.gold import build_gold_judge, reward_of
from backend.training.programs.monitor import CollapseWatch, HeldOutRequests
from backend.training.programs.program import TrainingRun, main
from backend.training.programs.prompt_template import apply_prompt_template
from backend.training.programs.resampling import ResamplingTrainer
from backend.training.programs.rewards import Reward
from backend.training.programs.sharding import loading_whole
from backend.training.programs.training_rows import REQUESTS, TOO_LONG, RowSelection
from backend.training.programs.vllm_rollouts import keep_base_exact, vllm_arguments

# What TRL leaves open `generate` takes from the model's own generation_config. A guard against repetition there would
# draw other tokens than the policy's, which the loss takes for the policy's own, and hide from rewards what it writes.
PLAIN_SAMPLING = {"no_repeat_ngram_size": 0}


def train(training_run: TrainingRun[GrpoSettings]) -> None:
    """Load policy and reward, train under the monitor, keep the best checkpoint."""
    settings, snapshot = training_run.settings, training_run.snapshot
    base_model = models.resolve_base(training_run, snapshot.rows("sft", Split.TRAIN), "completion")
    tokenizer = models.load_training_tokenizer(training_run, base_model)
    check_context_length(base_model, settings)
    # Generation goes on at the right end, so requests of a batch are padded on the left.
    tokenizer.padding_side = "left"
    apply_prompt_template(tokenizer, settings.prompt_template)
    requests = _load_requests(training_run, tokenizer)
    reward = reward_of(training_run)
    # Each process is asked about an equal share of the greetings.
    training_run.count_tokens = lambda _tokens_seen: process_count() * reward.token_count
    # Before the trainer: a reward that cannot be loaded must not cost the loading of a policy first.
    reward.prepare()
    arguments = _build_arguments(training_run, base_model)
    if arguments.use_vllm:
        # vLLM stops where the base's files say, which for a base that is no instruct model is not the end of a turn.
        arguments.generation_kwargs = {"stop_token_ids": [tokenizer.eos_token_id]}
    # TRL's own class wherever nothing of it is changed.
    trainer_class = (
        partial(ResamplingTrainer, resample_groups=settings.resample_groups)
        if settings.resample_groups
        else GRPOTrainer
    )
    trainer = trainer_class(
        model=models.load_policy(training_run, base_model, tokenizer),
        reward_funcs=reward,
        args=arguments,
        train_dataset=_build_dataset(requests, find_answer_opening(tokenizer)),
        processing_class=tokenizer,
        peft_config=models.build_lora_config(settings, "CAUSAL_LM"),
    )
    if trainer.use_vllm:
        keep_base_exact(trainer.model)
    # Only the trainer knows which of several GPUs is this process's.
    with loading_whole(trainer):
        reward.place(str(trainer.accelerator.device))
    training_run.stop_together()
    collapse_watch = _build_watch(training_run, trainer, reward, tokenizer)
    try:
        metrics = training_run.fit(trainer, [collapse_watch, RewardMemory(reward)])
    finally:
        reward.close()
    if process_rank() == 0:
        _finish_run(training_run, collapse_watch, metrics)


def _load_requests(training_run: TrainingRun[GrpoSettings], tokenizer: Any) -> list[str]:
    """The training requests that are short enough. Raises UserError for fewer than a rollout takes."""
    settings = training_run.settings
    unique_prompts = {
        strip_white_space(data_row["prompt"]): data_row["prompt"]
        for data_row in training_run.snapshot.rows("prompts", Split.TRAIN)
    }
    # Left out instead of cut: TRL no longer limits requests, and half a request asks for something else.
    short_requests = [
        prompt_text
        for prompt_text in unique_prompts.values()
        if len(tokenizer(render_request(tokenizer, prompt_text), add_special_tokens=False)["input_ids"])
        <= settings.prompt_tokens
    ]
    training_run.report.log(
        REQUESTS_CHOSEN.fill(chosen=len(short_requests), requests=len(unique_prompts), tokens=settings.prompt_tokens)
    )
    RowSelection(
        REQUESTS,
        Split.TRAIN,
        settings.prompt_tokens,
        len(unique_prompts),
        Counter({TOO_LONG: len(unique_prompts) - len(short_requests)}),
    ).require(settings.prompts)
    if len(short_requests) < settings.prompts:
        raise models.too_few_rows(training_run, len(short_requests), settings.prompts)
    return short_requests


def _build_dataset(requests: list[str], answer_opening: str) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": prompt_text}],
                "request": prompt_text,
                "opening": answer_opening,
            }
            for prompt_text in requests
        ]
    )


def _build_arguments(training_run: TrainingRun[GrpoSettings], base_model: str) -> GRPOConfig:
    settings, rollout_arguments = training_run.settings, vllm_arguments(training_run, base_model)
    return GRPOConfig(
        **training_run.arguments(),
        generation_batch_size=settings.rollout_size,
        num_generations=settings.generations,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        beta=settings.beta,
        loss_type=settings.loss_type,
        importance_sampling_level=settings.importance_sampling_level,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        scale_rewards=settings.scale_rewards,
        num_iterations=settings.num_iterations,
        mask_truncated_completions=settings.mask_truncated_completions,
        entropy_coef=settings.entropy_coef,
        # A rollout is written without dropout: with it, training would compare two different policies.
        disable_dropout=True,
        # The plain k3 of the publication; TRL would multiply it by the importance ratio.
        use_bias_correction_kl=False,
        # vLLM knows no such guard, and would refuse the name.
        generation_kwargs=None if rollout_arguments["use_vllm"] else PLAIN_SAMPLING,
        **rollout_arguments,
    )


def _build_watch(
    training_run: TrainingRun[GrpoSettings], trainer: GRPOTrainer, reward: Reward, tokenizer: Any
) -> CollapseWatch:
    settings = training_run.settings
    accepted_lengths = [
        count_characters(data_row["completion"]) for data_row in training_run.snapshot.rows("sft", Split.TRAIN)
    ]
    mean_length = sum(accepted_lengths) / len(accepted_lengths) if accepted_lengths else math.nan
    return CollapseWatch(
        monitor=CollapseMonitor(settings.monitor, mean_length),
        held_out=HeldOutRequests(_held_out_requests(training_run), tokenizer, settings.max_new_tokens, settings.seed),
        gold=build_gold_judge(training_run),
        reward=reward,
        report=training_run.report,
        folder=training_run.output_folder,
        reading_interval=settings.eval_every,
        sample_count=settings.samples,
        sample_every=settings.sample_every,
        trainer=trainer,
    )


def _held_out_requests(training_run: TrainingRun[GrpoSettings]) -> list[str]:
    """Fixed requests that no training row has; the same ones for the same data and seed."""
    _, held_out_rows = training_run.snapshot.held_out("prompts")
    unique_prompts = sorted(
        {strip_white_space(data_row["prompt"]): data_row["prompt"] for data_row in held_out_rows}.values()
    )
    if len(unique_prompts) < 2:
        raise models.too_few_rows(training_run, len(unique_prompts), 2)
    # From sorted requests with a seed of its own: readings of two runs on the same data can be compared.
    return random.Random(training_run.settings.seed).sample(
        unique_prompts, min(training_run.settings.eval_prompts, len(unique_prompts))
    )


def _finish_run(
    training_run: TrainingRun[GrpoSettings], collapse_watch: CollapseWatch, metrics: dict[str, Any]
) -> None:
    # An attempt that was broken off between saving and finishing has moved it already.
    if collapse_watch.best_folder.is_dir():
        put_in_place(collapse_watch.best_folder, training_run.artifact_folder)
    metrics |= collapse_watch.summary()
    training_run.finish(OutputKind.POLICY, metrics)
    if stop_reason := collapse_watch.stop_reason:
        training_run.report.progress(1.0, COLLAPSED.fill(reason_en=stop_reason.en, reason_zh=stop_reason.zh))


if __name__ == "__main__":
    main("grpo", train)
