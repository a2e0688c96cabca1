"""The game in its house: stored, resumed, capped, replayed, published; against the fake server."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import func, select

from backend.core.enums import Agent, DecisionReason, EventKind, GamePhase, JobStatus, Proposer, Role, RunState
from backend.core.errors import Conflict, NotFound, UserError
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.db.llm_tables import LLMCall
from backend.judges.base import JudgeKind, JudgeSpec, Judgment, Sample
from backend.llm.endpoints import EndpointInput
from backend.llm.limiter import RetryPolicy
from backend.principles import store
from backend.principles.archive import EarlierVersion
from backend.principles.records import RunInfo
from backend.principles.service import GAME_RUN_KIND
from backend.principles.store import DatabaseGameRecord
from backend.runs.hold import STALE_AFTER_S, HeldElsewhere
from backend.runs.service import RunService
from backend.services import Services
from tests.job_helpers import ended, members, sweep, until, worker
from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import REPLY, request, told, world_house
from tests.principles_world import first_detector, first_generator

pytestmark = pytest.mark.database
TINY = {"rounds": 1, "labelled": 6, "attacks": 3, "gate": 24, "locked": 12}
MIXED = "tests.principles_world:serve_mixed"
ROUND = [phase for phase in GamePhase if phase not in (GamePhase.START, GamePhase.REWRITE, GamePhase.LOCKED)]
PLAYED = ["0.start", *(f"1.{phase}" for phase in ROUND), "0.rewrite", "0.locked"]
"""A run of one round that goes through every phase there is."""


def played(services: Services, **changes: object) -> RunInfo:
    """A small run from start to end."""
    return services.evolution.play(services.evolution.create(request(**changes)).id)


def asked(fake: FakeLLM) -> int:
    return sum(fake.state()["asked"].values())


def test_a_run_is_stored_replayed_published_and_scores_identically(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution, archive = services.evolution, services.evolution.archive
        info = played(services)
        assert info.state is RunState.DONE and info.rounds == 2 and info.accepted >= 1
        versions = archive.versions(info.id)
        accepted = [one for one in versions if one.accepted and one.why is DecisionReason.BETTER]
        assert len(versions) == info.accepted + info.rejected + 3, "two beginnings, one rewriting"
        assert all(one.parent is not None and one.why is not None for one in versions[2:])
        assert all(one.calls > 0 for one in accepted) and all(one.score for one in accepted if one.score)
        rows = {row["name"]: row for row in info.locked["rows"]} if info.locked else {}
        assert set(rows) == {"start", "rewrite", "best", "length"}
        assert {"kappa", "auc", "matched_auc"} <= set(rows["best"])
        assert archive.current(Role.DETECTOR) == info.best == accepted[-1].id or accepted[-1].role is Role.GENERATOR

        fake_llm.script(reply="chatter")
        again = evolution.replay(info.id)
        assert again.same and again.steps == len(evolution.steps(info.id)) and asked(fake_llm) == 0

        best = info.best or 0
        judge = archive.publish(best, "好裁判")
        gate = next(step.data for step in evolution.steps(info.id) if step.phase == GamePhase.GATE_D)
        assert judge.kind is JudgeKind.PRINCIPLE and judge.spec is not None
        with services.database.read() as session:
            from backend.principles.dealing import read_partitions
            from backend.principles.store import require_run

            deal = read_partitions(session, require_run(session, info.id).labels)
        drafts = [services.scoring.judge_sample(judge.spec, Sample(one.prompt, one.greeting)) for one in deal.gate[:12]]
        values = [draft.value for draft in drafts if isinstance(draft, Judgment)]
        assert values == gate["values"][:12] and asked(fake_llm) == 0, "the same calls, out of the ledger"


def test_a_budget_that_ends_in_mid_round_and_a_higher_one_that_goes_on(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        calls = 100
        info = played(services, **TINY, seed=3, max_calls=calls // 2)
        assert info.state is RunState.BUDGET and info.error is not None and "budget" in info.error.en
        assert info.calls <= calls // 2 and info.locked is None
        said = fake_llm.state()
        with services.database.read() as session:
            stood = session.scalars(select(LLMCall.error)).all()
        assert len(stood) == info.calls == sum(said["asked"].values()) == sum(said["answered"].values())
        assert set(stood) == {None}, "what was in flight when the budget ended came to its end"
        assert services.evolution.play(info.id).state is RunState.BUDGET, "without a higher cap nothing goes on"
        services.evolution.raise_caps(info.id, max_calls=10 * calls)
        final = services.evolution.play(info.id)
        assert final.state is RunState.DONE and final.error is None
        assert services.evolution.replay(info.id).same


def test_an_endpoint_that_dies_in_mid_round_concludes_nothing(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution = services.evolution
        evolution._retry_policy = RetryPolicy(attempts=1)
        run = evolution.create(request(**TINY)).id
        steps: list[int] = []

        def dies(info: RunInfo) -> None:
            if len(evolution.steps(run)) >= 3 and not steps:
                steps.append(len(evolution.steps(run)))
                fake_llm.script(reply=REPLY, faults={"server_error": 1.0})

        fake_llm.script(reply=REPLY, latency_s=0.05)
        with pytest.raises(UserError, match="endpoint"):
            evolution.play(run, dies)
        broken = evolution.run(run)
        assert broken.state is RunState.FAILED and broken.error is not None
        fake_llm.script(reply=REPLY)
        assert evolution.play(run).state is RunState.DONE
        assert evolution.replay(run).same


def test_a_kill_in_each_phase_loses_no_version(home: Path, fake_llm: FakeLLM) -> None:
    """One process a phase: it stops where everything was asked and nothing kept, and is killed there."""
    with world_house(fake_llm) as services:
        archive = services.evolution.archive
        begin = {
            name: archive.edit(archive.start(rules.role), rules.texts, "小林", "世界的起点").id
            for name, rules in (("detector", first_detector()), ("generator", first_generator()))
        }
        run, other = (services.evolution.create(request(seed=2, **TINY, **begin)).id for _ in range(2))
        url = services.settings.url
    fork = multiprocessing.get_context("fork")
    killed: list[str] = []
    kept: list[list[int]] = []
    while True:
        here, there = fork.Pipe()
        child = fork.Process(target=play_to_a_new_phase, args=(fake_llm, run, killed, there))
        child.start()
        there.close()
        assert here.poll(60), "the child neither reached a phase nor ended"
        if (phase := here.recv()) == "over":
            break
        assert child.pid is not None
        assert stored(url, run)[0] == killed, "all phases before are kept, this one is not"
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        killed.append(phase)
        kept.append(stored(url, run)[1])
    child.join(60)
    assert child.exitcode == 0
    assert killed == PLAYED and len(PLAYED) == len(GamePhase), "every phase there is, once"
    with world_house(fake_llm) as services:
        fake_llm.script(reply="chatter")
        final = services.evolution.run(run)
        assert final.state is RunState.DONE and final.playing is None
        untouched = services.evolution.play(other)
        assert asked(fake_llm) == 0, "every call of the killed run was in the ledger"
        archive = services.evolution.archive
        versions = archive.versions(run)
        assert told(versions) == told(archive.versions(other)) and untouched.accepted == final.accepted >= 1
        ids = [one.id for one in versions if one.run == run]
        assert all(before == ids[: len(before)] for before in kept) and len(ids) >= 4, "none was lost"
        first, second = (services.evolution.run(id_).locked for id_ in (run, other))
        assert first is not None and second is not None and first["values"] == second["values"]


def stored(url: str, run: int) -> tuple[list[str], list[int]]:
    """Phases and versions kept of a run, read by a connection that no other process shares."""
    database = Database(url)
    with database.read() as session:
        found = list(store.load_steps(session, run)), store.proposed_version_ids(session, run)
    database.close()
    return found


def play_to_a_new_phase(fake: FakeLLM, run: int, known: list[str], parent: Connection) -> None:
    """Plays on, and stops for good where a phase that is not `known` would be kept."""
    keep = DatabaseGameRecord.store_step

    def stopping(self: DatabaseGameRecord, number: int, phase: GamePhase, *given: object, **more: object) -> object:
        if f"{number}.{phase}" in known:
            return keep(self, number, phase, *given, **more)  # type: ignore[arg-type]
        self._flush_ledger()
        parent.send(f"{number}.{phase}")
        return signal.pause()

    DatabaseGameRecord.store_step = stopping  # type: ignore[method-assign, assignment]
    with world_house(fake) as services:
        fake.script(reply=MIXED)
        services.evolution.play(run)
    parent.send("over")


def test_a_job_is_killed_and_resumed(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm, concurrency=4) as services:
        evolution, jobs = services.evolution, services.jobs
        try:
            with worker(home):
                fake_llm.script(reply=REPLY, latency_s=0.05)
                info = evolution.submit(request(**TINY))
                assert info.job is not None and info.state is RunState.QUEUED
                until(lambda: len(evolution.steps(info.id)) >= 1)
                with pytest.raises(Conflict):
                    evolution.resume(info.id)
                for pid in members(services.database, jobs.job(info.job)):
                    os.kill(pid, signal.SIGKILL)
                assert ended(jobs, info.job).status in (JobStatus.LOST, JobStatus.FAILED)
                fake_llm.script(reply=REPLY)
                info = evolution.resume(info.id)
                assert ended(jobs, info.job or 0).status is JobStatus.SUCCEEDED
        finally:
            sweep(services.database)
        final = evolution.run(info.id)
        assert final.state is RunState.DONE and final.locked is not None
        assert evolution.replay(info.id).same


def test_a_run_that_is_asked_to_stop_is_paused(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution = services.evolution
        run = evolution.create(request(**TINY)).id
        fake_llm.script(reply=REPLY, latency_s=0.05)
        paused = evolution.play(run, is_stopped=lambda: len(evolution.steps(run)) >= 2)
        assert paused.state is RunState.PAUSED and 2 <= len(evolution.steps(run)) < 8


def test_a_run_is_played_by_one_process_only(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution = services.evolution
        run = evolution.create(request(**TINY)).id
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=play_to_a_new_phase, args=(fake_llm, run, [], there))
    child.start()
    assert here.poll(60)
    with world_house(fake_llm) as services:
        evolution = services.evolution
        info = evolution.run(run)
        assert info.playing is not None and info.playing.pid == child.pid and not info.broken_off
        for second in (evolution.play, evolution.resume, evolution.queue, evolution.raise_caps):
            with pytest.raises(HeldElsewhere, match=f"process {child.pid}"):
                second(run)
        assert evolution.run(run) == info, "whoever comes second changes nothing"
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(60)
        assert evolution.run(run).broken_off
        # A wish to stop is looked for once a second: the run must not be over before.
        fake_llm.script(reply=REPLY, latency_s=0.4)
        wished = []

        def pause_from_elsewhere(_: RunInfo) -> None:
            if len(evolution.steps(run)) >= 2 and not wished:
                wished.append(evolution.pause(run))

        assert evolution.play(run, pause_from_elsewhere).state is RunState.PAUSED
        with pytest.raises(Conflict, match="not in the works"):
            evolution.pause(run)
        job = evolution.resume(run).job
        with pytest.raises(Conflict, match=f"job {job}"):
            evolution.raise_caps(run)
        fake_llm.script(reply=REPLY)
        final = evolution.play(run)
        assert final.state is RunState.DONE and final.playing is None


def test_a_command_on_another_machine_holds_nothing_when_it_was_not_heard_of(
    home: Path, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_house(fake_llm) as services, ExitStack() as attempts:
        run = services.evolution.create(request(**TINY)).id
        lifecycle = RunService(services.database, services.jobs, GAME_RUN_KIND)
        with monkeypatch.context() as there:
            there.setattr(socket, "gethostname", lambda: "elsewhere")
            away = attempts.enter_context(lifecycle.play(run))
        with pytest.raises(HeldElsewhere, match="on elsewhere"), lifecycle.play(run):
            pass
        with services.database.write() as session:
            job = session.get_one(Job, services.evolution.run(run).job)
            job.heartbeat_at = utc_now() - timedelta(seconds=STALE_AFTER_S + 1)
        with lifecycle.play(run) as here:
            with pytest.raises(HeldElsewhere, match="taken over"):
                away.should_stop()
            away.store_values(calls=99)
            attempts.close()
            info = services.evolution.run(run)
            assert info.playing is not None and info.calls == 0, "who lost the run changes nothing of it"
            assert not here.should_stop()
        job_info = services.evolution.job(run)
        assert job_info is not None and job_info.status is JobStatus.SUCCEEDED and job_info.attempt == 2


def test_a_command_is_paused_and_cancelled_as_a_job_is(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution = services.evolution
        run = evolution.create(request(**TINY)).id
        fake_llm.script(reply=REPLY, latency_s=0.3)
        asked = iter([evolution.pause, evolution.cancel])
        for status in (JobStatus.PAUSED, JobStatus.CANCELLED):
            ask = next(asked)

            def stop_from_elsewhere(info: RunInfo, ask: Callable[[int], RunInfo] = ask) -> None:
                if info.playing is not None and not info.playing.stopping:
                    ask(run)

            assert evolution.play(run, stop_from_elsewhere).state is RunState.PAUSED
            job = evolution.job(run)
            assert job is not None and (job.status, job.error, job.worker) == (status, None, None)
        fake_llm.script(reply=REPLY)
        assert evolution.play(run).state is RunState.DONE
        last = evolution.job(run)
        assert last is not None and (last.status, last.id, last.attempt) == (JobStatus.SUCCEEDED, job.id, 3)
        assert [one.data["status"] for one in services.jobs.events(last.id, event_kinds=[EventKind.STATE])] == [
            *("running", "pausing", "paused", "running", "cancelling", "cancelled", "running", "succeeded")
        ]


def test_people_confirm_and_the_run_goes_on_by_itself(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        evolution = services.evolution
        run = evolution.create(request(**TINY, confirm="person", evolve_generator=False)).id
        assert evolution.play(run).state is RunState.WAITING
        cases = evolution.open_cases(run)
        assert cases and all(case.greeting and case.place for case in cases)
        with pytest.raises(UserError, match="who you are"):
            evolution.answer(run, 1, cases[0].phase, cases[0].number, is_present=True, person_name=" ")
        with pytest.raises(NotFound):
            evolution.answer(run, 1, "adversary", 99, is_present=True, person_name="小林")
        for case in cases:
            info = evolution.answer(run, case.round, case.phase, case.number, is_present=True, person_name="小林")
        assert info.state is RunState.QUEUED and info.job is not None and evolution.open_cases(run) == []
        assert evolution.play(run).state is RunState.DONE
        assert evolution.replay(run).same


def test_the_archive_is_written_by_hand_and_goes_back(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        archive = services.evolution.archive
        first = archive.start(Role.DETECTOR)
        assert archive.start(Role.DETECTOR) == first == archive.current(Role.DETECTOR)
        texts = list(archive.version(first).rules.texts)
        made = archive.edit(first, [*texts[:9], "看有没有语病。"], "小林", "少了语病")
        assert (made.parent, made.proposer, made.author, made.note) == (
            first,
            Proposer.PERSON,
            "小林",
            "少了语病",
        )
        assert archive.diff(first, made.id)[-2:] == [("-", texts[9]), ("+", "看有没有语病。")]
        archive.mark(made.id, "小林", "试试")
        assert archive.current(Role.DETECTOR) == made.id
        archive.mark(first, "老周", "不如原来")
        assert archive.current(Role.DETECTOR) == first
        assert services.evolution.create(request(detector=made.id)).detector == made.id
        for wrong in ([], [f"第{n}条规则" + "甲" * n for n in range(11)], texts):
            with pytest.raises(UserError):
                archive.edit(first, wrong, "小林", "试试")
        with pytest.raises(UserError, match="who you are"):
            archive.edit(first, ["看真诚。"], "", "试试")
        generator = archive.start(Role.GENERATOR)
        with pytest.raises(UserError, match="Only an S_D"):
            archive.publish(generator, "裁判")
        with pytest.raises(UserError, match="nothing in common"):
            archive.diff(first, generator)
        services.scoring.catalog.save(JudgeSpec(JudgeKind.RUBRIC, "评分", "fake"))
        with pytest.raises(UserError, match="another kind"):
            archive.publish(first, "评分", "fake")
        older = archive.publish(first, "同名", "fake")
        archive.publish(made.id, "同名", "fake")
        with pytest.raises(EarlierVersion, match=f"“同名” .{older.version}.*publish them as “同名 v1”") as caught:
            archive.publish(first, "同名", "fake")
        assert services.scoring.catalog.judge(older.id).newest is False and caught.value.judge.id == older.id
        other = archive.publish(first, caught.value.free_name, "fake")
        assert other.newest and (other.name, other.version) == ("同名 v1", older.version), "the same judge"
        with pytest.raises(EarlierVersion) as again:
            archive.publish(first, "同名", "fake")
        assert again.value.free_name == "同名 v1" and archive.publish(first, "同名 v1", "fake") == other


def test_two_versions_on_any_labels(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        archive = services.evolution.archive
        first = archive.start(Role.DETECTOR)
        plain = archive.edit(first, ["看有没有套话。"], "小林", "少看一点")
        more = archive.edit(first, ["看有没有套话。", "看有没有空泛。", "看有没有语病。"], "小林", "多看两点")
        found = services.evolution.comparisons
        result = found.play(found.create(plain.id, more.id, "world").id).result
        assert result is not None and result["labels"] == 300
        assert result["change"]["fixed"] > 20 and result["change"]["broken"] == 0
        rows = {row["name"]: row["accuracy"]["value"] for row in result["rows"]}
        assert rows[f"v{more.id}"] - rows[f"v{plain.id}"] == pytest.approx(result["change"]["fixed"] / 300)
        with pytest.raises(UserError, match="no human reference"):
            found.create(plain.id, more.id, "nowhere")
        with pytest.raises(UserError, match="Only an S_D"):
            found.create(plain.id, archive.start(Role.GENERATOR), "world")


def test_each_agent_asks_its_own_endpoint_and_a_changed_one_stops_the_run(home: Path, fake_llm: FakeLLM) -> None:
    with world_house(fake_llm) as services:
        for name in Agent:
            services.endpoints.save(EndpointInput(name.value, fake_llm.base_url, f"m-{name}"))
        fake_llm.script(reply=REPLY, models=[f"m-{name}" for name in Agent])
        given = request(**TINY)
        own = type(given)(given.dataset, given.settings, {name: name.value for name in Agent})
        rough = services.evolution.estimate(own)
        run = services.evolution.create(own).id
        final = services.evolution.play(run)
        assert final.state is RunState.DONE and final.calls <= rough.calls
        with services.database.read() as session:
            rows = session.execute(select(LLMCall.scope, LLMCall.model).distinct()).all()
            assert session.scalar(select(func.count(LLMCall.id))) == final.calls
        pairs = {(scope.removeprefix("principles:"), model) for scope, model in rows}
        for name in Agent:
            if name is not Agent.DETECTOR:
                assert {model for scope, model in pairs if scope == name} == {f"m-{name}"}
        assert {model for scope, model in pairs if scope not in set(Agent)} == {"m-detector"}
        later = services.evolution.create(own).id
        services.endpoints.save(EndpointInput("reflector", fake_llm.base_url, "another"))
        with pytest.raises(UserError, match="has changed since the run began"):
            services.evolution.play(later)
