"""How a background job stands, as every page shows it: sign, word and colour, and how far it is."""

from markupsafe import Markup

from backend.core.enums import JobStatus
from backend.jobs.records import JobInfo
from backend.runs.hold import RunHolder
from ui.components import widgets
from ui.components.language import Translator
from ui.components.templates import render_part

STATUS_NAMES = {
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
# A sign beside each colour: whoever does not tell red from green reads the state all the same.
_STATUS_PILLS = {
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


def status_pill(translate: Translator, job_status: JobStatus) -> Markup:
    """A status as sign, word and colour."""
    return widgets.pill_html(*_STATUS_PILLS[job_status], translate(*STATUS_NAMES[job_status]))


def command_run_note(translate: Translator, run_holder: RunHolder) -> Markup:
    """Who plays a run in the foreground, and what can be done about it from here."""
    process_text = translate(
        f"主机 {run_holder.host}，进程 {run_holder.pid}", f"process {run_holder.pid} on {run_holder.host}"
    )
    if run_holder.stopping:
        return widgets.note(
            translate(
                f"由命令行进行（{process_text}），正在暂停：手上的调用完成后就停。",
                f"Played by a command ({process_text}) that is pausing: it stops after the calls in flight.",
            )
        )
    return widgets.note(
        translate(
            f"由命令行进行（{process_text}），这里可以看、可以暂停。",
            f"Played by a command ({process_text}); watch it here, or pause it.",
        )
    )


def job_progress_bar(job: JobInfo) -> Markup:
    """How far a job is."""
    return progress_bar(job.progress)


def progress_bar(fraction: float) -> Markup:
    """How far something is, 0 to 1."""
    return render_part("progress", f"{fraction:.4f}", f"{fraction:.0%}")
