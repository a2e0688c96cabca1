"""From a spec to a judge: the one table of kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from backend.core.errors import UserError
from backend.judges.asking import JudgeModel, JudgeSampling, prompt_template
from backend.judges.base import Judge, JudgeKind, JudgeSpec
from backend.judges.criteria import CriteriaJudge, parse_principles, principle_judge, rubric_judge, starting_principles
from backend.judges.pairwise import PairwiseJudge
from backend.judges.panel import PANEL_ROLES, NoExamples, PanelAgents, PanelJudge, Retriever
from backend.judges.ranking import LEAST_PER_CALL, MOST_PER_CALL, USUAL_PER_CALL, RankingJudge
from backend.judges.reward_model import MAX_LENGTH, RewardModelJudge
from backend.llm.messages import Endpoint, LLMClient

# How many examples a new panel is given, and how many it may have.
DEFAULT_EXAMPLES, MOST_EXAMPLES = 3, 10
AskingJudge = CriteriaJudge | PairwiseJudge | PanelJudge | RankingJudge
AnyJudge = Judge | PairwiseJudge


@dataclass(frozen=True)
class ExampleRequest:
    """How many examples, the endpoint that embeds requests (None: words alone), and which index.

    Without an index the newest is meant.
    """

    count: int
    embeddings: str | None = None
    index: str | None = None


def example_request(judge_spec: JudgeSpec) -> ExampleRequest | None:
    """The examples that a judge sees; None where it sees none. Raises UserError."""
    example_count = int(_config_number(judge_spec.config, "examples", 0, 0, MOST_EXAMPLES))
    source_names = [judge_spec.config.get(setting_name) for setting_name in ("embeddings", "index")]
    if not all(source_name is None or isinstance(source_name, str) for source_name in source_names):
        raise UserError("Name the endpoint for embeddings and the index as texts.", "向量端点和索引应填写名称。")
    return ExampleRequest(example_count, source_names[0] or None, source_names[1] or None) if example_count else None


class JudgeSources(Protocol):
    """What judges are made from, as far as they need to know; `JudgeContext` takes it from the database."""

    def endpoint(self, endpoint_name: str | None) -> Endpoint:
        """The endpoint of that name, or the default one. Raises UserError."""

    def client(self, endpoint: Endpoint, scope: str) -> LLMClient:
        """A client for one judge at one version (`scope`)."""

    def fence_key(self) -> bytes:
        """The key that fences around outside text are derived with."""

    def fitted(self, judge_name: str) -> Judge:
        """The baseline of that name, fitted to the corpus."""

    def retriever(self, request: ExampleRequest) -> Retriever:
        """Examples from the corpus. Raises UserError where there are none."""


def build_judge(
    judge_spec: JudgeSpec, context: JudgeSources, *, variant: str = "", retriever: Retriever | None = None
) -> AnyJudge:
    """The judge of a spec, ready to score. Raises UserError for a spec that cannot work.

    `variant` is part of the cache key: another one asks again what the ledger already knows. `retriever` replaces the
    examples that the spec asks for.
    """
    # First without a connection: the version is the scope of the clients, so it must be known before there
    # are any.
    judge = describe_judge(judge_spec, context, retriever)
    if not isinstance(judge, AskingJudge):
        return judge

    def connect_model(judge_model: JudgeModel, endpoint_name: str | None) -> JudgeModel:
        # Every agent's calls stand under the version of the whole judge, by which costs are summed.
        client = context.client(context.endpoint(endpoint_name), judge.version)
        return replace(judge_model, client=client, variant=variant)

    if isinstance(judge, PanelJudge):
        endpoint_by_role = agent_endpoints(judge_spec)
        judge = replace(
            judge,
            others={
                agent_role: connect_model(judge.others[agent_role], endpoint_by_role[agent_role])
                for agent_role in endpoint_by_role
            },
        )
    return replace(judge, model=connect_model(judge.model, judge_spec.endpoint))


def agent_endpoints(judge_spec: JudgeSpec) -> dict[str, str]:
    """Which agents of a panel ask an endpoint of their own. Raises UserError for an unknown agent."""
    endpoint_by_role = judge_spec.config.get("endpoints") or {}
    if not isinstance(endpoint_by_role, Mapping) or not all(
        isinstance(endpoint_name, str) for endpoint_name in endpoint_by_role.values()
    ):
        raise UserError("Name one endpoint for each agent.", "请为每个角色填写一个端点名称。")
    unknown_roles = sorted(set(endpoint_by_role) - set(PANEL_ROLES))
    if unknown_roles:
        known_roles = ", ".join(PANEL_ROLES)
        raise UserError(
            f"A panel has no agent “{unknown_roles[0]}”; known: {known_roles}.",
            f"评审团里没有“{unknown_roles[0]}”这个角色，可用：{known_roles}。",
        )
    return dict(endpoint_by_role)


def describe_judge(judge_spec: JudgeSpec, context: JudgeSources, retriever: Retriever | None = None) -> AnyJudge:
    """The judge of a spec with its version and prompts; nothing is connected yet. Raises UserError."""
    return _BUILDERS[judge_spec.kind](_JudgeParts(judge_spec, context, retriever))


def judge_prompt_hashes(judge_kind: JudgeKind) -> dict[str, str]:
    """The hashes of the prompt files that a kind of judge asks with, by name."""
    single_prompt_kinds = [JudgeKind.PRINCIPLE, JudgeKind.RUBRIC, JudgeKind.PAIRWISE, JudgeKind.RANKING]
    prompt_names = (
        [f"panel_{agent_role}" for agent_role in PANEL_ROLES]
        if judge_kind is JudgeKind.PANEL
        else [judge_kind.value] * (judge_kind in single_prompt_kinds)
    )
    return {prompt_name: prompt_template(prompt_name).template_hash for prompt_name in prompt_names}


@dataclass(frozen=True)
class _JudgeParts:
    spec: JudgeSpec
    context: JudgeSources
    chosen_retriever: Retriever | None

    @property
    def config(self) -> Mapping[str, Any]:
        return self.spec.config

    def build_model(self, endpoint_name: str | None = None) -> JudgeModel:
        endpoint = self.context.endpoint(endpoint_name or self.spec.endpoint)
        sampling = JudgeSampling(
            temperature=_config_number(self.config, "temperature", 0.0, 0, 2),
            max_tokens=int(_config_number(self.config, "max_tokens", 1024, 16, 32_768)),
            seed=None if self.config.get("seed") is None else int(_config_number(self.config, "seed", 0, 0, 2**31)),
        )
        return JudgeModel(endpoint.base_url, endpoint.model, sampling, self.context.fence_key())

    def read_principles(self) -> tuple[str, ...]:
        config_rules = self.config.get("principles")
        if config_rules is None:
            return starting_principles()
        return parse_principles("\n".join(_checked_rules(config_rules)))

    def build_retriever(self) -> Retriever:
        request = example_request(self.spec)
        if self.chosen_retriever is not None or request is None:
            return self.chosen_retriever or NoExamples()
        return self.context.retriever(request)


def _build_principle(judge_parts: _JudgeParts) -> CriteriaJudge:
    return principle_judge(judge_parts.build_model(), judge_parts.read_principles(), judge_parts.spec.name)


def _build_ranking(judge_parts: _JudgeParts) -> RankingJudge:
    per_call = _config_number(judge_parts.config, "per_call", USUAL_PER_CALL, LEAST_PER_CALL, MOST_PER_CALL)
    return RankingJudge(
        judge_parts.build_model(),
        judge_parts.read_principles(),
        bool(judge_parts.config.get("both_orders", False)),
        int(per_call),
        judge_parts.spec.name,
    )


def _build_panel(judge_parts: _JudgeParts) -> PanelJudge:
    agent_switches = {name: bool(judge_parts.config.get(name, True)) for name in PANEL_ROLES}
    other_models = {
        agent_role: judge_parts.build_model(name) for agent_role, name in agent_endpoints(judge_parts.spec).items()
    }
    return PanelJudge(
        judge_parts.build_model(),
        PanelAgents(**agent_switches),
        other_models,
        judge_parts.build_retriever(),
        judge_parts.spec.name,
    )


def _build_reward_model(judge_parts: _JudgeParts) -> RewardModelJudge:
    model_path = judge_parts.config.get("path")
    if not isinstance(model_path, str) or not model_path:
        raise UserError("Name the folder of the trained model.", "请填写训练好的模型所在的文件夹。")
    max_length = int(_config_number(judge_parts.config, "max_length", MAX_LENGTH, 8, 1_000_000))
    return RewardModelJudge(Path(model_path), judge_parts.spec.name, max_length=max_length)


def _fitted_baseline(judge_parts: _JudgeParts) -> Judge:
    return judge_parts.context.fitted(judge_parts.spec.kind)


_BUILDERS: dict[JudgeKind, Callable[[_JudgeParts], AnyJudge]] = {
    JudgeKind.LENGTH: _fitted_baseline,
    JudgeKind.STYLE: _fitted_baseline,
    JudgeKind.NGRAM: _fitted_baseline,
    JudgeKind.PRINCIPLE: _build_principle,
    JudgeKind.RUBRIC: lambda parts: rubric_judge(parts.build_model(), parts.spec.name),
    JudgeKind.PAIRWISE: lambda parts: PairwiseJudge(parts.build_model(), parts.spec.name),
    JudgeKind.PANEL: _build_panel,
    JudgeKind.RANKING: _build_ranking,
    JudgeKind.REWARD_MODEL: _build_reward_model,
}


def _config_number(
    judge_config: Mapping[str, Any], setting_name: str, default_number: float, minimum: float, maximum: float
) -> float:
    setting_value = judge_config.get(setting_name, default_number)
    if (
        # True is an int in Python, and "temperature": true must not become 1.
        isinstance(setting_value, bool)
        or not isinstance(setting_value, int | float)
        or not minimum <= setting_value <= maximum
    ):
        raise UserError(
            f"“{setting_name}” must be a number from {minimum:g} to {maximum:g}.",
            f"“{setting_name}”必须是 {minimum:g} 到 {maximum:g} 的数。",
        )
    return setting_value


def _checked_rules(config_rules: Any) -> list[str]:
    if isinstance(config_rules, list) and all(isinstance(rule, str) for rule in config_rules):
        return config_rules
    raise UserError("Principles are a list of texts.", "原则应是文字的列表。")
