"""What a job said so far, kept in memory so that a page that polls reads only what is new."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.jobs.records import JobEventInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import EventKind

PAGE = 2000
MOST_JOBS = 16
MOST_SAMPLES = 400
MOST_LINES = 200
_KINDS = (EventKind.METRIC, EventKind.SAMPLE, EventKind.LOG)

Curve = Mapping[int, float]


@dataclass(frozen=True)
class SampleText:
    """What the model wrote for a fixed request at a step."""

    step: int
    prompt: str
    text: str


@dataclass
class History:
    """Curves by metric, samples and lines of one job, oldest first."""

    last: int = 0
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    samples: list[SampleText] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def newest(self, name: str) -> float | None:
        """The value of a metric at its last step."""
        curve = self.metrics.get(name)
        return curve[max(curve)] if curve else None

    def copy(self) -> "History":
        """As it stands now; nobody adds to the copy."""
        curves = {name: dict(curve) for name, curve in self.metrics.items()}
        return History(self.last, curves, list(self.samples), list(self.lines))

    def take(self, event: JobEventInfo) -> None:
        """Add one event. Steps that come again after a resume replace those before."""
        self.last = event.id
        if event.kind is EventKind.LOG:
            self.lines = [*self.lines, str(event.data.get("text", ""))][-MOST_LINES:]
        elif event.kind is EventKind.SAMPLE:
            said = SampleText(event.step or 0, str(event.data.get("prompt")), str(event.data.get("text")))
            kept = [old for old in self.samples if (old.step, old.prompt) != (said.step, said.prompt)]
            self.samples = [*kept, said][-MOST_SAMPLES:]
        else:
            for name, value in event.data.items():
                if value is not None and event.step is not None:
                    self.metrics.setdefault(name, {})[event.step] = float(value)


class Histories:
    """Histories of the jobs looked at lately."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, History] = OrderedDict()

    def of(self, job_id: int) -> History:
        """The history up to now."""
        with self._lock:
            history = self._kept.setdefault(job_id, History())
            self._kept.move_to_end(job_id)
            while len(self._kept) > MOST_JOBS:
                self._kept.popitem(last=False)
            while True:
                events = self._jobs.events(job_id, history.last, _KINDS, PAGE)
                for event in events:
                    history.take(event)
                if len(events) < PAGE:
                    return history.copy()


def thinned(curve: Curve, most: int = 300) -> list[tuple[int, float]]:
    """The curve with at most `most` points, always with its first and last."""
    steps = sorted(curve)
    if len(steps) > most:
        steps = [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]
    return [(step, curve[step]) for step in steps]
