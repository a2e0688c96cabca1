"""What a run will roughly take, from its prompts and a few previews: calls nobody, stores nothing."""

from collections import Counter

from backend.agents.plan import Plan
from backend.agents.writing import Pen, messages
from backend.db.engine import Database
from backend.judges.base import Sample
from backend.judges.registry import AskingJudge
from backend.judges.spec import JudgeSpec
from backend.llm.budget import Estimate
from backend.llm.budget import estimate as llm_estimate
from backend.llm.endpoint import Endpoint
from backend.llm.service import EndpointService
from backend.pairs.filtering import Sieve
from backend.pairs.intake import lines_of
from backend.pairs.records import PairEstimate, PairRequest
from backend.pairs.rules import UNREADABLE
from backend.pairs.second import SHARE
from backend.scoring.service import ScoringService, placeholder, previewed
from backend.writing.generators import GeneratorKind, GeneratorService

SAMPLED = 50
GREETING = "愿你被岁月温柔以待，所有的奔赴都有回响，生日快乐，平安喜乐常伴左右，笑口常开。"
"""Stands in for a candidate whose text nobody knows yet."""
WRITTEN_TOKENS = 80


def estimate(
    database: Database,
    endpoints: EndpointService,
    scoring: ScoringService,
    generators: GeneratorService,
    request: PairRequest,
) -> PairEstimate:
    """See PairService.estimate."""
    sieve, lost, prompts = Sieve(), Counter[str](), 0
    kept: list[str] = []
    for line in lines_of(database, request.source):
        prompts += 1
        why = sieve.lost(line) if isinstance(line, str) else UNREADABLE
        if why is not None:
            lost[why] += 1
        elif isinstance(line, str) and len(kept) < SAMPLED:
            kept.append(line)
    taken = prompts - lost.total()
    judge = scoring.with_examples(request.judge)
    parts = [
        _writing(endpoints, generators, request.plan, judge, name, kept, taken)
        for name in request.plan.generators
    ]
    if (judging := _judging(scoring, judge, kept, taken * request.plan.candidates)) is not None:
        parts.append(judging)
    if (found := scoring.retrieval(judge, kept, taken)) is not None:
        parts.append(found)
    if request.second is not None and request.balance_length:
        second = scoring.with_examples(request.second)
        items = round(taken * request.plan.candidates * SHARE)
        if (more := _judging(scoring, second, kept, items)) is not None:
            parts.append(more)
    whole = sum(parts[1:], parts[0])
    return PairEstimate(
        prompts=prompts,
        kept=taken,
        lost=dict(lost),
        candidates=taken * request.plan.candidates,
        calls=whole.calls,
        tokens=whole.tokens,
        cost=whole.cost,
        seconds=whole.seconds,
    )


def _writing(
    endpoints: EndpointService,
    generators: GeneratorService,
    plan: Plan,
    judge: JudgeSpec,
    name: str,
    kept: list[str],
    taken: int,
) -> Estimate:
    trained = generators.info(name).kind is GeneratorKind.ARTIFACT
    # What a policy of ours will cost is time alone; a typical endpoint stands in for its address.
    endpoint = Endpoint(name, "", name, concurrency=1) if trained else endpoints.get(name)
    recipe = next(one for one in plan.recipes(0) + plan.recipes(1) if one.generator == name)
    pen = Pen(name, endpoint.model, b"", trained=trained)
    shown = "" if trained else placeholder(judge)[: round(len(placeholder(judge)) * _shown(plan))]
    asked = [messages(pen, recipe, text, (), free=True)[0].content + shown for text in kept]
    share = round(taken * plan.candidates / len(plan.generators))
    return llm_estimate(asked, share, endpoint, tokens_out=WRITTEN_TOKENS)


def _shown(plan: Plan) -> float:
    """The share of candidates that are written with examples."""
    return sum(plan.examples) / len(plan.examples) if plan.examples else 0.0


def _judging(scoring: ScoringService, spec: JudgeSpec, kept: list[str], items: int) -> Estimate | None:
    judge = scoring.described(spec)
    if not isinstance(judge, AskingJudge):
        return None
    shown = [
        text + placeholder(spec) for prompt in kept for text in previewed(judge, Sample(prompt, GREETING))
    ]
    each = round(len(shown) / len(kept)) if kept else 1
    return llm_estimate(shown, items, scoring.endpoint_of(spec), calls_each=each)
