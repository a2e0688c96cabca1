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
from backend.judges.base import EMPTY, Draft, Sample, version_of
from backend.judges.pipe import JsonPipe, PipeFailed
from backend.text import squeeze
from backend.vocabulary import Scale

REVISION = 1
BATCH = 64
MAX_LENGTH = 1024
TOO_LONG = Draft(None, "文本超出奖励模型能读的长度，无法评分")


class RewardModelJudge:
    """Scores of the artifact at `path`; only their order means something."""

    scale = Scale.SCORE

    def __init__(
        self,
        path: Path,
        name: str = "reward_model",
        *,
        max_length: int = MAX_LENGTH,
        timeout_s: float = 300.0,
        command: Sequence[str] | None = None,
    ) -> None:
        """Raises UserError where `path` holds no model. `command` replaces the server in tests."""
        self.name = name
        self.version = version_of(
            {
                "judge": "reward_model",
                "revision": REVISION,
                "artifact": folder_hash(path),
                "max_length": max_length,
            }
        )
        server = [
            "-m",
            "backend.training.reward_server",
            "--artifact",
            str(path),
            "--max-length",
            str(max_length),
        ]
        self._pipe = JsonPipe(command or [sys.executable, *server], timeout_s, timeout_s)
        self._ids = itertools.count()

    async def score(self, batch: Sequence[Sample]) -> list[Draft]:
        """The model's score of each greeting; unscored where it is empty, too long or the model fails."""
        drafts = [EMPTY] * len(batch)
        given = [i for i, sample in enumerate(batch) if squeeze(sample.greeting)]
        for start in range(0, len(given), BATCH):
            part = given[start : start + BATCH]
            scored = await asyncio.to_thread(self._scores, [batch[i] for i in part])
            for i, draft in zip(part, scored, strict=True):
                drafts[i] = draft
        return drafts

    def close(self) -> None:
        """End the model's process."""
        self._pipe.close()

    def _scores(self, samples: Sequence[Sample]) -> list[Draft]:
        items = [[sample.prompt, sample.greeting] for sample in samples]
        try:
            reply = self._pipe.ask({"id": next(self._ids), "items": items})
        except PipeFailed as error:
            return [Draft(None, f"奖励模型进程无法使用：{error}")] * len(samples)
        scores = reply.get("scores")
        if not isinstance(scores, list) or len(scores) != len(samples):
            return [Draft(None, f"奖励模型没有给出分数：{reply.get('error', '回复格式不对')}")] * len(samples)
        return [_draft(score) for score in scores]


def _draft(score: Any) -> Draft:
    if score is None:
        return TOO_LONG
    if not isinstance(score, int | float) or not math.isfinite(score):
        return Draft(None, f"奖励模型给出的不是有效的数：{score}")
    return Draft(float(score), f"奖励模型分数 {score:.3f}")


def folder_hash(path: Path) -> str:
    """SHA-256 over names and contents of the folder's files. Raises UserError where there is no model."""
    if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
        raise UserError(
            f"{path} holds no trained model (config.json is missing); name the folder of an artifact.",
            f"{path} 中没有训练好的模型（缺少 config.json），请填写模型文件夹的路径。",
        )
    total = sha256()
    for file in sorted(item for item in path.iterdir() if item.is_file()):
        total.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()
