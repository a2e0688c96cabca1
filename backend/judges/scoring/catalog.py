"""Stored judges: raters of kind judge whose configuration is the spec; and the verdicts of two of them compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.core.enums import DECISION_THRESHOLDS, Outcome, RaterKind, Scale
from backend.core.errors import NotFound, UserError
from backend.core.stored_records import read_record
from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.db.queries import current_rows
from backend.db.tables import Comparison, Greeting, Prompt, Rater, Verdict
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.context import JudgeContext
from backend.judges.pairwise import PairwiseJudge
from backend.judges.registry import AnyJudge, describe_judge
from backend.judges.scoring.records import JudgeInfo, Opinion, OpinionPair, OpinionPairPage
from backend.judges.scoring.targets import ensure_rater_id

_LABEL_TABLES: tuple[type[Verdict] | type[Comparison], ...] = (Verdict, Comparison)
_JudgmentCounts = dict[int, tuple[int, int]]


class JudgeCatalog:
    """Lists, finds and stores judges. A changed judge is a new version under the same name."""

    def __init__(self, database: Database, build_context: Callable[[], JudgeContext]) -> None:
        self._database = database
        self._build_context = build_context

    def judges(self) -> list[JudgeInfo]:
        """Every judge at every version, the newest first."""
        with self._database.read() as session:
            raters = session.scalars(select(Rater).where(Rater.kind == RaterKind.JUDGE).order_by(Rater.id.desc())).all()
            judgment_counts = _count_verdicts(session) | _count_comparisons(session)
            version_costs = _sum_costs(session)
        newest_ids: dict[str, int] = {}
        for rater in raters:
            # Raters come newest first, so the first of a name is its newest version.
            newest_ids.setdefault(rater.name, rater.id)
        return [
            _build_judge_info(
                rater,
                rater.id == newest_ids[rater.name],
                judgment_counts.get(rater.id, (0, 0)),
                version_costs,
            )
            for rater in raters
        ]

    def judge(self, judge_id: int) -> JudgeInfo:
        """One judge at one version, by the id of its rater. Raises NotFound."""
        judge_info = next((candidate for candidate in self.judges() if candidate.id == judge_id), None)
        if judge_info is None:
            raise NotFound("There is no such judge.", "没有这个裁判。")
        return judge_info

    def save(self, judge_spec: JudgeSpec) -> JudgeInfo:
        """Keep a judge; the same one twice is one. Raises UserError for a spec that cannot be built."""
        judge = describe_judge(judge_spec, self._build_context())
        _ = judge.version  # may build the index of examples, which is too long for a transaction
        with self._database.write() as session:
            rater_id = self.ensure_rater(session, judge_spec, judge)
        return self.judge(rater_id)

    def ensure_rater(self, session: Session, judge_spec: JudgeSpec, judge: AnyJudge) -> int:
        """The id of the rater that stands for the judge, inserted where it is new."""
        judge_scale = None if isinstance(judge, PairwiseJudge) else judge.scale
        return ensure_rater_id(session, judge.name, judge.version, judge_scale, judge_spec)

    def find_rater_id(self, session: Session, judge_name: str, judge_version: str) -> int | None:
        """The id of the rater that stands for a judge at a version, None where it never judged."""
        rater_key = {"kind": RaterKind.JUDGE, "name": judge_name, "version": judge_version}
        return session.scalar(select(Rater.id).filter_by(**rater_key))

    def next_attempt(self, session: Session, rater_id: int) -> int:
        """How often this rater's verdicts were revised, and once more: the number of the next attempt."""
        # The number goes into the cache key: an unreadable reply is a success to the ledger, which would
        # serve it again.
        last_revisions = (
            session.scalar(select(func.max(label_table.revision)).where(label_table.rater_id == rater_id))
            for label_table in _LABEL_TABLES
        )
        return max((revision + 1 for revision in last_revisions if revision is not None), default=0)

    def resolve(self, judge_name: str, endpoint: str | None = None, **config: Any) -> JudgeSpec:
        """The spec of a stored judge (newest version), or a kind's own; what is given replaces its part.

        Its examples come from the newest index again. Raises NotFound.
        """
        judge_spec = self._load_stored_spec(judge_name)
        if judge_spec is None and judge_name in set(JudgeKind):
            judge_spec = JudgeSpec(JudgeKind(judge_name), judge_name)
        if judge_spec is None:
            raise NotFound(
                f"There is no judge named “{judge_name}”; create it, or use a kind: {', '.join(JudgeKind)}.",
                f"没有名为“{judge_name}”的裁判，请先创建，或使用内置类型：{'、'.join(JudgeKind)}。",
            )
        overrides = {
            setting_name: setting_value for setting_name, setting_value in config.items() if setting_value is not None
        }
        stored_settings = {
            setting_name: setting_value
            for setting_name, setting_value in judge_spec.config.items()
            # A stored judge names the index of its run; a new run by its name wants today's examples.
            if setting_name != "index"
        }
        return JudgeSpec(
            judge_spec.kind,
            judge_spec.name,
            endpoint or judge_spec.endpoint,
            {**stored_settings, **overrides},
        )

    def _load_stored_spec(self, judge_name: str) -> JudgeSpec | None:
        with self._database.read() as session:
            rater_configs = session.scalars(
                select(Rater.config)
                .where(Rater.kind == RaterKind.JUDGE, Rater.name == judge_name)
                .order_by(Rater.id.desc())
            ).all()
        # The newest that can be read: older baselines were stored without a specification.
        return next(
            (judge_spec for rater_config in rater_configs if (judge_spec := _read_spec(rater_config)) is not None),
            None,
        )


def _count_verdicts(session: Session) -> _JudgmentCounts:
    count_rows = session.execute(
        select(Verdict.rater_id, func.count(Verdict.value), func.count())
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.JUDGE, current_rows(Verdict))
        .group_by(Verdict.rater_id)
    )
    return {rater_id: (scored_count, total_count - scored_count) for rater_id, scored_count, total_count in count_rows}


def _count_comparisons(session: Session) -> _JudgmentCounts:
    unscored_sum = func.sum(case((Comparison.outcome == Outcome.SKIP, 1), else_=0))
    count_rows = session.execute(
        select(Comparison.rater_id, func.count(), unscored_sum)
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind == RaterKind.JUDGE, current_rows(Comparison))
        .group_by(Comparison.rater_id)
    )
    return {
        rater_id: (total_count - unscored_count, unscored_count) for rater_id, total_count, unscored_count in count_rows
    }


def _sum_costs(session: Session) -> dict[str, float]:
    # By scope, which is the judge's version, so that failed calls and those of every agent are in it.
    cost_rows = session.execute(select(LLMCall.scope, func.sum(LLMCall.cost)).group_by(LLMCall.scope))
    return {call_scope: float(total_cost or 0) for call_scope, total_cost in cost_rows}


def _build_judge_info(
    rater: Rater, is_newest: bool, judgment_counts: tuple[int, int], version_costs: Mapping[str, float]
) -> JudgeInfo:
    judge_spec = _read_spec(rater.config)
    judge_kind = judge_spec.kind if judge_spec else JudgeKind(rater.name) if rater.name in set(JudgeKind) else None
    scale_name = rater.config.get("scale")
    return JudgeInfo(
        id=rater.id,
        name=rater.name,
        kind=judge_kind,
        version=rater.version,
        scale=Scale(scale_name) if scale_name else None,
        endpoint=judge_spec.endpoint if judge_spec else None,
        created_at=rater.created_at,
        newest=is_newest,
        scored=judgment_counts[0],
        unscored=judgment_counts[1],
        cost=version_costs.get(rater.version, 0.0),
        spec=judge_spec,
    )


def _read_spec(rater_config: Mapping[str, Any]) -> JudgeSpec | None:
    stored_spec = rater_config.get("spec")
    if not isinstance(stored_spec, Mapping):
        return None
    try:
        return read_record(JudgeSpec, stored_spec)
    except UserError:
        return None


def load_opinion_pairs(
    session: Session,
    first_judge_id: int,
    second_judge_id: int,
    *,
    only_disagreements: bool,
    offset: int,
    limit: int,
) -> OpinionPairPage:
    """One page of the greetings that both judges came to, with both verdicts.

    `only_disagreements` leaves those that one judge calls good and the other not, or that only one of them scored;
    where the scale of a judge has no threshold of good, every scored greeting stays.
    """
    first_verdict, second_verdict = aliased(Verdict), aliased(Verdict)
    conditions = [
        _is_current_verdict(first_verdict, first_judge_id),
        _is_current_verdict(second_verdict, second_judge_id),
    ]
    if only_disagreements:
        conditions.append(_judges_disagree(session, first_verdict, second_verdict, first_judge_id, second_judge_id))
    joined_query = (
        select(Greeting.id, Prompt.text, Greeting.text, first_verdict, second_verdict)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .join(first_verdict, first_verdict.greeting_id == Greeting.id)
        .join(second_verdict, second_verdict.greeting_id == Greeting.id)
        .where(*conditions)
    )
    total_count = session.scalar(select(func.count()).select_from(joined_query.subquery())) or 0
    page_rows = session.execute(joined_query.order_by(Greeting.id).offset(offset).limit(limit))
    return OpinionPairPage(total_count, tuple(_build_opinion_pair(page_row) for page_row in page_rows))


def _build_opinion_pair(columns: Sequence[Any]) -> OpinionPair:
    greeting_id, prompt_text, greeting_text, first_verdict, second_verdict = columns
    return OpinionPair(
        greeting_id, prompt_text, greeting_text, _build_opinion(first_verdict), _build_opinion(second_verdict)
    )


def _build_opinion(verdict: Verdict) -> Opinion:
    return Opinion(verdict.value, verdict.reason, verdict.dimensions or {})


def _is_current_verdict(verdict: Any, rater_id: int) -> ColumnElement[bool]:
    return and_(verdict.rater_id == rater_id, verdict.item_id.is_(None), current_rows(verdict))


def _judges_disagree(
    session: Session, first_verdict: Any, second_verdict: Any, first_judge_id: int, second_judge_id: int
) -> ColumnElement[bool]:
    one_unscored = first_verdict.value.is_(None) != second_verdict.value.is_(None)
    thresholds = [_good_threshold(session, rater_id) for rater_id in (first_judge_id, second_judge_id)]
    # A score without a threshold calls nothing good, so two judges cannot be seen to part over it.
    if None in thresholds:
        return or_(one_unscored, first_verdict.value.is_not(None))
    return or_(one_unscored, (first_verdict.value >= thresholds[0]) != (second_verdict.value >= thresholds[1]))


def _good_threshold(session: Session, rater_id: int) -> float | None:
    verdict_scale = session.scalar(select(Verdict.scale).where(Verdict.rater_id == rater_id).limit(1))
    return DECISION_THRESHOLDS.get(verdict_scale) if verdict_scale else None
