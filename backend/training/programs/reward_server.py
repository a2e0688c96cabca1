"""`python -m backend.training.programs.reward_server --artifact DIR`: a reward model behind two pipes.

The protocol, one JSON object a line, UTF-8:

    out  {"ready": true, "max_length": 512}            once, or {"error": "…"} and exit code 1
    in   {"id": 7, "items": [["请求", "祝福"], …]}
    out  {"id": 7, "scores": [0.31, null, …]}          null: longer than the model reads
    out  {"id": 7, "error": "…"}                       this batch failed, the next one may not

The end of standard input ends the program. Anything the libraries print goes to standard error.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# Everything lies in the artifact's folder; asking the hub would wait for a network that may not be there.
# Before the libraries, which read this while they are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from backend.training.programs.base_files import check_weight_files
from backend.training.programs.chat_format import encode_exchange
from backend.training.programs.loading import are_weights_whole
from backend.training.programs.reward_terms import LengthDebias

PROBE_TEXT = "生日快乐"
ADAPTER_FILE = "adapter_config.json"


class RewardModel:
    """A sequence classifier with one output, and the tokenizer it was trained with."""

    def __init__(self, artifact_folder: Path, max_length: int, batch_size: int, device: str | None = None) -> None:
        """`device` as torch names it (“cuda:1”); None takes the first GPU, or the CPU where there is none."""
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(artifact_folder)
        self.model = load_model(artifact_folder, self.device)
        self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.max_length = min(max_length, getattr(self.model.config, "max_position_embeddings", max_length))
        self.batch_size = batch_size
        self.debias = LengthDebias.load(artifact_folder)

    def score(self, text_pairs: list[list[str]]) -> list[float | None]:
        """One score per (request, greeting); None where the text is longer than the model reads.

        Where the model came with a length term (debias.json) it is taken out here and nowhere else, so
        that a score is the same whoever asks: GRPO in its own process, or a judge through the server.
        """
        uncorrected = self.raw_scores(text_pairs)
        if self.debias is None:
            return uncorrected
        scored_pairs = zip(text_pairs, uncorrected, strict=True)
        return [
            None if score is None else self.debias.correct_score(greeting_text, score)
            for (_, greeting_text), score in scored_pairs
        ]

    def raw_scores(self, text_pairs: list[list[str]]) -> list[float | None]:
        """The model's own scores, length's part still in them; the length term is fitted on these."""
        token_ids = [self._encode_pair(prompt_text, greeting_text) for prompt_text, greeting_text in text_pairs]
        # Batches of similar length waste little on padding.
        sorted_indexes = sorted(
            (pair_index for pair_index in range(len(token_ids)) if len(token_ids[pair_index]) <= self.max_length),
            key=lambda pair_index: len(token_ids[pair_index]),
        )
        scores: list[float | None] = [None] * len(token_ids)
        for batch_start in range(0, len(sorted_indexes), self.batch_size):
            batch_indexes = sorted_indexes[batch_start : batch_start + self.batch_size]
            for pair_index, score in zip(
                batch_indexes,
                self._score_batch([token_ids[pair_index] for pair_index in batch_indexes]),
                strict=True,
            ):
                scores[pair_index] = score
        return scores

    @torch.inference_mode()
    def _score_batch(self, token_ids: list[list[int]]) -> list[float]:
        padded_batch = self.tokenizer.pad({"input_ids": token_ids}, padding=True, return_tensors="pt").to(self.device)
        model_output = self.model(input_ids=padded_batch["input_ids"], attention_mask=padded_batch["attention_mask"])
        batch_scores: list[float] = model_output.logits[:, 0].float().tolist()
        return batch_scores

    def _encode_pair(self, prompt_text: str, greeting_text: str) -> list[int]:
        if self.tokenizer.chat_template:
            return encode_exchange(self.tokenizer, prompt_text, greeting_text)
        # A model from elsewhere without a template: the text that TRL's RewardTrainer makes of a pair with a prompt.
        pair_text = prompt_text + greeting_text + (self.tokenizer.eos_token or "")
        token_ids: list[int] = self.tokenizer(pair_text)["input_ids"]
        return token_ids


def load_tokenizer(artifact_folder: Path) -> Any:
    """The tokenizer exactly as saved. Raises ValueError where it makes nothing of Chinese text."""
    # AutoTokenizer rebuilds some model types from their own recipe and then reads a custom vocabulary
    # as no tokens at all; tokenizer.json says what was trained.
    tokenizer_class = PreTrainedTokenizerFast if (artifact_folder / "tokenizer.json").exists() else AutoTokenizer
    tokenizer = tokenizer_class.from_pretrained(artifact_folder, trust_remote_code=False)
    if not tokenizer(PROBE_TEXT, add_special_tokens=False)["input_ids"]:
        raise ValueError("the tokenizer turns Chinese text into nothing")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ValueError("the tokenizer has neither a padding nor an end token")
    # As in training: positions are counted from the left end.
    tokenizer.padding_side = "right"
    return tokenizer


def check_artifact(artifact_folder: Path) -> None:
    """Raises OSError, ValueError or KeyError where a folder holds no reward model; nothing large is read."""
    load_tokenizer(artifact_folder)
    if not are_weights_whole(artifact_folder):
        raise ValueError("its weights (*.safetensors) are missing or torn")
    if (artifact_folder / ADAPTER_FILE).is_file():
        base_model = str(json.loads((artifact_folder / ADAPTER_FILE).read_text("utf-8"))["base_model_name_or_path"])
        AutoConfig.from_pretrained(base_model, trust_remote_code=False)
    else:
        _check_outputs(AutoConfig.from_pretrained(artifact_folder, trust_remote_code=False))


def _check_outputs(model_config: Any) -> None:
    if model_config.num_labels != 1:
        raise ValueError(f"a reward model has one output, this one has {model_config.num_labels}")


def load_model(artifact_folder: Path, device: str) -> Any:
    """The classifier; a LoRA adapter is laid over its base. Raises ValueError for more than one output."""
    # The dtype of the file would be kept otherwise, and a CPU computes slowly in float16.
    dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
    check_weight_files(artifact_folder)
    safe_loading = {"use_safetensors": True, "trust_remote_code": False}
    if (artifact_folder / ADAPTER_FILE).exists():
        from peft import AutoPeftModelForSequenceClassification

        model = AutoPeftModelForSequenceClassification.from_pretrained(
            artifact_folder, num_labels=1, dtype=dtype, **safe_loading
        )
    else:
        model = AutoModelForSequenceClassification.from_pretrained(artifact_folder, dtype=dtype, **safe_loading)
    _check_outputs(model.config)
    return model.to(device).eval()


def serve_scores(reward_model: RewardModel, output_stream: Any) -> None:
    """Answer line after line until standard input ends."""
    _send_message(output_stream, {"ready": True, "max_length": reward_model.max_length})
    for request_line in sys.stdin:
        request = json.loads(request_line)
        try:
            _send_message(output_stream, {"id": request["id"], "scores": reward_model.score(request["items"])})
        except Exception as error:  # the next batch may be fine
            _send_message(output_stream, {"id": request["id"], "error": f"{type(error).__name__}: {error}"[:500]})


def _send_message(output_stream: Any, message: dict[str, Any]) -> None:
    output_stream.write(json.dumps(message, ensure_ascii=False) + "\n")
    output_stream.flush()


def main() -> None:
    """Load, then serve. Standard output carries the protocol and nothing else."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    # Whatever the locale: the worker's environment may have none.
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    output_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Libraries print on standard output as well, which would break the protocol.
    os.dup2(2, 1)
    try:
        reward_model = RewardModel(options.artifact, options.max_length, options.batch)
    except Exception as error:
        _send_message(output_stream, {"error": f"{type(error).__name__}: {error}"[:500]})
        sys.exit(1)
    serve_scores(reward_model, output_stream)


if __name__ == "__main__":
    main()
