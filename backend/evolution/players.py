"""From a run's row to the table it is played at: models for the agents, the judge, labels, versions."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Protocol

from sqlalchemy.orm import Session

from backend.db.principle_tables import PrincipleRun, Principles
from backend.errors import UserError
from backend.evolution.labels import read_deal
from backend.judges.asking import Model, Sampling
from backend.judges.base import Judge, PairJudge
from backend.judges.registry import House, build
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.principles.agents import Agents
from backend.principles.book import Book, Version
from backend.principles.planting import Policy, Told
from backend.principles.rules import RuleSet
from backend.principles.settings import GameSettings
from backend.principles.table import Standing, Table
from backend.principles.vocabulary import Agent, Phase
from backend.writing.generators import is_policy
from backend.writing.writer import Writer

SAMPLING = {
    Agent.GENERATOR: Sampling(temperature=0.9, max_tokens=1024),
    Agent.CONFIRMER: Sampling(max_tokens=1024),
    Agent.REFLECTOR: Sampling(max_tokens=1024),
    Agent.OPTIMISER: Sampling(temperature=0.7, max_tokens=4096),
}


class Hall(House, Protocol):
    """What players are made from: the game's house, or its likeness that replays."""

    async def writer(self, name: str) -> Writer:
        """A policy trained here, awake. Raises UserError where it cannot be woken."""


def no_baseline(name: str) -> Judge:
    """The game is played by language models. Raises UserError for a judge that only counts."""
    raise UserError(
        f"“{name}” is a baseline, and the game is played by language models; choose an endpoint.",
        f"“{name}”是对照基线，对局要由语言模型来进行，请选一个模型端点。",
    )


def spec_of(rules: RuleSet, endpoint: str, name: str = "principle") -> JudgeSpec:
    """The `principle` judge with these rules: playing Detector and being published, it is the same."""
    return JudgeSpec(JudgeKind.PRINCIPLE, name, endpoint, {"principles": list(rules.texts)})


def detector(hall: House, endpoint: str) -> Callable[[RuleSet], Judge]:
    """Makes the Detector of a set of rules, one for each."""

    @cache
    def made(rules: RuleSet) -> Judge:
        judge = build(spec_of(rules, endpoint), hall)
        assert not isinstance(judge, PairJudge)
        return judge

    return made


def agents(hall: Hall, endpoints: Mapping[str, Mapping[str, str]]) -> Agents:
    """The agents that are no judge, each at its endpoint."""

    def model(agent: Agent) -> Model:
        endpoint = hall.endpoint(endpoints[agent]["name"])
        client = hall.client(endpoint, f"principles:{agent}")
        return Model(endpoint.base_url, endpoint.model, SAMPLING[agent], hall.fence_key(), client)

    kept = endpoints[Agent.GENERATOR]
    own = is_policy(kept["name"])
    author = Policy(partial(hall.writer, kept["name"])) if own else Told(model(Agent.GENERATOR))
    return Agents(author, *map(model, (Agent.CONFIRMER, Agent.REFLECTOR, Agent.OPTIMISER)))


def laid_out(
    session: Session, row: PrincipleRun, hall: Hall, book: Book, told: Callable[[int, Phase], None]
) -> Table:
    """Everything for the run. Raises UserError where an endpoint or a greeting is gone or has changed."""
    check_endpoints(hall, row.endpoints)
    first, generator = (version(session, id_) for id_ in (row.detector_id, row.generator_id))
    return Table(
        agents=agents(hall, row.endpoints),
        judge=detector(hall, row.endpoints[Agent.DETECTOR]["name"]),
        deal=read_deal(session, row.labels),
        settings=GameSettings.read(row.settings),
        book=book,
        standing=Standing(first, generator, first),
        told=told,
    )


def version(session: Session, version_id: int) -> Version:
    """A version as the game takes it."""
    row = session.get_one(Principles, version_id)
    return Version(row.id, RuleSet.read(row.role, row.rules))


def check_endpoints(hall: House, endpoints: Mapping[str, Mapping[str, str]]) -> None:
    """Raise UserError where an endpoint of a run is no longer what it was: its scores would not compare."""
    for agent, kept in endpoints.items():
        if is_policy(kept["name"]):
            continue  # an artifact never changes
        now = hall.endpoint(kept["name"])
        if (now.base_url, now.model) != (kept["base_url"], kept["model"]):
            raise UserError(
                f"The endpoint “{kept['name']}” of the {agent} has changed since the run began "
                f"(it was {kept['model']} at {kept['base_url']}); start a new run.",
                f"{agent} 的端点“{kept['name']}”在运行开始后改过"
                f"（原为 {kept['base_url']} 的 {kept['model']}），请另开一次运行。",
            )
