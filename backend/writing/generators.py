"""Everything that can write greetings: the endpoints people entered and the policies trained here.

    async with await generators.open("artifact:3", scope="pairs:7", budget=budget) as writer:
        written = await writer.write("给奶奶的生日祝福", n=8, sampling=Sampling(seed=1))

An artifact is served by its `serve` job: the one that runs is used, else one is started and ends by itself
after a rest. `Writer` (writer.py) does the asking.
"""

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from backend.errors import Conflict, Message, NotFound, UserError
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.jobs.vocabulary import ArtifactKind, JobStatus
from backend.llm.budget import Budget
from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointInfo, EndpointService
from backend.training_runs.checks import check_there
from backend.training_runs.config import ARTIFACT
from backend.training_runs.service import Address, TrainingService, size_of
from backend.writing.writer import Sampling, Writer

IDLE_MINUTES = 20.0
WAIT_S = 180.0
POLL_S = 0.25
MB = 1_000_000
POLICIES = ("sft", "grpo")
"""Trainings that make a policy."""
SERVER_MB = 700
"""What the server takes without a model: Python, torch, transformers."""


class GeneratorKind(StrEnum):
    """Where a generator comes from."""

    ENDPOINT = "endpoint"
    ARTIFACT = "artifact"


class Readiness(StrEnum):
    """Whether a generator can write at once."""

    READY = "ready"
    STARTING = "starting"
    ASLEEP = "asleep"  # choosing it starts it
    GONE = "gone"  # its files are not there any more


@dataclass(frozen=True)
class GeneratorInfo:
    """A generator as pages and commands show it. `name` is what every other call takes."""

    name: str
    kind: GeneratorKind
    title: str
    model: str
    readiness: Readiness
    sampling: Sampling
    size: int | None = None
    """Bytes of the model's files; None for an endpoint."""
    artifact: int | None = None
    job: int | None = None
    """The job that serves it now."""


def is_policy(name: str | None) -> bool:
    """Whether a generator of this name was trained here."""
    return name is not None and name.startswith(ARTIFACT)


class GeneratorService:
    """Lists generators, wakes the sleeping ones, and opens writers on them."""

    def __init__(self, endpoints: EndpointService, jobs: JobService, wait_s: float = WAIT_S) -> None:
        self._endpoints = endpoints
        self._jobs = jobs
        self._trainings = TrainingService(jobs)
        self._wait_s = wait_s
        self._starting = threading.Lock()

    def generators(self) -> list[GeneratorInfo]:
        """Every endpoint, then every trained policy, the newest first."""
        serving = _serving(self._jobs)
        policies = self._jobs.artifacts(ArtifactKind.POLICY)
        found = [_of_endpoint(info) for info in self._endpoints.endpoints()]
        return found + [self._of_artifact(made, serving.get(f"{ARTIFACT}{made.id}")) for made in policies]

    def info(self, name: str) -> GeneratorInfo:
        """One of them. Raises NotFound."""
        found = self.generators()
        for info in found:
            if info.name == name:
                return info
        known = ", ".join(info.name for info in found) or "none yet"
        raise NotFound(
            f"There is no generator “{name}”; known: {known}.",
            f"没有名为“{name}”的模型，可用的有：{'、'.join(info.name for info in found) or '无'}。",
        )

    def usable(self, name: str) -> GeneratorInfo:
        """One of them, if it could write: asked before a run is started. Wakes nothing.

        Raises NotFound where there is none, where it is still being trained or its files are gone, and
        UserError where it would not fit into memory.
        """
        training = next(
            (job for job in self._trainings.jobs() if job.kind in POLICIES and not job.ended), None
        )
        known = {info.name for info in self.generators()}
        if name not in known and name.startswith(ARTIFACT) and training is not None:
            raise NotFound(
                f"There is no trained model “{name}” yet; job {training.id} is still training one, "
                "which gets its number when it is done.",
                f"还没有训练好的模型“{name}”；任务 {training.id} 仍在训练，完成后才有编号。",
            )
        info = self.info(name)
        if info.artifact is not None:
            check_there(next(made for made in self._jobs.artifacts() if made.id == info.artifact))
            if info.readiness is Readiness.ASLEEP:
                self._check_memory(info)
        return info

    def start(self, name: str) -> JobInfo | None:
        """Wake a policy: the job that serves it, a new one where none runs; None for an endpoint.

        Raises NotFound, and UserError where it would not fit into memory.
        """
        info = self.info(name)
        if info.artifact is None:
            return None
        with self._starting:
            if (running := self._trainings.serving(info.artifact)) is not None:
                return running
            self._check_memory(info)
            try:
                mine = self._trainings.serve(info.artifact, idle_minutes=IDLE_MINUTES)
            except Conflict:
                return self._trainings.serving(info.artifact)
        return self._only(info.artifact, mine)

    def stop(self, name: str) -> None:
        """Let a policy rest: end the job that serves it. Harmless where none runs. Raises NotFound."""
        artifact = self.info(name).artifact
        if artifact is not None and (running := self._trainings.serving(artifact)) is not None:
            self._trainings.cancel(running.id)

    async def resolve(self, name: str, wait_s: float | None = None) -> Endpoint:
        """The endpoint behind a name, answering: a policy is woken and waited for.

        Raises NotFound, and UserError where it does not fit, fails to start, or takes more than `wait_s`.
        """
        info = await asyncio.to_thread(self.info, name)
        if info.artifact is None:
            return await asyncio.to_thread(self._endpoints.get, name)
        until = time.monotonic() + (self._wait_s if wait_s is None else wait_s)
        job = await asyncio.to_thread(self.start, name)
        while job is not None:
            address = await asyncio.to_thread(self._trainings.address, job.id)
            if address is not None and await _answers(address):
                return _endpoint(name, address)
            job = await asyncio.to_thread(self._trainings.job, job.id)
            if job.ended and (job.error is not None or job.status is not JobStatus.SUCCEEDED):
                raise _failed(info, job)
            if time.monotonic() > until:
                raise _late(info, job)
            if job.ended:  # it went to rest just now
                job = await asyncio.to_thread(self.start, name)
            await asyncio.sleep(POLL_S)
        raise _gone(info)

    async def open(
        self,
        name: str,
        scope: str,
        *,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
        wait_s: float | None = None,
    ) -> Writer:
        """A writer for one run (`scope` marks its calls in the ledger). Raises what `resolve` raises."""
        endpoint = await self.resolve(name, wait_s)
        info = await asyncio.to_thread(self.info, name)
        client = self._endpoints.client(endpoint, scope, budget=budget, policy=policy)
        key = self._endpoints.fence_key()
        return Writer(name, client, info.sampling, key, trained=info.kind is GeneratorKind.ARTIFACT)

    def _of_artifact(self, made: ArtifactInfo, job: JobInfo | None) -> GeneratorInfo:
        if not made.path.is_dir():
            readiness = Readiness.GONE
        elif job is None:
            readiness = Readiness.ASLEEP
        else:
            answered = self._trainings.address(job.id) is not None
            readiness = Readiness.READY if answered and not _stopping(job) else Readiness.STARTING
        return GeneratorInfo(
            name=f"{ARTIFACT}{made.id}",
            kind=GeneratorKind.ARTIFACT,
            title=f"{made.name} #{made.id}",
            model=made.name,
            readiness=readiness,
            sampling=_sampling_of(made.path),
            size=size_of(made.path),
            artifact=made.id,
            job=job.id if job else None,
        )

    def _only(self, artifact: int, mine: JobInfo) -> JobInfo:
        """Of two processes that started the same model at once the earlier job stays."""
        wish = f"{ARTIFACT}{artifact}"
        running = [job for job in self._jobs.jobs(kind="serve") if not job.ended]
        first = min((job for job in running if job.config.get("artifact") == wish), key=lambda job: job.id)
        if first.id != mine.id:
            self._jobs.cancel(mine.id)
        return first

    def _check_memory(self, info: GeneratorInfo) -> None:
        needed = SERVER_MB + round(1.3 * (info.size or 0) / MB)
        free = psutil.virtual_memory().available // MB
        if needed > free:
            raise UserError(
                f"{info.title} needs about {needed} MB of memory, {free} MB are free; stop another first.",
                f"启动 {info.title} 约需 {needed} MB 内存，现在只剩 {free} MB，请先停掉别的模型。",
            )


def _serving(jobs: JobService) -> dict[str, JobInfo]:
    running = [job for job in jobs.jobs(kind="serve") if not job.ended]
    return {str(job.config.get("artifact", "")): job for job in running}


def _stopping(job: JobInfo) -> bool:
    return job.status is JobStatus.CANCELLING


def _of_endpoint(info: EndpointInfo) -> GeneratorInfo:
    return GeneratorInfo(
        name=info.name,
        kind=GeneratorKind.ENDPOINT,
        title=info.name,
        model=info.model,
        readiness=Readiness.READY,
        sampling=Sampling(),
    )


def _sampling_of(folder: Path) -> Sampling:
    """The defaults that lie beside the model, as far as they are there and make sense."""
    try:
        told: Any = json.loads((folder / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        told = {}
    usual = Sampling(temperature=0.8, max_tokens=160)
    return Sampling(
        temperature=_number(told.get("temperature"), 0.0, 2.0, usual.temperature),
        top_p=_number(told.get("top_p"), 0.01, 1.0, usual.top_p),
        max_tokens=usual.max_tokens,
    )


def _number(value: object, low: float, high: float, default: float) -> float:
    return float(value) if isinstance(value, int | float) and low <= value <= high else default


def _endpoint(name: str, address: Address) -> Endpoint:
    # `transformers serve` writes one reply after the other, and sets a seed when a request comes, not when
    # its turn does: one call at a time costs nothing there and keeps seeds true.
    return Endpoint(
        name=name,
        base_url=address.base_url,
        model=address.model,
        concurrency=1,
        timeout_s=120.0,
        supports_schema=SchemaMode.NO,
        artifact=name,
    )


async def _answers(address: Address) -> bool:
    import httpx2  # a slow import, kept off every start

    url = address.base_url.removesuffix("/v1") + "/health"
    try:
        # The status says it all: whatever listens there, its body is not read.
        async with (
            asyncio.timeout(2.0),
            httpx2.AsyncClient(trust_env=False) as client,
            client.stream("GET", url) as response,
        ):
            return response.status_code == 200
    except (httpx2.HTTPError, TimeoutError):
        return False


def _failed(info: GeneratorInfo, job: JobInfo) -> UserError:
    why = job.error or Message(f"its job {job.id} was stopped", f"任务 {job.id} 已被停止")
    return UserError(f"{info.title} did not start: {why.en}", f"{info.title} 未能启动：{why.zh}")


def _late(info: GeneratorInfo, job: JobInfo) -> UserError:
    why = job.waiting or Message(f"see job {job.id}.", f"详情见任务 {job.id}。")
    return UserError(
        f"{info.title} takes too long to start: {why.en}", f"{info.title} 启动太慢，没有等到：{why.zh}"
    )


def _gone(info: GeneratorInfo) -> UserError:
    return UserError(f"{info.title} was stopped; try again.", f"{info.title} 已被停止，请重试。")
