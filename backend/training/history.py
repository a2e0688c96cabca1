"""What a job reported so far, kept in memory so that a page that polls reads only what is new."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.core.enums import EventKind, EventLevel
from backend.jobs.messages import JobMessage
from backend.jobs.records import JobEventInfo
from backend.jobs.service import JobService

PAGE_SIZE = 2000
MAX_JOBS = 16
MAX_SAMPLES = 400
MAX_MESSAGES = 200
_EVENT_KINDS = (EventKind.METRIC, EventKind.SAMPLE, EventKind.LOG)

Curve = Mapping[int, float]


@dataclass(frozen=True)
class SampleText:
    """What the model wrote for a fixed request at a step."""

    step: int
    prompt: str
    text: str


@dataclass
class JobHistory:
    """Curves by metric (step → value), samples and messages of one job, oldest first."""

    last_event_id: int = 0
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    samples: list[SampleText] = field(default_factory=list)
    messages: list[JobMessage] = field(default_factory=list)

    def newest_value(self, metric_name: str) -> float | None:
        """The value of a metric at its last step."""
        curve = self.metrics.get(metric_name)
        return curve[max(curve)] if curve else None

    @property
    def remarks(self) -> list[JobMessage]:
        """What somebody should look at, each message once: warnings, why a run was stopped, lines without a level.

        Programs of earlier versions stored their warnings among plain lines without a level, so all of those are
        here rather than none.
        """
        return [
            message
            for message in dict.fromkeys(self.messages)
            if message.level is not EventLevel.INFO or not message.code
        ]

    def copy(self) -> "JobHistory":
        """As it stands now; nobody adds to the copy."""
        curves = {metric_name: dict(curve) for metric_name, curve in self.metrics.items()}
        return JobHistory(self.last_event_id, curves, list(self.samples), list(self.messages))

    def add_event(self, event: JobEventInfo) -> None:
        """Add one event. Steps that come again after a resume replace those before."""
        self.last_event_id = event.id
        if event.kind is EventKind.LOG:
            self.messages = [*self.messages, JobMessage.from_data(event.data)][-MAX_MESSAGES:]
        elif event.kind is EventKind.SAMPLE:
            new_sample = SampleText(event.step or 0, str(event.data.get("prompt")), str(event.data.get("text")))
            # A resumed training writes the samples after its checkpoint anew.
            other_samples = [
                earlier_sample
                for earlier_sample in self.samples
                if (earlier_sample.step, earlier_sample.prompt) != (new_sample.step, new_sample.prompt)
            ]
            self.samples = [*other_samples, new_sample][-MAX_SAMPLES:]
        else:
            for metric_name, metric_value in event.data.items():
                if metric_value is not None and event.step is not None:
                    self.metrics.setdefault(metric_name, {})[event.step] = float(metric_value)


class HistoryCache:
    """Histories of the jobs looked at lately."""

    def __init__(self, job_service: JobService) -> None:
        self._job_service = job_service
        self._lock = threading.Lock()
        self._histories: OrderedDict[int, JobHistory] = OrderedDict()

    def load_history(self, job_id: int) -> JobHistory:
        """The history up to now."""
        # Two visitors who look at one job at a time would add each event twice.
        with self._lock:
            history = self._histories.setdefault(job_id, JobHistory())
            self._histories.move_to_end(job_id)
            # Histories of long trainings take megabytes each, and every visitor may look at every job.
            while len(self._histories) > MAX_JOBS:
                self._histories.popitem(last=False)
            while True:
                events = self._job_service.events(job_id, history.last_event_id, _EVENT_KINDS, PAGE_SIZE)
                for event in events:
                    history.add_event(event)
                if len(events) < PAGE_SIZE:
                    # A copy, since a page renders it while the next look of another page adds to it.
                    return history.copy()


def thin_curve(curve: Curve, max_points: int = 300) -> list[tuple[int, float]]:
    """The curve with at most `max_points` points, always with its first and last."""
    steps = sorted(curve)
    if len(steps) > max_points:
        steps = [steps[round(point_index * (len(steps) - 1) / (max_points - 1))] for point_index in range(max_points)]
    return [(step, curve[step]) for step in steps]
