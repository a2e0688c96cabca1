"""From a spec to a judge: the one table of kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from backend.errors import UserError
from backend.judges.asking import Model, Sampling, prompt_file
from backend.judges.base import Judge, PairJudge
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import ROLES, Agents, NoExamples, PanelJudge, Retriever
from backend.judges.principle import PrincipleJudge
from backend.judges.principles import parse_principles, starting_principles
from backend.judges.reward_model import MAX_LENGTH, RewardModelJudge
from backend.judges.rubric import RubricJudge
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.llm.endpoint import Endpoint
from backend.llm.messages import LLMClient

EXAMPLES, MOST_EXAMPLES = 3, 10
"""How many examples a new panel is given, and how many it may have."""
AskingJudge = PrincipleJudge | RubricJudge | PairwiseJudge | PanelJudge
AnyJudge = Judge | PairJudge


@dataclass(frozen=True)
class ExampleWish:
    """How many examples, the endpoint that embeds requests (None: words alone), and which index.

    Without an index the newest is meant.
    """

    count: int
    embeddings: str | None = None
    index: str | None = None


def example_wish(spec: JudgeSpec) -> ExampleWish | None:
    """The examples that a judge sees; None where it sees none. Raises UserError."""
    count = int(_number(spec.config, "examples", 0, 0, MOST_EXAMPLES))
    given = [spec.config.get(name) for name in ("embeddings", "index")]
    if not all(one is None or isinstance(one, str) for one in given):
        raise UserError(
            "Name the endpoint for embeddings and the index as texts.", "向量端点和索引应填写名称。"
        )
    return ExampleWish(count, given[0] or None, given[1] or None) if count else None


class House(Protocol):
    """What judges are made from and only the house around them knows."""

    def endpoint(self, name: str | None) -> Endpoint:
        """The endpoint of that name, or the default one. Raises UserError."""

    def client(self, endpoint: Endpoint, scope: str) -> LLMClient:
        """A client for one judge at one version."""

    def fence_key(self) -> bytes:
        """The key that fences are derived with."""

    def fitted(self, name: str) -> Judge:
        """The baseline of that name, fitted to the corpus."""


@runtime_checkable
class Library(Protocol):
    """A house that has examples."""

    def retriever(self, wish: ExampleWish) -> Retriever:
        """Examples from the corpus. Raises UserError."""


def build(
    spec: JudgeSpec, house: House, *, variant: str = "", retriever: Retriever | None = None
) -> AnyJudge:
    """The judge of a spec, ready to score. Raises UserError for a spec that cannot work.

    `variant` asks again what the ledger already knows.
    """
    judge = describe(spec, house, retriever)
    if not isinstance(judge, AskingJudge):
        return judge

    def connected(model: Model, endpoint: str | None) -> Model:
        client = house.client(house.endpoint(endpoint), judge.version)
        return replace(model, client=client, variant=variant)

    if isinstance(judge, PanelJudge):
        own = agent_endpoints(spec)
        judge = replace(judge, others={role: connected(judge.others[role], own[role]) for role in own})
    return replace(judge, model=connected(judge.model, spec.endpoint))


def agent_endpoints(spec: JudgeSpec) -> dict[str, str]:
    """Which agents of a panel ask an endpoint of their own. Raises UserError for an unknown agent."""
    given = spec.config.get("endpoints") or {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given.values()):
        raise UserError("Name one endpoint for each agent.", "请为每个角色填写一个端点名称。")
    unknown = sorted(set(given) - set(ROLES))
    if unknown:
        known = ", ".join(ROLES)
        raise UserError(
            f"A panel has no agent “{unknown[0]}”; known: {known}.",
            f"评审团里没有“{unknown[0]}”这个角色，可用：{known}。",
        )
    return dict(given)


def describe(spec: JudgeSpec, house: House, retriever: Retriever | None = None) -> AnyJudge:
    """The judge of a spec with its version and prompts; nothing is connected yet. Raises UserError."""
    return _BUILDERS[spec.kind](_Parts(spec, house, retriever))


def prompts_of(kind: JudgeKind) -> dict[str, str]:
    """The hashes of the prompt files that a kind of judge asks with, by name."""
    own = [JudgeKind.PRINCIPLE, JudgeKind.RUBRIC, JudgeKind.PAIRWISE]
    names = [f"panel_{role}" for role in ROLES] if kind is JudgeKind.PANEL else [kind.value] * (kind in own)
    return {name: prompt_file(name).hash for name in names}


@dataclass(frozen=True)
class _Parts:
    spec: JudgeSpec
    house: House
    given: Retriever | None

    @property
    def config(self) -> Mapping[str, Any]:
        return self.spec.config

    def model(self, endpoint_name: str | None = None) -> Model:
        endpoint = self.house.endpoint(endpoint_name or self.spec.endpoint)
        sampling = Sampling(
            temperature=_number(self.config, "temperature", 0.0, 0, 2),
            max_tokens=int(_number(self.config, "max_tokens", 1024, 16, 32_768)),
            seed=None if self.config.get("seed") is None else int(_number(self.config, "seed", 0, 0, 2**31)),
        )
        return Model(endpoint.base_url, endpoint.model, sampling, self.house.fence_key())

    def retriever(self) -> Retriever:
        wish = example_wish(self.spec)
        if self.given is not None or wish is None:
            return self.given or NoExamples()
        if not isinstance(self.house, Library):
            raise UserError(
                "There are no examples here; set examples to 0.", "这里没有范例，请把范例数设为 0。"
            )
        return self.house.retriever(wish)


def _principle(parts: _Parts) -> PrincipleJudge:
    rules = parts.config.get("principles")
    found = starting_principles() if rules is None else parse_principles("\n".join(_texts(rules)))
    return PrincipleJudge(parts.model(), found, parts.spec.name)


def _panel(parts: _Parts) -> PanelJudge:
    switches = {name: bool(parts.config.get(name, True)) for name in ROLES}
    others = {role: parts.model(name) for role, name in agent_endpoints(parts.spec).items()}
    return PanelJudge(parts.model(), Agents(**switches), others, parts.retriever(), parts.spec.name)


def _reward_model(parts: _Parts) -> RewardModelJudge:
    path = parts.config.get("path")
    if not isinstance(path, str) or not path:
        raise UserError("Name the folder of the trained model.", "请填写训练好的模型所在的文件夹。")
    longest = int(_number(parts.config, "max_length", MAX_LENGTH, 8, 1_000_000))
    return RewardModelJudge(Path(path), parts.spec.name, max_length=longest)


def _fitted(parts: _Parts) -> Judge:
    return parts.house.fitted(parts.spec.kind)


_BUILDERS: dict[JudgeKind, Callable[[_Parts], AnyJudge]] = {
    JudgeKind.LENGTH: _fitted,
    JudgeKind.STYLE: _fitted,
    JudgeKind.NGRAM: _fitted,
    JudgeKind.PRINCIPLE: _principle,
    JudgeKind.RUBRIC: lambda parts: RubricJudge(parts.model(), parts.spec.name),
    JudgeKind.PAIRWISE: lambda parts: PairwiseJudge(parts.model(), parts.spec.name),
    JudgeKind.PANEL: _panel,
    JudgeKind.REWARD_MODEL: _reward_model,
}


def _number(config: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(
            f"“{name}” must be a number from {low:g} to {high:g}.",
            f"“{name}”必须是 {low:g} 到 {high:g} 的数。",
        )
    return value


def _texts(rules: Any) -> list[str]:
    if isinstance(rules, list) and all(isinstance(rule, str) for rule in rules):
        return rules
    raise UserError("Principles are a list of texts.", "原则应是文字的列表。")
