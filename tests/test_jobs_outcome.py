"""From the end of a program to a status and a sentence."""

import signal

import pytest

from backend.core.enums import JobStatus
from backend.jobs.outcome import STOPPED, ProgramExit, decide_status, explain_failure

RUN, PAUSE, CANCEL = JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING

TRACE = ["loading", "Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "    main()"]


@pytest.mark.parametrize(
    ("status", "ended", "final"),
    [
        (RUN, ProgramExit(exit_code=0), JobStatus.SUCCEEDED),
        (PAUSE, ProgramExit(exit_code=0), JobStatus.PAUSED),
        (CANCEL, ProgramExit(exit_code=0), JobStatus.CANCELLED),
        (RUN, ProgramExit(exit_code=STOPPED), JobStatus.PAUSED),
        (PAUSE, ProgramExit(exit_code=STOPPED), JobStatus.PAUSED),
        (CANCEL, ProgramExit(exit_code=STOPPED), JobStatus.CANCELLED),
        (RUN, ProgramExit(exit_code=1), JobStatus.FAILED),
        (PAUSE, ProgramExit(exit_code=1), JobStatus.FAILED),
        (CANCEL, ProgramExit(exit_code=1), JobStatus.CANCELLED),
        (RUN, ProgramExit(signal_number=signal.SIGKILL), JobStatus.FAILED),
        (CANCEL, ProgramExit(signal_number=signal.SIGKILL), JobStatus.CANCELLED),
        (RUN, None, JobStatus.LOST),
        (PAUSE, None, JobStatus.LOST),
        (CANCEL, None, JobStatus.CANCELLED),
        (RUN, ProgramExit(started=False), JobStatus.QUEUED),
        (PAUSE, ProgramExit(started=False), JobStatus.PAUSED),
        (CANCEL, ProgramExit(started=False), JobStatus.CANCELLED),
    ],
)
def test_status(status: JobStatus, ended: ProgramExit | None, final: JobStatus) -> None:
    assert decide_status(status, ended, [])[0] is final


@pytest.mark.parametrize(
    ("ended", "lines", "en", "zh"),
    [
        (ProgramExit(signal_number=9), [], "killed the program (SIGKILL)", "内存不足"),
        (ProgramExit(exit_code=137), [], "killed the program (SIGKILL)", "内存不足"),
        (ProgramExit(signal_number=11), ["Segmentation fault"], "SIGSEGV", "SIGSEGV"),
        (ProgramExit(exit_code=1), [*TRACE, "MemoryError"], "machine's memory", "内存不足"),
        (
            ProgramExit(exit_code=1),
            [*TRACE, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."],
            "GPU's memory",
            "显存不足",
        ),
        (
            ProgramExit(exit_code=1),
            [*TRACE, "[rank0]: OSError: [Errno 28] No space left on device: 'x'"],
            "disk is full",
            "磁盘已满",
        ),
        (
            ProgramExit(exit_code=1),
            [*TRACE, "FileNotFoundError: [Errno 2] No such file or directory: '/m/model.bin'"],
            "'/m/model.bin' is missing",
            "缺少文件",
        ),
        (
            ProgramExit(exit_code=1),
            [*TRACE, "ModuleNotFoundError: No module named 'vllm'"],
            "“vllm”",
            "“vllm”",
        ),
        (
            ProgramExit(exit_code=2),
            ["noise", "error: The learning rate is too high."],
            "learning rate",
            "程序报告",
        ),
        (
            ProgramExit(exit_code=1),
            [*TRACE, "ValueError: 两行", "second line"],
            "ValueError: 两行",
            "程序出错",
        ),
        (ProgramExit(exit_code=1), [], "code 1 and said nothing", "代码 1"),
        (
            ProgramExit(exit_code=1),
            ["A greeting that says MemoryError and CUDA out of memory", *TRACE, "KeyError: 'x'"],
            "KeyError",
            "KeyError",
        ),
    ],
)
def test_sentence(ended: ProgramExit, lines: list[str], en: str, zh: str) -> None:
    said = explain_failure(ended, lines)
    assert en in said.en
    assert zh in said.zh
    assert "\n" not in said.en + said.zh


def launcher_report(*exit_codes: int) -> list[str]:
    """What torch's launcher prints; the first process to fail comes last."""
    elastic = "/lib/torch/distributed/elastic/multiprocessing/api.py:1002]"
    processes = [f"  rank      : 0 (local_rank: 0)\n  exitcode  : {code} (pid: 7) " for code in exit_codes]
    return [
        f"E1130 19:54:48.908000 13065 {elastic} failed (exitcode: {exit_codes[-1]}) local_rank: 0",
        "Traceback (most recent call last):",
        '  File "accelerate/commands/launch.py", line 1404, in launch_command',
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "Failures:",
        *"\n".join(processes[:-1]).splitlines(),
        "Root Cause (first observed failure):",
        *processes[-1].splitlines(),
        "============================================================",
    ]


def test_of_several_processes_the_first_one_tells_what_happened() -> None:
    """Before, a job said “torch.distributed.elastic.multiprocessing.errors.ChildFailedError:” whatever it was."""
    own_words = [
        "Traceback (most recent call last):",
        "[rank1]: Traceback (most recent call last):",
        "[rank1]: KeyError: 3",
    ]
    failed = ProgramExit(exit_code=1)
    assert "KeyError: 3" in explain_failure(failed, [*own_words, *launcher_report(-15, 1)]).en
    assert "SIGKILL" in explain_failure(failed, ["step 3/6 loss 7.6", *launcher_report(1, -9)]).en
    assert "SIGKILL" not in explain_failure(failed, [*own_words, *launcher_report(-9, 1)]).en
