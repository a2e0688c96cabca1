"""From the way a program ended to a status and one sentence in both languages."""

import json
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import Message
from backend.jobs.vocabulary import JobStatus

STOPPED = 75
"""Exit code of a program that was asked to stop, has saved, and can go on later."""


@dataclass(frozen=True)
class Exit:
    """How a program ended: its code, or the signal that ended it; not `started` means that it never ran."""

    code: int | None = None
    signal: int | None = None
    started: bool = True


def record_path(folder: Path, attempt: int) -> Path:
    """Where the launcher leaves the exit record of an attempt."""
    return folder / f"exit-{attempt}.json"


def read_record(folder: Path, attempt: int) -> Exit | None:
    """The exit record, None where the launcher was killed before it could write one."""
    try:
        data = json.loads(record_path(folder, attempt).read_text("utf-8"))
        return Exit(data["code"], data["signal"], data["started"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def decide(
    status: JobStatus, ended: Exit | None, lines: Sequence[str], *, disk_full: bool = False
) -> tuple[JobStatus, Message | None]:
    """The final status of an attempt, and its error.

    `status` is what the row says now, `ended` the exit record, `lines` the end of the attempt's log;
    on a full disk those last words may be missing.
    """
    if status is JobStatus.CANCELLING:
        return JobStatus.CANCELLED, None
    if ended is not None and not ended.started:
        return (JobStatus.PAUSED if status is JobStatus.PAUSING else JobStatus.QUEUED), None
    if ended is None:
        return JobStatus.LOST, LOST
    if ended.code == STOPPED:
        return JobStatus.PAUSED, None if status is JobStatus.PAUSING else STOPPED_FROM_OUTSIDE
    if ended.code == 0:
        return (JobStatus.PAUSED if status is JobStatus.PAUSING else JobStatus.SUCCEEDED), None
    return JobStatus.FAILED, DISK_FULL if disk_full else explain(ended, lines)


LOST = Message(
    "The program and its launcher disappeared (restart of the machine, or killed by hand); resume the job.",
    "程序及其启动器已消失（机器重启或被强制结束），可以继续此任务。",
)
DISK_FULL = Message("The disk is full; free some space and resume the job.", "磁盘已满，请清理后继续任务。")
STOPPED_FROM_OUTSIDE = Message(
    "The program was asked to stop from outside and has saved its state; resume the job.",
    "程序被外部要求停止，进度已保存，可以继续此任务。",
)


def explain(ended: Exit, lines: Sequence[str]) -> Message:
    """One sentence for a program that failed."""
    number = ended.signal or _signal_of(ended.code)
    if number is not None:
        return _by_signal(number)
    last = _last_words(lines)
    for pattern, sentence in _KNOWN:
        if found := re.search(pattern, last):
            return sentence(found)
    if not last:
        return Message(
            f"The program ended with code {ended.code} and said nothing; look at the log.",
            f"程序以代码 {ended.code} 结束且没有输出，请查看日志。",
        )
    return Message(f"The program failed: {last}", f"程序出错：{last}")


def _signal_of(code: int | None) -> int | None:
    """A shell in between reports a signal as 128 + n."""
    return code - 128 if code in (128 + signal.SIGKILL, 128 + signal.SIGTERM) else None


def _by_signal(number: int) -> Message:
    if number == signal.SIGKILL:
        return Message(
            "The system killed the program (SIGKILL), most often because memory ran out; "
            "use a smaller batch or model and resume the job.",
            "程序被系统强制结束（SIGKILL），多半是内存不足，请减小批次或模型后继续任务。",
        )
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Message(
        f"The program was ended by {name}; look at the end of the log.",
        f"程序被信号 {name} 结束，请查看日志末尾。",
    )


def _last_words(lines: Sequence[str]) -> str:
    """What the program said at its end: its `error: …` line, else the exception, else the last line."""
    said = [_RANK.sub("", line).rstrip() for line in lines if line.strip()]
    traces = [number for number, line in enumerate(said) if line.startswith("Traceback (most recent")]
    since = said[traces[-1] + 1 :] if traces else said
    told = [line for line in since if line.startswith("error: ")]
    if told:
        return _shortened(told[-1])
    if traces:
        thrown = [line for line in since if not line.startswith(" ")]
        return _shortened(thrown[0] if thrown else "")
    return _shortened(said[-1] if said else "")


_RANK = re.compile(r"^\[rank\d+\]: ?")


def _shortened(line: str) -> str:
    return line if len(line) <= 300 else line[:299] + "…"


def _fixed(en: str, zh: str) -> Callable[[re.Match[str]], Message]:
    return lambda _found: Message(en, zh)


_KNOWN: tuple[tuple[str, Callable[[re.Match[str]], Message]], ...] = (
    (
        r"^error: (.*)",
        lambda found: Message(found[1], f"程序报告：{found[1]}"),
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        _fixed(
            "The GPU's memory was not enough; use a smaller batch, shorter texts or LoRA, then resume.",
            "显存不足，请减小批次、缩短文本或改用 LoRA 后继续任务。",
        ),
    ),
    (
        r"^MemoryError|can't allocate memory|Cannot allocate memory|Unable to allocate",
        _fixed(
            "The machine's memory was not enough; use a smaller batch or model and resume the job.",
            "内存不足，请减小批次或模型后继续任务。",
        ),
    ),
    (
        r"No space left on device|database or disk is full",
        lambda _found: DISK_FULL,
    ),
    (
        r"^FileNotFoundError: \[Errno 2\] [^:]*: (.+)",
        lambda found: Message(
            f"The file {found[1]} is missing; restore it or choose another one.",
            f"缺少文件 {found[1]}，请恢复该文件或另选一个。",
        ),
    ),
    (
        r"^ModuleNotFoundError: No module named '([^']+)'",
        lambda found: Message(
            f"The Python package “{found[1]}” is not installed; install it and resume the job.",
            f"缺少 Python 包“{found[1]}”，请安装后继续任务。",
        ),
    ),
)
