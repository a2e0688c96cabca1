"""From the way a program ended to a status and one sentence in both languages."""

import json
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core.enums import JobStatus
from backend.core.errors import Message

# Exit code of a program that was asked to stop, has saved, and can go on later.
# EX_TEMPFAIL of sysexits.h: not done, try again.
STOPPED = 75


@dataclass(frozen=True)
class ProgramExit:
    """How a program ended: its code, or the signal that ended it; not `started` means that it never ran."""

    exit_code: int | None = None
    signal_number: int | None = None
    started: bool = True


def exit_record_path(run_folder: Path, attempt_number: int) -> Path:
    """Where the launcher leaves the exit record of an attempt."""
    return run_folder / f"exit-{attempt_number}.json"


def read_exit_record(run_folder: Path, attempt_number: int) -> ProgramExit | None:
    """The exit record, None where the launcher was killed before it could write one."""
    try:
        exit_record = json.loads(exit_record_path(run_folder, attempt_number).read_text("utf-8"))
        return ProgramExit(exit_record["code"], exit_record["signal"], exit_record["started"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


# However long a program says that it takes to stop: beyond this it hangs, and holds its device.
MAX_STOP_SECONDS = 3600.0


def stop_seconds_path(run_folder: Path) -> Path:
    """Where a program leaves how many seconds it takes to save and end, at its slowest so far."""
    return run_folder / "stop_seconds.txt"


def read_stop_seconds(run_folder: Path) -> float:
    """What the program of a run has left there, within reason; 0 where it has left nothing."""
    try:
        stop_seconds = float(stop_seconds_path(run_folder).read_text("utf-8"))
    except (OSError, ValueError):
        return 0.0
    # Not a number, too, compares as false.
    return min(stop_seconds, MAX_STOP_SECONDS) if stop_seconds > 0 else 0.0


def decide_status(
    job_status: JobStatus,
    program_exit: ProgramExit | None,
    log_lines: Sequence[str],
    *,
    disk_full: bool = False,
) -> tuple[JobStatus, Message | None]:
    """The final status of an attempt, and its error.

    `job_status` is that of the row as it is now, `program_exit` the exit record (None where there is none),
    `log_lines` the end of the attempt's log; on a full disk those last words may be missing.
    """
    # First of all: whoever cancelled a job wants it gone, even if it succeeded in the same second.
    if job_status is JobStatus.CANCELLING:
        return JobStatus.CANCELLED, None
    # The worker died between claiming the job and releasing its program: nothing ran, so it is queued again.
    if program_exit is not None and not program_exit.started:
        return (JobStatus.PAUSED if job_status is JobStatus.PAUSING else JobStatus.QUEUED), None
    if program_exit is None:
        return JobStatus.LOST, PROGRAM_DISAPPEARED
    if program_exit.exit_code == STOPPED:
        return JobStatus.PAUSED, None if job_status is JobStatus.PAUSING else STOPPED_FROM_OUTSIDE
    if program_exit.exit_code == 0:
        return (JobStatus.PAUSED if job_status is JobStatus.PAUSING else JobStatus.SUCCEEDED), None
    return JobStatus.FAILED, DISK_FULL if disk_full else explain_failure(program_exit, log_lines)


PROGRAM_DISAPPEARED = Message(
    "The program and its launcher disappeared (restart of the machine, or killed by hand); resume the job.",
    "程序及其启动器已消失（机器重启或被强制结束），可以继续此任务。",
)
DISK_FULL = Message("The disk is full; free some space and resume the job.", "磁盘已满，请清理后继续任务。")
STOPPED_FROM_OUTSIDE = Message(
    "The program was asked to stop from outside and has saved its state; resume the job.",
    "程序被外部要求停止，进度已保存，可以继续此任务。",
)


def explain_failure(program_exit: ProgramExit, log_lines: Sequence[str]) -> Message:
    """One sentence for a program that failed."""
    signal_number = (
        program_exit.signal_number or _signal_from_code(program_exit.exit_code) or _signal_of_first_process(log_lines)
    )
    if signal_number is not None:
        return _signal_message(signal_number)
    last_words = _find_last_words(_lines_before_launcher(log_lines))
    for pattern, build_message in _KNOWN_FAILURES:
        if match := re.search(pattern, last_words):
            return build_message(match)
    if not last_words:
        return Message(
            f"The program ended with code {program_exit.exit_code} and said nothing; look at the log.",
            f"程序以代码 {program_exit.exit_code} 结束且没有输出，请查看日志。",
        )
    return Message(f"The program failed: {last_words}", f"程序出错：{last_words}")


# What torch's launcher prints once one of several processes has failed: about each of them, the first one last.
_LAUNCHER_ERROR = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_LAUNCHER_LINE = re.compile(r"^[IWE]\d{4} .*/torch/distributed/elastic/")
_FIRST_PROCESS = re.compile(
    r"^Root Cause \(first observed failure\):.*?^ *exitcode *: -(\d+) ", re.MULTILINE | re.DOTALL
)


def _signal_of_first_process(log_lines: Sequence[str]) -> int | None:
    """The signal that ended the first of several processes to fail; the others only lost it."""
    match = _FIRST_PROCESS.search("\n".join(log_lines))
    return int(match[1]) if match else None


def _lines_before_launcher(log_lines: Sequence[str]) -> Sequence[str]:
    """What the processes printed themselves."""
    error_index = next((index for index, line in enumerate(log_lines) if line.startswith(_LAUNCHER_ERROR)), None)
    if error_index is None:
        return log_lines
    traceback_index = max(
        (index for index in range(error_index) if log_lines[index].startswith("Traceback")), default=error_index
    )
    return [log_line for log_line in log_lines[:traceback_index] if not _LAUNCHER_LINE.match(log_line)]


def _signal_from_code(exit_code: int | None) -> int | None:
    """A shell in between reports a signal as 128 + n."""
    return exit_code - 128 if exit_code in (128 + signal.SIGKILL, 128 + signal.SIGTERM) else None


def _signal_message(signal_number: int) -> Message:
    if signal_number == signal.SIGKILL:
        return Message(
            "The system killed the program (SIGKILL), most often because memory ran out; "
            "use a smaller batch or model and resume the job.",
            "程序被系统强制结束（SIGKILL），多半是内存不足，请减小批次或模型后继续任务。",
        )
    signal_name = (
        signal.Signals(signal_number).name if signal_number in set(signal.Signals) else f"signal {signal_number}"
    )
    return Message(
        f"The program was ended by {signal_name}; look at the end of the log.",
        f"程序被信号 {signal_name} 结束，请查看日志末尾。",
    )


def _find_last_words(log_lines: Sequence[str]) -> str:
    """What the program wrote at its end: its `error: …` line, else the exception, else the last line."""
    printed_lines = [_RANK_PREFIX.sub("", log_line).rstrip() for log_line in log_lines if log_line.strip()]
    traceback_indexes = [
        line_index for line_index, log_line in enumerate(printed_lines) if log_line.startswith("Traceback (most recent")
    ]
    lines_after_traceback = printed_lines[traceback_indexes[-1] + 1 :] if traceback_indexes else printed_lines
    error_lines = [log_line for log_line in lines_after_traceback if log_line.startswith("error: ")]
    if error_lines:
        return _shorten_line(error_lines[-1])
    if traceback_indexes:
        # Frames of a traceback are indented, the exception is the first line that is not.
        exception_lines = [log_line for log_line in lines_after_traceback if not log_line.startswith(" ")]
        return _shorten_line(exception_lines[0] if exception_lines else "")
    return _shorten_line(printed_lines[-1] if printed_lines else "")


# torch puts the rank before each line where a training has several processes.
_RANK_PREFIX = re.compile(r"^\[rank\d+\]: ?")


def _shorten_line(log_line: str) -> str:
    return log_line if len(log_line) <= 300 else log_line[:299] + "…"


def _fixed_message(en: str, zh: str) -> Callable[[re.Match[str]], Message]:
    return lambda _found: Message(en, zh)


# The first that matches is taken, so what a program says of itself stands before all guesses.
_KNOWN_FAILURES: tuple[tuple[str, Callable[[re.Match[str]], Message]], ...] = (
    (
        r"^error: (.*)",
        lambda found: Message(found[1], f"程序报告：{found[1]}"),
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        _fixed_message(
            "The GPU's memory was not enough; use a smaller batch, shorter texts or LoRA, then resume.",
            "显存不足，请减小批次、缩短文本或改用 LoRA 后继续任务。",
        ),
    ),
    (
        r"^MemoryError|can't allocate memory|Cannot allocate memory|Unable to allocate",
        _fixed_message(
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
