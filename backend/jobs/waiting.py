"""Why a queued job has not started."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from backend.db.job_tables import Job
from backend.errors import Message
from backend.jobs.records import WorkerInfo
from backend.jobs.vocabulary import JobStatus


def explain_predecessor(session: Session, job: Job) -> Message | None:
    """One sentence where another job has to succeed first."""
    predecessor = session.get(Job, job.after_id) if job.after_id else None
    if predecessor is None or predecessor.status is JobStatus.SUCCEEDED:
        return None
    return Message(f"Waits until job {predecessor.id} has succeeded.", f"等任务 {predecessor.id} 完成后开始。")


def explain_waiting(slot_count: int, workers: Sequence[WorkerInfo]) -> Message:
    """One sentence, from what the living workers offer."""
    if not workers:
        return Message(
            "No worker is running; start the application or `python -m backend worker`.",
            "没有正在运行的工作进程，请启动应用或运行 `python -m backend worker`。",
        )
    largest_slot_count = max(len(worker.devices) for worker in workers)
    if slot_count > largest_slot_count:
        return Message(
            f"The job wants {slot_count} slots, the largest worker has {largest_slot_count}; submit it with fewer.",
            f"任务需要 {slot_count} 个算力槽，最大的工作进程只有 {largest_slot_count} 个，请减少后重新提交。",
        )
    return Message("Waiting for its turn.", "正在排队。")
