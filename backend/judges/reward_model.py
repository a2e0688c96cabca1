"""A trained reward model, scored in a process of its own behind two pipes, so that this process never loads torch."""

import asyncio
import itertools
import json
import math
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from backend.core.enums import Scale
from backend.core.errors import UserError
from backend.core.text import strip_white_space
from backend.judges.base import EMPTY_GREETING, Judgment, Sample, version_of

ERROR_TAIL = 300


class PipeFailed(Exception):
    """The program could not be used; the text says why."""


class JsonPipe:
    """Starts the program at the first request and again after a crash. One request at a time, whatever the thread."""

    def __init__(self, command: Sequence[str], timeout_s: float, start_timeout_s: float) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._request_lock = threading.Lock()
        self._running_program: _HelperProgram | None = None
        self._closed = False

    def send_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises PipeFailed when a fresh program fails at it as well."""
        with self._request_lock:
            # Once more, since a program may be killed for memory that others took; a fresh one that fails too
            # fails at the request.
            for is_last_try in (False, True):
                try:
                    return self._started_program().exchange(request, self._timeout_s)
                except PipeFailed:
                    self._stop_program()
                    if is_last_try or self._closed:
                        raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the program for good, also in the middle of a request of another thread."""
        self._closed = True
        # Without the lock, which whoever waits for a reply holds; its death ends that wait.
        running_program = self._running_program
        if running_program is not None:
            running_program.kill()
        with self._request_lock:
            self._stop_program()

    def _started_program(self) -> "_HelperProgram":
        if self._closed:
            raise PipeFailed("it was ended")
        if self._running_program is None:
            self._running_program = _HelperProgram(self._command, self._start_timeout_s)
        return self._running_program

    def _stop_program(self) -> None:
        if self._running_program is not None:
            self._running_program.stop()
            self._running_program = None


class _HelperProgram:
    """One life of the program. A thread reads its output, so that waiting for a reply can time out."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        # A file and no pipe: nobody reads it while the program runs, and a full pipe would stop the program.
        self._error_output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._error_output,
            encoding="utf-8",
        )
        self._output_lines: queue.Queue[str] = queue.Queue()
        assert self._process.stdout is not None
        self._reader_thread = threading.Thread(target=self._read_output, args=(self._process.stdout,), daemon=True)
        self._reader_thread.start()
        try:
            ready_message = self._next_reply(timeout_s)
            if not ready_message.get("ready"):
                raise PipeFailed(str(ready_message.get("error", "unexpected greeting")))
        except PipeFailed:
            self.stop()
            raise

    def exchange(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one request and wait for the reply with its id."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PipeFailed(self._death_reason()) from error
        reply_object = self._next_reply(timeout_s)
        # Scores of another batch would look like any others and be stored under the wrong greetings.
        if reply_object.get("id") != request["id"]:
            raise PipeFailed("its reply belongs to another request")
        return reply_object

    def kill(self) -> None:
        """Kill the program; whoever waits for a reply learns of its end."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the program and give its pipes back."""
        self.kill()
        self._process.wait()
        self._reader_thread.join()
        for pipe_stream in (self._process.stdin, self._process.stdout):
            if pipe_stream is not None:
                _close_quietly(pipe_stream)
        self._error_output.close()

    def _read_output(self, output: IO[str]) -> None:
        for output_line in output:
            self._output_lines.put(output_line)
        # The end; an empty line would still hold its line feed.
        self._output_lines.put("")

    def _next_reply(self, timeout_s: float) -> dict[str, Any]:
        try:
            output_line = self._output_lines.get(timeout=timeout_s)
        except queue.Empty:
            raise PipeFailed(f"no reply within {timeout_s:g} s") from None
        if not output_line:
            raise PipeFailed(self._death_reason())
        try:
            reply_object = json.loads(output_line)
        except ValueError:
            raise PipeFailed(f"not a line of JSON: {output_line[:80]!r}") from None
        if not isinstance(reply_object, dict):
            raise PipeFailed(f"not a JSON object: {output_line[:80]!r}")
        return reply_object

    def _death_reason(self) -> str:
        exit_code = self._process.wait()
        self._error_output.seek(0)
        error_lines = self._error_output.read().decode("utf-8", "replace").strip().splitlines()
        return f"it ended with exit code {exit_code}" + (f" ({error_lines[-1][-ERROR_TAIL:]})" if error_lines else "")


def _close_quietly(pipe_stream: IO[str]) -> None:
    with suppress(OSError):  # unsent bytes of a program that is gone
        pipe_stream.close()


REVISION = 1
BATCH_SAMPLES = 64
MAX_LENGTH = 1024
# Not cut to fit: the score would be that of another text.
TEXT_TOO_LONG = Judgment(None, "文本超出奖励模型能读的长度，无法评分")


class RewardModelJudge:
    """Scores of a trained reward model (any real number); only their order means something."""

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
        """Raises UserError where the folder holds no model. `command` replaces the server in tests."""
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
            "backend.training.programs.reward_server",
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
        # Name and size go before the content, so that no shift of bytes between files gives the same hash.
        content_hash.update(f"{model_file.name}\0{model_file.stat().st_size}\0".encode())
        with model_file.open("rb") as file_stream:
            while file_block := file_stream.read(1 << 20):
                content_hash.update(file_block)
    return content_hash.hexdigest()
