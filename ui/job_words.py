"""How a background job stands, as every page shows it: sign, word and colour, and how far it is."""

from backend.jobs.records import JobInfo
from backend.jobs.seat import Playing
from backend.jobs.vocabulary import JobStatus
from ui import widgets
from ui.say import Say

STATUS = {
    JobStatus.QUEUED: ("排队中", "queued"),
    JobStatus.RUNNING: ("进行中", "running"),
    JobStatus.PAUSING: ("正在暂停", "pausing"),
    JobStatus.PAUSED: ("已暂停", "paused"),
    JobStatus.CANCELLING: ("正在取消", "cancelling"),
    JobStatus.CANCELLED: ("已取消", "cancelled"),
    JobStatus.FAILED: ("出错", "failed"),
    JobStatus.SUCCEEDED: ("完成", "done"),
    JobStatus.LOST: ("失联", "lost"),
}
_PILL = {
    JobStatus.QUEUED: ("wait", "◷"),
    JobStatus.RUNNING: ("run", "▶"),
    JobStatus.PAUSING: ("wait", "◷"),
    JobStatus.PAUSED: ("wait", "‖"),
    JobStatus.CANCELLING: ("wait", "◷"),
    JobStatus.CANCELLED: ("off", "■"),
    JobStatus.FAILED: ("bad", "✕"),
    JobStatus.SUCCEEDED: ("good", "✓"),
    JobStatus.LOST: ("bad", "?"),
}


def pill(say: Say, status: JobStatus) -> str:
    """A status as sign, word and colour."""
    return widgets.pill(*_PILL[status], say(*STATUS[status]))


def by_command(say: Say, who: Playing) -> str:
    """Who plays a run that no job plays."""
    where = say(f"主机 {who.host}，进程 {who.pid}", f"process {who.pid} on {who.host}")
    if who.stopping:
        return widgets.note(
            say(
                f"由命令行进行（{where}），正在暂停：手上的调用完成后就停。",
                f"Played by a command ({where}) that is pausing: it stops after the calls in flight.",
            )
        )
    return widgets.note(
        say(
            f"由命令行进行（{where}），这里可以看、可以暂停。",
            f"Played by a command ({where}); watch it here, or pause it.",
        )
    )


def bar(job: JobInfo) -> str:
    """How far a job is."""
    return share_bar(job.progress)


def share_bar(done: float) -> str:
    """How far something is, 0 to 1."""
    share = f"{done:.0%}"
    return f'<progress max="1" value="{done:.4f}" aria-label="{share}">{share}</progress> {share}'
