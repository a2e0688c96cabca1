"""Everything that can write greetings: the endpoints people entered and the policies trained here.

    async with await generators.open("artifact:3", "pairs:7", run_budget=budget) as writer:
        written = await writer.write("给奶奶的生日祝福", 8, SamplingSettings(seed=1))

A policy is served by its `serve` job (serving.py): the one that runs is used, else one is started and ends by
itself after a rest. `GreetingWriter` (writer.py) does the asking.
"""

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from backend.core.enums import ArtifactKind, JobStatus
from backend.core.errors import Message, NotFound, UserError
from backend.generation.serving import (
    ARTIFACT_PREFIX,
    PolicyServing,
    ServedAddress,
    check_artifact_files,
    is_answering,
    measure_size,
)
from backend.generation.writer import GreetingWriter, SamplingSettings
from backend.jobs.records import ArtifactInfo, JobInfo
from backend.jobs.service import JobService
from backend.llm.budget import Budget
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.endpoints import EndpointInfo, EndpointService
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import Endpoint, SchemaMode

# A policy that nobody asked for so long ends its server: memory is scarce, and waking takes seconds.
IDLE_MINUTES = 20.0
START_TIMEOUT_S = 180.0
POLL_INTERVAL_S = 0.25
BYTES_PER_MB = 1_000_000
# Trainings that make a policy.
POLICY_PROGRAMS = ("sft", "dpo", "grpo")
# Megabytes that the server takes without a model: Python, torch, transformers.
SERVER_MB = 700


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
    sampling: SamplingSettings
    # Bytes of the model's files; None for an endpoint.
    size: int | None = None
    artifact: int | None = None
    # The job that serves it now.
    job: int | None = None
    # Whether it came with the project.
    is_shipped: bool = False


def is_policy_name(generator_name: str | None) -> bool:
    """Whether a generator of this name was trained here."""
    return generator_name is not None and generator_name.startswith(ARTIFACT_PREFIX)


class GeneratorService:
    """Lists generators, wakes the sleeping ones, and opens writers on them."""

    def __init__(self, endpoints: EndpointService, jobs: JobService, start_timeout_s: float = START_TIMEOUT_S) -> None:
        self._endpoints = endpoints
        self._jobs = jobs
        self._serving = PolicyServing(jobs)
        self._start_timeout_s = start_timeout_s
        self._start_lock = threading.Lock()

    def generators(self) -> list[GeneratorInfo]:
        """Every endpoint, then every policy trained here, the newest first, then the one that came with the project."""
        serving_jobs = self._serving.jobs_by_name()
        policy_artifacts = self._jobs.artifacts(ArtifactKind.POLICY)
        endpoint_generators = [_endpoint_generator(endpoint_info) for endpoint_info in self._endpoints.endpoints()]
        return endpoint_generators + [
            self._artifact_generator(policy_artifact, serving_jobs.get(f"{ARTIFACT_PREFIX}{policy_artifact.id}"))
            for policy_artifact in policy_artifacts
        ]

    def info(self, generator_name: str) -> GeneratorInfo:
        """One of them. Raises NotFound."""
        all_generators = self.generators()
        for generator in all_generators:
            if generator.name == generator_name:
                return generator
        known_names = [generator.name for generator in all_generators]
        raise NotFound(
            f"There is no generator “{generator_name}”; known: {', '.join(known_names) or 'none yet'}.",
            f"没有名为“{generator_name}”的模型，可用的有：{'、'.join(known_names) or '无'}。",
        )

    def usable(self, generator_name: str) -> GeneratorInfo:
        """One of them, if it could write: asked before a run is started. Wakes nothing.

        Raises NotFound where there is none, where it is still being trained or its files are gone, and
        UserError where it would not fit into memory.
        """
        known_names = {generator.name for generator in self.generators()}
        if generator_name not in known_names and is_policy_name(generator_name):
            self._refuse_while_training(generator_name)
        generator = self.info(generator_name)
        if generator.artifact is not None:
            check_artifact_files(
                next(
                    policy_artifact
                    for policy_artifact in self._jobs.artifacts()
                    if policy_artifact.id == generator.artifact
                )
            )
            if generator.readiness is Readiness.ASLEEP:
                self._check_memory(generator)
        return generator

    def start(self, generator_name: str) -> JobInfo | None:
        """Wake a policy: the job that serves it, a new one where none runs; None for an endpoint.

        Raises NotFound, and UserError where it would not fit into memory.
        """
        generator = self.info(generator_name)
        if generator.artifact is None:
            return None
        # Of two visitors who choose a sleeping model at once, the second must find the first one's job, or the
        # memory would be checked twice and filled twice.
        with self._start_lock:
            if (serving_job := self._serving.find_job(generator.artifact)) is not None:
                return serving_job
            self._check_memory(generator)
            return self._serving.start_or_join(generator.artifact, IDLE_MINUTES)

    def wake_starter(self) -> GeneratorInfo | None:
        """Wake the starter that came with the project, where it sleeps and nothing else can write; None elsewhere.

        Whoever opens the page finds it awake by the time that a request is written. Raises what `start` raises.
        """
        usable_generators = [generator for generator in self.generators() if generator.readiness is not Readiness.GONE]
        if len(usable_generators) != 1:
            return None
        (only_generator,) = usable_generators
        if not only_generator.is_shipped or only_generator.readiness is not Readiness.ASLEEP:
            return None
        self.start(only_generator.name)
        return self.info(only_generator.name)

    def stop(self, generator_name: str) -> None:
        """Let a policy rest: end the job that serves it. Harmless where none runs. Raises NotFound."""
        if (artifact_id := self.info(generator_name).artifact) is not None:
            self._serving.stop(artifact_id)

    async def resolve(self, generator_name: str, timeout_s: float | None = None) -> Endpoint:
        """The endpoint behind a name, answering: a policy is woken and waited for.

        Raises NotFound, and UserError where it does not fit, fails to start, or takes more than `timeout_s` seconds.
        """
        generator = await asyncio.to_thread(self.info, generator_name)
        if generator.artifact is None:
            return await asyncio.to_thread(self._endpoints.get, generator_name)
        deadline = time.monotonic() + (self._start_timeout_s if timeout_s is None else timeout_s)
        serve_job = await asyncio.to_thread(self.start, generator_name)
        while serve_job is not None:
            server_address = await asyncio.to_thread(self._serving.find_address, serve_job.id)
            if server_address is not None and await is_answering(server_address):
                return _artifact_endpoint(generator_name, server_address)
            serve_job = await asyncio.to_thread(self._jobs.job, serve_job.id)
            if serve_job.ended and (serve_job.error is not None or serve_job.status is not JobStatus.SUCCEEDED):
                raise _start_failure(generator, serve_job)
            if time.monotonic() > deadline:
                raise _start_timeout(generator, serve_job)
            # It went to rest between two looks: whoever asked for it just now wants it awake.
            if serve_job.ended:
                serve_job = await asyncio.to_thread(self.start, generator_name)
            await asyncio.sleep(POLL_INTERVAL_S)
        raise _stopped_error(generator)

    async def open(
        self,
        generator_name: str,
        ledger_scope: str,
        *,
        run_budget: Budget | None = None,
        retry_policy: RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> GreetingWriter:
        """A writer for one run; `ledger_scope` marks its calls in the ledger. Raises what `resolve` raises."""
        endpoint = await self.resolve(generator_name, timeout_s)
        generator = await asyncio.to_thread(self.info, generator_name)
        llm_client = self._endpoints.client(endpoint, ledger_scope, budget=run_budget, policy=retry_policy)
        fence_key = self._endpoints.fence_key()
        return GreetingWriter(
            generator_name,
            llm_client,
            generator.sampling,
            fence_key,
            trained=generator.kind is GeneratorKind.ARTIFACT,
            model_name=generator.model,
        )

    def writer_pool(self, retry_policy: RetryPolicy | None = None) -> "WriterPool":
        """For a run that asks several generators."""
        return WriterPool(self, self._endpoints.ledger, retry_policy)

    def _artifact_generator(self, policy_artifact: ArtifactInfo, serve_job: JobInfo | None) -> GeneratorInfo:
        if not policy_artifact.path.is_dir():
            readiness = Readiness.GONE
        elif serve_job is None:
            readiness = Readiness.ASLEEP
        else:
            has_address = self._serving.find_address(serve_job.id) is not None
            readiness = Readiness.READY if has_address and not _is_stopping(serve_job) else Readiness.STARTING
        return GeneratorInfo(
            name=f"{ARTIFACT_PREFIX}{policy_artifact.id}",
            kind=GeneratorKind.ARTIFACT,
            title=f"{policy_artifact.name} #{policy_artifact.id}",
            model=policy_artifact.name,
            readiness=readiness,
            sampling=_default_sampling(policy_artifact.path),
            size=measure_size(policy_artifact.path),
            artifact=policy_artifact.id,
            job=serve_job.id if serve_job else None,
            is_shipped=policy_artifact.is_shipped,
        )

    def _refuse_while_training(self, generator_name: str) -> None:
        """Raises NotFound that names the training under way, where there is one."""
        policy_trainings = [job for program in POLICY_PROGRAMS for job in self._jobs.jobs(job_kind=program)]
        active_trainings = [job for job in policy_trainings if not job.ended]
        if not active_trainings:
            return
        newest_training = max(active_trainings, key=lambda job: job.id)
        raise NotFound(
            f"There is no trained model “{generator_name}” yet; job {newest_training.id} is still training one, "
            "which gets its number when it is done.",
            f"还没有训练好的模型“{generator_name}”；任务 {newest_training.id} 仍在训练，完成后才有编号。",
        )

    def _check_memory(self, generator: GeneratorInfo) -> None:
        needed_mb = SERVER_MB + round(1.3 * (generator.size or 0) / BYTES_PER_MB)
        free_mb = psutil.virtual_memory().available // BYTES_PER_MB
        if needed_mb > free_mb:
            raise UserError(
                f"{generator.title} needs about {needed_mb} MB of memory, {free_mb} MB are free; stop another first.",
                f"启动 {generator.title} 约需 {needed_mb} MB 内存，现在只剩 {free_mb} MB，请先停掉别的模型。",
            )


class WriterPool:
    """The writers of one run that asks several generators, in one event loop. Close it.

    A policy is woken by a serve job, which is left to its rest timer: visitors or the next chunk may use it.
    """

    def __init__(self, generators: GeneratorService, ledger: DatabaseLedger, retry_policy: RetryPolicy | None) -> None:
        self._generators, self._ledger, self._retry_policy = generators, ledger, retry_policy
        self._opened_writers: list[GreetingWriter] = []

    async def open(
        self, generator_names: Sequence[str], ledger_scope: str, run_budget: Budget
    ) -> Mapping[str, GreetingWriter]:
        """Ready writers by name of generator. Raises what `GeneratorService.resolve` raises."""
        # One after the other: each start looks at the memory that is free, which a model still loading has not taken.
        for generator_name in generator_names:
            greeting_writer = await self._generators.open(
                generator_name, ledger_scope, run_budget=run_budget, retry_policy=self._retry_policy
            )
            self._opened_writers.append(greeting_writer)
        return {greeting_writer.name: greeting_writer for greeting_writer in self._opened_writers}

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for opened_writer in self._opened_writers:
            opened_writer.client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for opened_writer in self._opened_writers:
            await opened_writer.close()
        self._ledger.flush()


def _is_stopping(serve_job: JobInfo) -> bool:
    return serve_job.status is JobStatus.CANCELLING


def _endpoint_generator(endpoint_info: EndpointInfo) -> GeneratorInfo:
    return GeneratorInfo(
        name=endpoint_info.name,
        kind=GeneratorKind.ENDPOINT,
        title=endpoint_info.name,
        model=endpoint_info.model,
        readiness=Readiness.READY,
        sampling=SamplingSettings(),
    )


def _default_sampling(model_folder: Path) -> SamplingSettings:
    """The defaults that lie beside the model, as far as they are there and make sense."""
    try:
        stored_settings: Any = json.loads((model_folder / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        stored_settings = {}
    # Cooler and shorter than an endpoint's: enough for the greetings that a policy learns from here.
    usual_sampling = SamplingSettings(temperature=0.8, max_tokens=160)
    return SamplingSettings(
        temperature=_number_within(stored_settings.get("temperature"), 0.0, 2.0, usual_sampling.temperature),
        top_p=_number_within(stored_settings.get("top_p"), 0.01, 1.0, usual_sampling.top_p),
        max_tokens=usual_sampling.max_tokens,
    )


def _number_within(raw_number: object, lower_limit: float, upper_limit: float, default_number: float) -> float:
    return (
        float(raw_number)
        if isinstance(raw_number, int | float) and lower_limit <= raw_number <= upper_limit
        else default_number
    )


def _artifact_endpoint(generator_name: str, server_address: ServedAddress) -> Endpoint:
    # `transformers serve` writes one reply after the other, and sets a seed when a request comes, not when
    # its turn does: one call at a time costs nothing there and keeps seeds true.
    return Endpoint(
        name=generator_name,
        base_url=server_address.base_url,
        model=server_address.model_name,
        concurrency=1,
        timeout_s=120.0,
        supports_schema=SchemaMode.NO,
        artifact=generator_name,
    )


def _start_failure(generator: GeneratorInfo, serve_job: JobInfo) -> UserError:
    reason = serve_job.error or Message(f"its job {serve_job.id} was stopped", f"任务 {serve_job.id} 已被停止")
    return UserError(f"{generator.title} did not start: {reason.en}", f"{generator.title} 未能启动：{reason.zh}")


def _start_timeout(generator: GeneratorInfo, serve_job: JobInfo) -> UserError:
    reason = serve_job.waiting or Message(f"see job {serve_job.id}.", f"详情见任务 {serve_job.id}。")
    return UserError(
        f"{generator.title} takes too long to start: {reason.en}",
        f"{generator.title} 启动太慢，没有等到：{reason.zh}",
    )


def _stopped_error(generator: GeneratorInfo) -> UserError:
    return UserError(f"{generator.title} was stopped; try again.", f"{generator.title} 已被停止，请重试。")
