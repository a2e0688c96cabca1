"""Settings of GRPO (learning from rewards) and of its collapse monitor. No torch here.

Words: a rollout is `prompts` requests with `generations` greetings each; an update (one optimizer step)
takes `batch_size` × `accumulation` × `processes` of these greetings, so a rollout may feed several updates.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.generation.serving import LATEST
from backend.training.settings import TrainingSettings

# Where the request stands in `prompt_template`.
REQUEST_PLACE = "{request}"
# Losses that sum over tokens, which weighs a greeting's own ratio by its length.
TOKEN_SUM_LOSSES = ("bnpo", "dr_grpo", "dapo", "cispo")
# Warn beyond the first, stop beyond the second.
WarnStopLimits = tuple[float, float]


class CollapseRules(BaseModel):
    """When a run has gone astray. "Start" is the policy before the first step, on the same requests.

    The reference length is that of accepted greetings, or the start's where it is on the far side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: Literal["stop", "warn", "off"] = "stop"
    patience: int = Field(2, ge=1, description="Readings in a row beyond a stop limit; two limits at once are enough.")
    longer: WarnStopLimits = Field((1.5, 2.0), description="Mean length over the reference length.")
    shorter: WarnStopLimits = Field((0.6, 0.4), description="Mean length over the reference length.")
    # On equal amounts of text: distinct-2 falls as texts grow longer, so honest growth would look like a
    # collapse.
    distinct_2: WarnStopLimits = Field(
        (0.85, 0.7), description="distinct-2 of as many characters as the start wrote, over the start's."
    )
    self_bleu_4: WarnStopLimits = Field((0.25, 0.4), description="Share of the way from the start's self-BLEU-4 to 1.")
    repetition: WarnStopLimits = Field((0.1, 0.25), description="Mean repetition above the start's.")
    fit: WarnStopLimits = Field((0.85, 0.7), description="Fit to the request over the start's.")
    kl: WarnStopLimits = Field((2.0, 10.0), description="KL to the start (k3, nats a token); known where beta > 0.")
    zero_variance: WarnStopLimits = Field(
        (0.9, 0.98), description="Share of rollout groups whose rewards are all equal."
    )
    gold_drop: WarnStopLimits = Field(
        (0.5, 1.0), description="Fall of gold from its best, in the start's spread, while the reward rose."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for figure_name in FALLING_FIGURES + RISING_FIGURES:
            warn_limit, stop_limit = getattr(self, figure_name)
            if (warn_limit < stop_limit) == (figure_name in FALLING_FIGURES) and warn_limit != stop_limit:
                raise ValueError(f"{figure_name}: the stop limit must lie beyond the warn limit")
        return self


FALLING_FIGURES = ("shorter", "distinct_2", "fit")
RISING_FIGURES = ("longer", "self_bleu_4", "repetition", "kl", "zero_variance", "gold_drop")


class GrpoSettings(TrainingSettings):
    """Group relative policy optimisation by a reward model, a judge, or a mix with terms of form."""

    program = "grpo"

    base: str = Field(LATEST, min_length=1, description="The policy to improve, normally one from SFT.")
    prompts: int = Field(8, ge=1, le=4096, description="Requests of one rollout.")
    generations: int = Field(8, ge=2, le=256, description="Greetings sampled for each request (the group).")
    max_new_tokens: int = Field(
        96, ge=4, le=8192, description="Tokens of a greeting; max_length minus it is the request's."
    )
    temperature: float = Field(1.0, gt=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    # TRL's own default is 0, under which nothing holds the policy near its start.
    beta: float = Field(0.03, ge=0, le=10, description="Weight of the KL to the start (k3); 0 needs no second model.")
    top_k: int = Field(0, ge=0, description="Sample from so many likeliest tokens only; 0: from all.")
    prompt_template: str = Field(
        "",
        max_length=2000,
        description="What stands around every request, {request} in its place; stored in the model's chat template.",
    )
    # TRL would take dapo.
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = Field(
        "grpo",
        description="grpo: mean over a greeting, then over greetings; bnpo, dapo: over the tokens of a batch, of a "
        "step; dr_grpo: sum over max_new_tokens; cispo: clipped weights; sapo: soft clipping; luspo, vespo: by "
        "greeting.",
    )
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token", description="Ratio of new to old policy by token (GRPO) or by greeting (GSPO)."
    )
    epsilon: float = Field(0.2, gt=0, le=1, description="How far the ratio may fall below 1 before it is clipped.")
    epsilon_high: float = Field(
        0.2, gt=0, le=100, description="How far it may rise above 1 (DAPO: 0.28); of cispo the largest weight (5)."
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="Divide rewards by the spread of their group (GRPO), of the batch, or not (Dr. GRPO)."
    )
    num_iterations: int = Field(1, ge=1, le=100, description="Passes over a rollout before the next one is written.")
    mask_truncated_completions: bool = Field(
        False, description="Learn nothing from greetings that were cut off at max_new_tokens (DAPO)."
    )
    entropy_coef: float = Field(0.0, ge=0, le=1, description="Weight of the entropy bonus, against too little variety.")
    resample_groups: int = Field(
        0,
        ge=0,
        le=10,
        description="Tries to replace groups whose rewards are all equal by other requests (DAPO); 0: they stay.",
    )
    vllm: Literal["auto", "off", "colocate", "server"] = Field(
        "auto", description="Rollouts by vLLM; auto: colocate where it is installed and fits beside the training."
    )
    vllm_memory: float = Field(0.3, gt=0, lt=1, description="Share of the GPU for vLLM when colocated.")
    vllm_server: str = Field(
        "http://127.0.0.1:8000",
        pattern=r"^https?://[^\s/]",
        description="Address of the server of `vllm serve`.",
    )
    vllm_sleep: bool = Field(
        False, description="A colocated vLLM frees its memory while the policy learns; waking takes seconds a step."
    )

    reward: Literal["reward_model", "principle", "rubric", "panel", "ranking", "ngram"] = "reward_model"
    reward_artifact: str = Field(LATEST, min_length=1, description="Reward model: artifact:N, folder, or latest.")
    judge: dict[str, Any] = Field({}, description="Settings of the LLM judge, as its page has them.")
    endpoint: str | None = Field(None, description="Endpoint of the LLM judge; default: the house's.")
    max_calls: int | None = Field(
        None, ge=1, description="Most calls to the judge's endpoint, by all processes and attempts."
    )
    binary: bool = Field(False, description="1 or 0 by the scale's threshold instead of the score.")
    unscored_rollouts: int = Field(
        5, ge=1, le=1000, description="Rollouts in a row without a single score that end the run."
    )
    reward_weight: float = Field(1.0, ge=0, le=1000)
    length_weight: float = Field(0.0, ge=0, le=1000)
    length_low: int = Field(20, ge=0, description="Below, the length term falls from 1 to 0 at half of it.")
    length_high: int = Field(80, ge=1, description="Above, the length term falls from 1 to 0 at one and a half of it.")
    repetition_weight: float = Field(0.0, ge=0, le=1000)
    diversity_weight: float = Field(
        0.0, ge=0, le=1000, description="How rare 4-grams are in greetings for other requests (0 to 1)."
    )
    format_weight: float = Field(0.0, ge=0, le=1000)
    fit_weight: float = Field(
        0.0, ge=0, le=1000, description="Fit to the request, learnt from the accepted greetings (0 to 1)."
    )

    gold: Literal["ngram", "off"] = Field(
        "ngram", description="Judge of held-out greetings that the reward never uses."
    )
    gold_snapshot: str | None = Field(None, description="Snapshot the gold judge is fitted on; default: the same.")
    eval_every: int = Field(4, ge=1, description="Steps between two readings of the monitor.")
    eval_prompts: int = Field(64, ge=2, le=4096, description="Fixed held-out requests that it reads.")
    monitor: CollapseRules = CollapseRules()

    @property
    def rollout_size(self) -> int:
        """Greetings of one rollout (TRL's generation_batch_size)."""
        return self.prompts * self.generations

    @property
    def update_size(self) -> int:
        """Greetings of one optimizer step, over all processes."""
        return self.batch_size * self.accumulation * self.processes

    @property
    def prompt_tokens(self) -> int:
        """Longest request in tokens."""
        return self.max_length - self.max_new_tokens

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        # TRL cuts a rollout into whole updates and refuses it otherwise, minutes later and in words of its
        # own.
        if self.rollout_size % self.update_size:
            raise ValueError(
                f"a rollout of prompts × generations = {self.rollout_size} greetings must be a multiple of "
                f"the update of batch_size × accumulation × processes = {self.update_size}"
            )
        if self.reward == "ranking":
            self._check_ranking()
        if self.prompt_tokens < 4:
            raise ValueError(f"max_length = {self.max_length} leaves no room for the request; raise it")
        if self.length_low > self.length_high:
            raise ValueError("length_low must not exceed length_high")
        self._check_loss()
        if self.prompt_template and self.prompt_template.count(REQUEST_PLACE) != 1:
            raise ValueError(f"prompt_template must hold {REQUEST_PLACE} exactly once, where the request goes")
        # A group must lie in one process to be replaced there.
        if self.resample_groups and self.prompts % self.processes:
            raise ValueError(
                f"resample_groups needs whole groups in every process: prompts = {self.prompts} must be a "
                f"multiple of processes = {self.processes}"
            )
        form_weights = (self.length_weight, self.repetition_weight, self.diversity_weight, self.format_weight)
        if not self.reward_weight + self.fit_weight + sum(form_weights):
            raise ValueError("at least one reward weight must be above 0")
        return self

    def _check_loss(self) -> None:
        """What TRL would only warn of in a log, or train with silently. Raises ValueError."""
        by_greeting = self.importance_sampling_level == "sequence"
        if by_greeting and self.loss_type in TOKEN_SUM_LOSSES:
            raise ValueError(
                f"importance_sampling_level = sequence does not go with loss_type = {self.loss_type}, which weighs "
                "greetings by their length; use loss_type = grpo (GSPO) or luspo"
            )
        if by_greeting != (self.loss_type == "luspo") and self.loss_type in ("luspo", "vespo"):
            needed_level = "sequence" if self.loss_type == "luspo" else "token"
            raise ValueError(f"loss_type = {self.loss_type} needs importance_sampling_level = {needed_level}")
        if self.loss_type == "cispo" and self.epsilon_high <= 1:
            raise ValueError("of cispo, epsilon_high is the largest weight of a token and must be above 1 (5, say)")
        if self.epsilon_high < self.epsilon:
            raise ValueError("epsilon_high must not be below epsilon")

    def _check_ranking(self) -> None:
        # A place in a ranking has no threshold: half of every group would be "good", whatever it is.
        if self.binary:
            raise ValueError("binary does not go with reward = ranking, which says who is better and not who is good")
        # Each process rewards its own part of the rollout, and half a group cannot be ranked as the whole.
        if self.prompts % self.processes:
            raise ValueError(
                f"with reward = ranking, prompts = {self.prompts} must be a multiple of processes = {self.processes}, "
                "so that every group is ranked as a whole"
            )
