"""What a run will roughly take: calls, tokens, cost and time, from a sample of its prompts and nobody asked."""

from collections import Counter

from backend.db.engine import Database
from backend.generation.generators import GeneratorKind, GeneratorService
from backend.generation.writer import greeting_messages
from backend.judges.base import JudgeSpec, Sample
from backend.judges.registry import AskingJudge
from backend.judges.scoring.service import ScoringService, examples_placeholder, preview_calls
from backend.llm.budget import Estimate
from backend.llm.budget import estimate_usage as llm_estimate
from backend.llm.endpoints import EndpointService
from backend.llm.messages import Endpoint
from backend.preferences.candidates import UNREADABLE, writing_instructions
from backend.preferences.emit import SECOND_JUDGED_SHARE
from backend.preferences.intake import PromptFilter, read_source
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import PairEstimate, PairRequest

SAMPLED_PROMPTS = 50
# Stands in for a candidate whose text nobody knows yet.
PLACEHOLDER_GREETING = "愿你被岁月温柔以待，所有的奔赴都有回响，生日快乐，平安喜乐常伴左右，笑口常开。"
WRITTEN_TOKENS = 80


def estimate_run(
    database: Database,
    endpoints: EndpointService,
    scoring: ScoringService,
    generators: GeneratorService,
    request: PairRequest,
) -> PairEstimate:
    """See PairService.estimate."""
    prompt_filter, drop_counts, prompt_count = PromptFilter(), Counter[str](), 0
    sampled_prompts: list[str] = []
    for source_line in read_source(database, request.source):
        prompt_count += 1
        drop_reason = prompt_filter.drop_reason(source_line) if isinstance(source_line, str) else UNREADABLE
        if drop_reason is not None:
            drop_counts[drop_reason] += 1
        elif isinstance(source_line, str) and len(sampled_prompts) < SAMPLED_PROMPTS:
            sampled_prompts.append(source_line)
    passed_count = prompt_count - drop_counts.total()
    first_judge = scoring.with_examples(request.judge)
    estimates = [
        _writing_estimate(
            endpoints, generators, request.plan, first_judge, generator_name, sampled_prompts, passed_count
        )
        for generator_name in request.plan.generators
    ]
    if (
        judging_estimate := _judging_estimate(
            scoring, first_judge, sampled_prompts, passed_count * request.plan.candidates
        )
    ) is not None:
        estimates.append(judging_estimate)
    if (retrieval_estimate := scoring.estimate_retrieval(first_judge, sampled_prompts, passed_count)) is not None:
        estimates.append(retrieval_estimate)
    if request.second is not None and request.balance_length:
        second_judge = scoring.with_examples(request.second)
        repeated_count = round(passed_count * request.plan.candidates * SECOND_JUDGED_SHARE)
        if (second_estimate := _judging_estimate(scoring, second_judge, sampled_prompts, repeated_count)) is not None:
            estimates.append(second_estimate)
    total_estimate = sum(estimates[1:], estimates[0])
    return PairEstimate(
        prompts=prompt_count,
        kept=passed_count,
        lost=dict(drop_counts),
        candidates=passed_count * request.plan.candidates,
        calls=total_estimate.calls,
        tokens=total_estimate.tokens,
        cost=total_estimate.cost,
        seconds=total_estimate.seconds,
    )


def _writing_estimate(
    endpoints: EndpointService,
    generators: GeneratorService,
    candidate_plan: CandidatePlan,
    judge_spec: JudgeSpec,
    generator_name: str,
    sampled_prompts: list[str],
    passed_count: int,
) -> Estimate:
    is_trained = generators.info(generator_name).kind is GeneratorKind.ARTIFACT
    # What a policy of ours will cost is time alone; a typical endpoint stands in for its address.
    endpoint = (
        Endpoint(generator_name, "", generator_name, concurrency=1) if is_trained else endpoints.get(generator_name)
    )
    candidate_recipe = next(
        plan_recipe
        for plan_recipe in candidate_plan.prompt_recipes(0) + candidate_plan.prompt_recipes(1)
        if plan_recipe.generator == generator_name
    )
    instructions = writing_instructions(candidate_recipe, (), length_is_free=True)
    example_filler = (
        ""
        if is_trained
        else examples_placeholder(judge_spec)[
            : round(len(examples_placeholder(judge_spec)) * _example_share(candidate_plan))
        ]
    )
    sample_messages = [
        greeting_messages(prompt_text, b"", trained=is_trained, instructions=instructions)[0].content + example_filler
        for prompt_text in sampled_prompts
    ]
    candidate_count = round(passed_count * candidate_plan.candidates / len(candidate_plan.generators))
    return llm_estimate(sample_messages, candidate_count, endpoint, tokens_out=WRITTEN_TOKENS)


def _example_share(candidate_plan: CandidatePlan) -> float:
    """The share of candidates that are written with examples."""
    return sum(candidate_plan.examples) / len(candidate_plan.examples) if candidate_plan.examples else 0.0


def _judging_estimate(
    scoring: ScoringService, judge_spec: JudgeSpec, sampled_prompts: list[str], item_count: int
) -> Estimate | None:
    described_judge = scoring.describe_judge(judge_spec)
    if not isinstance(described_judge, AskingJudge):
        return None
    sample_messages = [
        message_text + examples_placeholder(judge_spec)
        for prompt_text in sampled_prompts
        for message_text in preview_calls(described_judge, Sample(prompt_text, PLACEHOLDER_GREETING))
    ]
    calls_per_item = round(len(sample_messages) / len(sampled_prompts)) if sampled_prompts else 1
    return llm_estimate(
        sample_messages, item_count, scoring.default_endpoint(judge_spec), calls_per_item=calls_per_item
    )
