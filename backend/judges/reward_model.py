"""A trained reward model, scored in a process of its own so that this one never loads torch."""

import asyncio
import itertools
import math
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from backend.errors import UserError
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, version_of
from backend.judges.pipe import JsonPipe, PipeFailed
from backend.text import strip_white_space
from backend.vocabulary import Scale

REVISION = 1
BATCH_SAMPLES = 64
MAX_LENGTH = 1024
TEXT_TOO_LONG = Judgment(None, "文本超出奖励模型能读的长度，无法评分")


class RewardModelJudge:
    """Scores of the artifact at `path`; only their order means something."""

    scale = Scale.SCORE

    def __init__(
        self,
        model_folder: Path,
        judge_name: str = "reward_model",
        *,
        max_length: int = MAX_LENGTH,
        timeout_s: float = 300.0,
        command: Sequence[str] | None = None,
    ) -> None:
        """Raises UserError where `path` holds no model. `command` replaces the server in tests."""
        self.name = judge_name
        self.version = version_of(
            {
                "judge": "reward_model",
                "revision": REVISION,
                "artifact": folder_hash(model_folder),
                "max_length": max_length,
            }
        )
        server_arguments = [
            "-m",
            "backend.training.reward_server",
            "--artifact",
            str(model_folder),
            "--max-length",
            str(max_length),
        ]
        self._json_pipe = JsonPipe(command or [sys.executable, *server_arguments], timeout_s, timeout_s)
        self._request_ids = itertools.count()

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """The model's score of each greeting; unscored where it is empty, too long or the model fails."""
        judgments = [EMPTY_GREETING] * len(samples)
        sample_indices = [
            sample_index for sample_index, sample in enumerate(samples) if strip_white_space(sample.greeting)
        ]
        for batch_start in range(0, len(sample_indices), BATCH_SAMPLES):
            batch_indices = sample_indices[batch_start : batch_start + BATCH_SAMPLES]
            batch_judgments = await asyncio.to_thread(
                self._score_batch, [samples[sample_index] for sample_index in batch_indices]
            )
            for sample_index, judgment in zip(batch_indices, batch_judgments, strict=True):
                judgments[sample_index] = judgment
        return judgments

    def close(self) -> None:
        """End the model's process."""
        self._json_pipe.close()

    def _score_batch(self, samples: Sequence[Sample]) -> list[Judgment]:
        request_items = [[sample.prompt, sample.greeting] for sample in samples]
        try:
            reply_object = self._json_pipe.send_request({"id": next(self._request_ids), "items": request_items})
        except PipeFailed as error:
            return [Judgment(None, f"奖励模型进程无法使用：{error}")] * len(samples)
        scores = reply_object.get("scores")
        if not isinstance(scores, list) or len(scores) != len(samples):
            return [Judgment(None, f"奖励模型没有给出分数：{reply_object.get('error', '回复格式不对')}")] * len(samples)
        return [_score_judgment(model_score) for model_score in scores]


def _score_judgment(model_score: Any) -> Judgment:
    if model_score is None:
        return TEXT_TOO_LONG
    if not isinstance(model_score, int | float) or not math.isfinite(model_score):
        return Judgment(None, f"奖励模型给出的不是有效的数：{model_score}")
    return Judgment(float(model_score), f"奖励模型分数 {model_score:.3f}")


def folder_hash(model_folder: Path) -> str:
    """SHA-256 over names and contents of the folder's files. Raises UserError where there is no model."""
    if not (model_folder / "config.json").is_file() and not (model_folder / "adapter_config.json").is_file():
        raise UserError(
            f"{model_folder} holds no trained model (config.json is missing); name the folder of an artifact.",
            f"{model_folder} 中没有训练好的模型（缺少 config.json），请填写模型文件夹的路径。",
        )
    content_hash = sha256()
    for model_file in sorted(folder_item for folder_item in model_folder.iterdir() if folder_item.is_file()):
        content_hash.update(f"{model_file.name}\0{model_file.stat().st_size}\0".encode())
        with model_file.open("rb") as file_stream:
            while file_block := file_stream.read(1 << 20):
                content_hash.update(file_block)
    return content_hash.hexdigest()
