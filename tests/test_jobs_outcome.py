"""From the end of a program to a status and a sentence."""

import signal

import pytest

from backend.jobs.outcome import STOPPED, Exit, decide, explain
from backend.jobs.vocabulary import JobStatus

RUN, PAUSE, CANCEL = JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING

TRACE = ["loading", "Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "    main()"]


@pytest.mark.parametrize(
    ("status", "ended", "final"),
    [
        (RUN, Exit(code=0), JobStatus.SUCCEEDED),
        (PAUSE, Exit(code=0), JobStatus.PAUSED),
        (CANCEL, Exit(code=0), JobStatus.CANCELLED),
        (RUN, Exit(code=STOPPED), JobStatus.PAUSED),
        (PAUSE, Exit(code=STOPPED), JobStatus.PAUSED),
        (CANCEL, Exit(code=STOPPED), JobStatus.CANCELLED),
        (RUN, Exit(code=1), JobStatus.FAILED),
        (PAUSE, Exit(code=1), JobStatus.FAILED),
        (CANCEL, Exit(code=1), JobStatus.CANCELLED),
        (RUN, Exit(signal=signal.SIGKILL), JobStatus.FAILED),
        (CANCEL, Exit(signal=signal.SIGKILL), JobStatus.CANCELLED),
        (RUN, None, JobStatus.LOST),
        (PAUSE, None, JobStatus.LOST),
        (CANCEL, None, JobStatus.CANCELLED),
        (RUN, Exit(started=False), JobStatus.QUEUED),
        (PAUSE, Exit(started=False), JobStatus.PAUSED),
        (CANCEL, Exit(started=False), JobStatus.CANCELLED),
    ],
)
def test_status(status: JobStatus, ended: Exit | None, final: JobStatus) -> None:
    assert decide(status, ended, [])[0] is final


@pytest.mark.parametrize(
    ("ended", "lines", "en", "zh"),
    [
        (Exit(signal=9), [], "killed the program (SIGKILL)", "内存不足"),
        (Exit(code=137), [], "killed the program (SIGKILL)", "内存不足"),
        (Exit(signal=11), ["Segmentation fault"], "SIGSEGV", "SIGSEGV"),
        (Exit(code=1), [*TRACE, "MemoryError"], "machine's memory", "内存不足"),
        (
            Exit(code=1),
            [*TRACE, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."],
            "GPU's memory",
            "显存不足",
        ),
        (
            Exit(code=1),
            [*TRACE, "[rank0]: OSError: [Errno 28] No space left on device: 'x'"],
            "disk is full",
            "磁盘已满",
        ),
        (
            Exit(code=1),
            [*TRACE, "FileNotFoundError: [Errno 2] No such file or directory: '/m/model.bin'"],
            "'/m/model.bin' is missing",
            "缺少文件",
        ),
        (Exit(code=1), [*TRACE, "ModuleNotFoundError: No module named 'vllm'"], "“vllm”", "“vllm”"),
        (Exit(code=2), ["noise", "error: The learning rate is too high."], "learning rate", "程序报告"),
        (Exit(code=1), [*TRACE, "ValueError: 两行", "second line"], "ValueError: 两行", "程序出错"),
        (Exit(code=1), [], "code 1 and said nothing", "代码 1"),
        (
            Exit(code=1),
            ["A greeting that says MemoryError and CUDA out of memory", *TRACE, "KeyError: 'x'"],
            "KeyError",
            "KeyError",
        ),
    ],
)
def test_sentence(ended: Exit, lines: list[str], en: str, zh: str) -> None:
    said = explain(ended, lines)
    assert en in said.en
    assert zh in said.zh
    assert "\n" not in said.en + said.zh
