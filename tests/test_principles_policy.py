"""A policy trained here as the game's Generator: woken by its name, told nothing, and every bad state in one
sentence. Its server is the fake one: what is stubbed is the HTTP border behind the `serve` job."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.core.enums import FLAW_DESCRIPTIONS, Agent, ArtifactKind, EventKind, GamePhase, RunState
from backend.core.errors import UserError
from backend.db.base import utc_now
from backend.db.job_tables import Job, JobEvent
from backend.generation import generators
from backend.principles.records import RunRequest
from backend.services import Services
from tests.job_helpers import until
from tests.llm_fixtures import FakeLLM
from tests.principles_helpers import request, world_house
from tests.principles_world import first_detector

pytestmark = pytest.mark.database
POLICY = "tests.principles_world:serve_policy"
NAME = "artifact:1"


@pytest.fixture
def house(home: Path, fake_llm: FakeLLM) -> Iterator[Services]:
    """The world with a policy whose server is the fake one."""
    with world_house(fake_llm) as services:
        folder = home / "policy"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        services.jobs.add_artifact(ArtifactKind.POLICY, "tiny", folder)
        fake_llm.script(reply=POLICY)
        services.generators._start_timeout_s = 20
        yield services


def asked(**changes: object) -> RunRequest:
    """A run whose Generator is the policy."""
    small = {"rounds": 1, "labelled": 6, "attacks": 8, "gate": 24, "locked": 12}
    return replace(request(**{**small, **changes}), endpoints={Agent.GENERATOR: NAME})


def serve(house: Services, base_url: str) -> None:
    """What a `serve` job tells once its model answers."""
    until(lambda: house.generators.info(NAME).job)
    job = house.generators.info(NAME).job
    with house.database.write() as session:
        session.get_one(Job, job).started_at = utc_now()
        session.add(JobEvent(job_id=job, kind=EventKind.LOG, data={"base_url": base_url, "model": "fake"}))


def test_the_policy_is_woken_waited_for_and_replayed(house: Services, fake_llm: FakeLLM) -> None:
    evolution = house.evolution
    rough = evolution.estimate(asked())
    archive, rules = evolution.archive, first_detector()
    begin = archive.edit(archive.start(rules.role), rules.texts, "小林", "世界的起点").id
    run = evolution.create(asked(detector=begin))
    assert run.endpoints["generator"] == {"name": NAME, "base_url": "", "model": "tiny #1"}
    assert run.settings.evolve_generator is False and house.jobs.jobs(job_kind="serve") == []
    waker = threading.Thread(target=serve, args=(house, fake_llm.base_url))
    waker.start()
    final = evolution.play(run.id)
    waker.join()
    assert final.state is RunState.DONE and final.calls <= rough.calls
    steps = {step.phase: step.data for step in evolution.steps(run.id)}
    cases, claims = steps[GamePhase.ADVERSARY]["cases"], steps[GamePhase.CONFIRM]["claims"]
    assert all(not case["asked"] and case["greeting"] and not case["place"] for case in cases)
    assert not {GamePhase.PROPOSE_G, GamePhase.DUEL} & set(steps)
    assert claims and any(there for there, _ in claims.values())
    for place, (there, _) in claims.items():
        case = cases[int(place)]
        assert there is (f"mark-{case['flaw']}" in case["greeting"]), "the confirmer looked for that kind"
    taught = {source: text for source, text in steps[GamePhase.PROPOSE_D]["advice"] if ".a" in source}
    assert len(taught) == sum(there for there, _ in claims.values())
    assert all("核对过" in text for text in taught.values()), "what the confirmer found is what it teaches"
    bare = [body for body in fake_llm.state()["bodies"] if len(body["messages"][0]["content"]) < 60]
    assert all(set(FLAW_DESCRIPTIONS.values()).isdisjoint(body["messages"][0]["content"]) for body in bare)
    fake_llm.script(reply="chatter")
    again = evolution.replay(run.id)
    assert again.same and sum(fake_llm.state()["asked"].values()) == 0
    house.generators.stop(NAME)
    second = evolution.create(asked(detector=begin))
    elsewhere = fake_llm.base_url.replace("127.0.0.1", "localhost")
    waker = threading.Thread(target=serve, args=(house, elsewhere))
    waker.start()
    assert evolution.play(second.id).state is RunState.DONE
    waker.join()
    assert sum(fake_llm.state()["asked"].values()) == 0, "the ledger goes by the artifact, not by its address"


def test_a_run_that_waits_for_its_policy_can_be_stopped(house: Services) -> None:
    run = house.evolution.create(asked())
    paused = house.evolution.play(run.id, is_stopped=lambda: bool(house.jobs.jobs(job_kind="serve")))
    assert paused.state is RunState.PAUSED


def test_a_policy_that_does_not_come_up_fails_the_run_in_one_sentence(house: Services) -> None:
    house.generators._start_timeout_s = 0.5
    run = house.evolution.create(asked())
    with pytest.raises(UserError, match="tiny #1 takes too long to start"):
        house.evolution.play(run.id)
    info = house.evolution.run(run.id)
    assert info.state is RunState.FAILED and info.error is not None and "启动太慢" in info.error.zh


def test_bad_states_are_one_sentence_before_anything_starts(house: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, agent: Agent = Agent.GENERATOR) -> str:
        wrong = replace(asked(), endpoints={agent: name})
        said: set[str] = set()
        for act in (house.evolution.estimate, house.evolution.create):
            with pytest.raises(UserError) as caught:
                act(wrong)
            said.add(re.sub(r", \d+ MB", ", so many MB", str(caught.value)))
        assert house.evolution.runs() == [] and len(said) == 1
        return said.pop()

    assert "There is no generator “artifact:9”; known: fake, artifact:1" in refused("artifact:9")
    job = house.jobs.submit("sft", {"base": "starter"}).id
    assert f"job {job} is still training" in refused("artifact:9")
    assert "Only the generator can be a trained model" in refused(NAME, Agent.DETECTOR)
    with monkeypatch.context() as patch:
        patch.setattr(generators, "SERVER_MB", 10_000_000)
        assert "MB are free" in refused(NAME)
    for file in (house.settings.home / "policy").iterdir():
        file.unlink()
    (house.settings.home / "policy").rmdir()
    assert "files of artifact 1 are gone" in refused(NAME)
