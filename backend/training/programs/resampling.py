"""Groups whose rewards are all equal teach nothing; with `resample_groups` other requests take their places.

TRL counts such groups (`frac_reward_zero_std`) and trains on them all the same. The idea is DAPO's dynamic sampling
(Yu et al., 2025, section 3.2), here with a bound: after so many tries the groups stay as they are.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from trl import GRPOTrainer

Rollout = dict[str, Any]
# Equal rewards may differ in the last digits of their mean.
_EQUAL_WITHIN = 1e-6


class ResamplingTrainer(GRPOTrainer):
    """TRL's trainer, except that a rollout's groups without variance are drawn anew from other requests.

    It overrides the one method that makes a rollout, since TRL has neither setting nor hook for it. Every process
    draws as many groups as the one that needs most, because rewards are gathered over all of them.
    """

    def __init__(self, *arguments: Any, resample_groups: int, **named_arguments: Any) -> None:
        """`resample_groups` is the number of tries for a rollout; the rest is TRL's."""
        super().__init__(*arguments, **named_arguments)
        self._tries = resample_groups

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Rollout:
        rollout = super()._generate_and_score_completions(inputs)
        stale_groups = self._find_stale_groups(len(inputs))
        replaced_groups = 0
        used_requests = {row["request"] for row in inputs}
        for attempt in range(self._tries):
            needed_groups = self._largest(len(stale_groups))
            if not needed_groups or not self.model.training:
                break
            rows = self._draw_rows(needed_groups, attempt, used_requests)
            fresh_rollout = super()._generate_and_score_completions(rows)
            bad_groups = set(self._find_stale_groups(len(rows)))
            good_groups = [group for group in range(needed_groups) if group not in bad_groups]
            taken_groups = list(zip(stale_groups, good_groups, strict=False))
            rollout = self._exchange_groups(rollout, fresh_rollout, taken_groups)
            stale_groups = stale_groups[len(taken_groups) :]
            replaced_groups += len(taken_groups)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["resampled_groups"].append(self._sum(replaced_groups))
        self._metrics[mode]["groups_without_variance"].append(self._sum(len(stale_groups)))
        return rollout

    def _find_stale_groups(self, row_count: int) -> list[int]:
        """Of this process's last `row_count` greetings the groups that are scored and have no variance."""
        # Gathered over all processes, one reward function each; what is unscored is NaN.
        [rewards] = self._logs["rewards"].values()
        offset = self.accelerator.process_index * row_count
        newest = list(rewards)[-row_count * self.accelerator.num_processes :][offset : offset + row_count]
        groups = [newest[start : start + self.num_generations] for start in range(0, row_count, self.num_generations)]
        return [group_index for group_index, values in enumerate(groups) if lacks_variance(values)]

    def _draw_rows(self, group_count: int, attempt: int, used_requests: set[str]) -> list[dict[str, Any]]:
        """Rows of other requests, each `num_generations` times; of used ones where there are no others."""
        # Of step and process, so that a resumed run draws what an uninterrupted one would.
        random = Random(f"{self.args.seed} {self.state.global_step} {self.accelerator.process_index} {attempt}")
        row_indexes = random.sample(range(len(self.train_dataset)), len(self.train_dataset))
        all_rows = [self.train_dataset[row_index] for row_index in row_indexes]
        chosen_rows = sorted(all_rows, key=lambda row: row["request"] in used_requests)[:group_count]
        used_requests |= {row["request"] for row in chosen_rows}
        return [dict(row) for row in chosen_rows for _ in range(self.num_generations)]

    def _exchange_groups(self, rollout: Rollout, fresh: Rollout, taken: Sequence[tuple[int, int]]) -> Rollout:
        """The rollout with the groups of `fresh` in the places that `taken` names, as (place, group) each."""
        size = self.num_generations
        places = [size * place + row for place, _ in taken for row in range(size)]
        sources = [size * group + row for _, group in taken for row in range(size)]
        padding = dict.fromkeys(("prompt_ids", "completion_ids"), self.processing_class.pad_token_id)
        merged = exchange_rows(rollout, fresh, places, sources, padding)
        # The whole rollout's tokens, over all processes, as TRL counts them.
        merged["num_items_in_batch"] = self.accelerator.gather(merged["completion_mask"].sum()).sum()
        return merged

    def _largest(self, count: int) -> int:
        return int(self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)).max())

    def _sum(self, count: int) -> int:
        return int(self.accelerator.gather(torch.tensor([count], device=self.accelerator.device)).sum())


def lacks_variance(rewards: Sequence[float]) -> bool:
    """Whether a group's rewards are all the same. A group with fewer than two scored greetings (not NaN) is not one."""
    scored = [reward for reward in rewards if not math.isnan(reward)]
    return len(scored) > 1 and max(scored) - min(scored) < _EQUAL_WITHIN


def exchange_rows(
    rollout: Mapping[str, Any],
    fresh: Mapping[str, Any],
    places: Sequence[int],
    sources: Sequence[int],
    padding: Mapping[str, int],
) -> Rollout:
    """A copy of `rollout` whose rows `places` are the rows `sources` of `fresh`; `padding` by key, else 0.

    Tensors of two dimensions are (greetings, tokens): those of prompts are filled on the left, all others on the right.
    """
    merged = dict(rollout)
    for key, values in rollout.items():
        if not isinstance(values, torch.Tensor) or not values.dim():
            continue
        merged[key], fresh_values = values.clone(), fresh[key]
        if values.dim() == 2:
            width = max(values.shape[1], fresh_values.shape[1])
            merged[key], fresh_values = (
                _widen(tensor, width, padding.get(key, 0), on_left=key.startswith("prompt_"))
                for tensor in (values, fresh_values)
            )
        merged[key][list(places)] = fresh_values[list(sources)]
    return merged


def _widen(tensor: torch.Tensor, width: int, padding: int, *, on_left: bool) -> torch.Tensor:
    widened = tensor.new_full((tensor.shape[0], width), padding)
    if on_left:
        widened[:, width - tensor.shape[1] :] = tensor
    else:
        widened[:, : tensor.shape[1]] = tensor
    return widened
