"""The implicit reward of a policy: how much likelier a greeting has become than it was before training.

Source: Rafailov et al., "Direct Preference Optimization", 2023, section 4: up to a term of the request alone,
which cancels between two greetings, β · log(π(y | x) / π_start(y | x)) is the reward that a policy is optimal for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from backend.training.programs.sharding import input_device

TextPair = tuple[str, str]
# Token ids of a request and of a greeting that continues it.
TokenPair = tuple[list[int], list[int]]


class ImplicitReward:
    """Log-likelihood of greetings now minus at the start, which is taken from the same model before it is trained.

    A copy of the start need not stay in memory that way, whether the training is of an adapter or of every weight.
    """

    def __init__(
        self,
        model: Any,
        encode_pair: Callable[[str, str], TokenPair],
        *,
        max_length: int,
        batch_size: int,
        per_token: bool = False,
    ) -> None:
        """`encode_pair` gives the tokens of (request, greeting); `per_token` takes means instead of sums."""
        self._model, self._encode_pair = model, encode_pair
        self._max_length, self._batch_size, self._per_token = max_length, batch_size, per_token
        self._start_values: dict[TextPair, float | None] = {}

    def remember_start(self, text_pairs: Sequence[TextPair]) -> None:
        """Take the start's values of every (request, greeting) that will be scored. To be called before training."""
        unique_pairs = list(dict.fromkeys(text_pairs))
        self._start_values = dict(zip(unique_pairs, self._log_likelihoods(unique_pairs), strict=True))

    def score(self, text_pairs: Sequence[TextPair]) -> list[float | None]:
        """One value for each (request, greeting); None where both together are longer than `max_length` tokens.

        Raises KeyError for a pair that `remember_start` has not seen.
        """
        current_values = self._log_likelihoods(text_pairs)
        start_values = [self._start_values[text_pair] for text_pair in text_pairs]
        return [
            None if current_value is None or start_value is None else current_value - start_value
            for current_value, start_value in zip(current_values, start_values, strict=True)
        ]

    def _log_likelihoods(self, text_pairs: Sequence[TextPair]) -> list[float | None]:
        token_pairs = [self._encode_pair(prompt_text, greeting_text) for prompt_text, greeting_text in text_pairs]
        lengths = [len(prompt_ids) + len(greeting_ids) for prompt_ids, greeting_ids in token_pairs]
        # Batches of similar length waste little on padding.
        sorted_indexes = sorted(
            (index for index, length in enumerate(lengths) if length <= self._max_length), key=lengths.__getitem__
        )
        values: list[float | None] = [None] * len(token_pairs)
        was_training, _ = self._model.training, self._model.eval()
        for batch_start in range(0, len(sorted_indexes), self._batch_size):
            batch_indexes = sorted_indexes[batch_start : batch_start + self._batch_size]
            batch_values = self._score_batch([token_pairs[index] for index in batch_indexes])
            for index, value in zip(batch_indexes, batch_values, strict=True):
                values[index] = value
        self._model.train(was_training)
        return values

    # Not in inference mode, whose tensors a model in shares could not train on afterwards.
    @torch.no_grad()
    def _score_batch(self, token_pairs: Sequence[TokenPair]) -> list[float]:
        """Padded on the left, so that all greetings end together and only their positions need scores."""
        width = max(len(prompt_ids) + len(greeting_ids) for prompt_ids, greeting_ids in token_pairs)
        scored_width = max(len(greeting_ids) for _, greeting_ids in token_pairs)
        input_ids = torch.zeros((len(token_pairs), width), dtype=torch.long)
        attention_mask, greeting_mask = torch.zeros_like(input_ids), torch.zeros_like(input_ids)
        for row, (prompt_ids, greeting_ids) in enumerate(token_pairs):
            input_ids[row, width - len(prompt_ids) - len(greeting_ids) :] = torch.tensor(prompt_ids + greeting_ids)
            attention_mask[row, width - len(prompt_ids) - len(greeting_ids) :] = 1
            greeting_mask[row, width - len(greeting_ids) :] = 1
        device = input_device(self._model)
        logits = self._model(
            input_ids=input_ids.to(device),
            attention_mask=attention_mask.to(device),
            position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0).to(device),
            use_cache=False,
            # One more than the greeting: each token is predicted at the position before it.
            logits_to_keep=scored_width + 1,
        ).logits[:, :-1]
        targets = input_ids[:, -scored_width:].to(device)
        token_values = torch.log_softmax(logits.float(), dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        mask = greeting_mask[:, -scored_width:].to(device)
        sums = (token_values * mask).sum(dim=1)
        values: list[float] = (sums / mask.sum(dim=1).clamp(min=1) if self._per_token else sums).tolist()
        return values
