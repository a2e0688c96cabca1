"""What a judge that ranks is given of a target: requests with all their greetings, which are ranked together."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, aliased

from backend.db.tables import Greeting, Prompt, Verdict
from backend.judges.base import Judgment, PairJudgment
from backend.judges.ranking import RankingGroup, RankingJudge
from backend.judges.scoring.targets import (
    GreetingSource,
    GreetingWork,
    JudgedWork,
    is_current_verdict,
    needs_verdict,
    next_revision,
)

# Requests of a page: each is at least one call, and brings all its greetings with it.
GROUPS_A_PAGE = 100


@dataclass(frozen=True)
class GroupWork:
    """A request and its greetings, to be ranked together."""

    prompt_id: int
    greetings: tuple[GreetingWork, ...]

    @property
    def id(self) -> int:
        """What pages of work go on after."""
        return self.prompt_id

    @property
    def prompt(self) -> str:
        """The request."""
        return self.greetings[0].prompt

    @property
    def group(self) -> RankingGroup:
        """What the judge takes."""
        return RankingGroup(self.prompt, tuple(work_item.greeting for work_item in self.greetings))


class RankingSource(GreetingSource):
    """Requests of a target of which at least one greeting has no verdict.

    A request comes with all its greetings of the target and all that this judge has ranked before, here or for another
    target: a value only says how a greeting stands in its group, so all current values of a request must come from one
    ranking. What was ranked before gets a new verdict that supersedes the old one.
    """

    def load_groups(
        self, session: Session, rater_id: int, after_id: int, page_size: int, *, retry_unscored: bool
    ) -> list[GroupWork]:
        """The next requests, in order of their ids."""
        current_verdict = aliased(Verdict)
        is_missing = needs_verdict(current_verdict.id, current_verdict.value.is_(None), retry_unscored)
        prompt_ids = session.scalars(
            select(Greeting.prompt_id)
            .outerjoin(current_verdict, is_current_verdict(current_verdict, rater_id))
            .where(Greeting.prompt_id > after_id, Greeting.id.in_(self._member_query), is_missing)
            .distinct()
            .order_by(Greeting.prompt_id)
            .limit(page_size)
        ).all()
        works_by_prompt: dict[int, list[GreetingWork]] = {prompt_id: [] for prompt_id in prompt_ids}
        for prompt_id, greeting_work in self._load_greetings(session, rater_id, prompt_ids):
            works_by_prompt[prompt_id].append(greeting_work)
        return [GroupWork(prompt_id, tuple(works)) for prompt_id, works in works_by_prompt.items()]

    def _load_greetings(
        self, session: Session, rater_id: int, prompt_ids: Sequence[int]
    ) -> list[tuple[int, GreetingWork]]:
        current_verdict = aliased(Verdict)
        greeting_rows = session.execute(
            select(Prompt.id, Prompt.text, Greeting.text, Greeting.id, current_verdict.id, current_verdict.revision)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .outerjoin(current_verdict, is_current_verdict(current_verdict, rater_id))
            .where(
                and_(
                    Greeting.prompt_id.in_(prompt_ids),
                    or_(Greeting.id.in_(self._member_query), current_verdict.id.is_not(None)),
                )
            )
            .order_by(Greeting.id)
        )
        return [
            (prompt_id, GreetingWork(prompt_text, text, greeting_id, superseded_id, next_revision(revision)))
            for prompt_id, prompt_text, text, greeting_id, superseded_id, revision in greeting_rows
        ]


def group_scorer(judge: RankingJudge) -> Callable[[Sequence[Any]], Awaitable[list[list[Judgment]]]]:
    """Scores batches of GroupWork: one list of judgments a group."""

    async def score_groups(group_batch: Sequence[GroupWork]) -> list[list[Judgment]]:
        return await judge.rank_groups([group_work.group for group_work in group_batch])

    return score_groups


def flatten_groups(judged_groups: Sequence[tuple[Any, Any]]) -> list[JudgedWork]:
    """Judged groups as their greetings, each with its judgment; other judged work as it is."""
    flat_work: list[JudgedWork] = []
    for work_item, judgment in judged_groups:
        if isinstance(work_item, GroupWork):
            flat_work += zip(work_item.greetings, judgment, strict=True)
        else:
            assert isinstance(judgment, Judgment | PairJudgment)
            flat_work.append((work_item, judgment))
    return flat_work


def expected_calls(
    judge: RankingJudge, sampled_groups: Sequence[GroupWork], greeting_count: int
) -> tuple[list[str], int]:
    """The prompts of a sample of requests, and how many calls so many greetings will take by it."""
    prompt_texts = [prompt_text for group_work in sampled_groups for prompt_text in judge.preview(group_work.group)]
    sampled_count = sum(len(group_work.greetings) for group_work in sampled_groups)
    return prompt_texts, ceil(greeting_count * len(prompt_texts) / sampled_count) if sampled_count else 0
