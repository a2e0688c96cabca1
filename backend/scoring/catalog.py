"""The judges of the house: raters of kind judge, their configuration being the spec they are built from."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.db.tables import Comparison, Rater, Verdict
from backend.errors import NotFound, UserError
from backend.judges.base import PairJudge
from backend.judges.registry import AnyJudge, describe
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.scoring.house import ScoringHouse
from backend.scoring.records import JudgeInfo
from backend.scoring.store import rater_of
from backend.vocabulary import Outcome, RaterKind, Scale

_LABELS: tuple[type[Verdict] | type[Comparison], ...] = (Verdict, Comparison)
_Counts = dict[int, tuple[int, int]]


class JudgeCatalog:
    """Lists, finds and stores judges. A changed judge is a new version under the same name."""

    def __init__(self, database: Database, house: Callable[[], ScoringHouse]) -> None:
        self._database = database
        self._house = house

    def judges(self) -> list[JudgeInfo]:
        """Every judge at every version, the newest first."""
        with self._database.read() as session:
            raters = session.scalars(
                select(Rater).where(Rater.kind == RaterKind.JUDGE).order_by(Rater.id.desc())
            ).all()
            counts = _verdicts(session) | _comparisons(session)
            costs = _costs(session)
        newest: dict[str, int] = {}
        for rater in raters:
            newest.setdefault(rater.name, rater.id)
        return [
            _info(rater, rater.id == newest[rater.name], counts.get(rater.id, (0, 0)), costs)
            for rater in raters
        ]

    def judge(self, judge_id: int) -> JudgeInfo:
        """One judge at one version. Raises NotFound."""
        found = next((info for info in self.judges() if info.id == judge_id), None)
        if found is None:
            raise NotFound("There is no such judge.", "没有这个裁判。")
        return found

    def save(self, spec: JudgeSpec) -> JudgeInfo:
        """Keep a judge; the same one twice is one. Raises UserError for a spec that cannot be built."""
        judge = describe(spec, self._house())
        _ = judge.version  # may build the index of examples, which is too long for a transaction
        with self._database.write() as session:
            rater_id = self.rater(session, spec, judge)
        return self.judge(rater_id)

    def rater(self, session: Session, spec: JudgeSpec, judge: AnyJudge) -> int:
        """The id of the rater that stands for the judge, made where it is new."""
        scale = None if isinstance(judge, PairJudge) else judge.scale
        return rater_of(session, judge.name, judge.version, scale, spec)

    def rater_id(self, session: Session, name: str, version: str) -> int | None:
        """The id of the rater that stands for a judge at a version, None where it never judged."""
        key = {"kind": RaterKind.JUDGE, "name": name, "version": version}
        return session.scalar(select(Rater.id).filter_by(**key))

    def revisions(self, session: Session, rater_id: int) -> int:
        """How often this rater's verdicts were revised, and once more: the number of the next attempt."""
        last = (session.scalar(select(func.max(t.revision)).where(t.rater_id == rater_id)) for t in _LABELS)
        return max((revision + 1 for revision in last if revision is not None), default=0)

    def resolve(self, name: str, endpoint: str | None = None, **config: Any) -> JudgeSpec:
        """The spec of a stored judge (newest version), or a kind's own; what is given replaces its part.

        Its examples come from the newest index again. Raises NotFound.
        """
        spec = self._stored(name)
        if spec is None and name in set(JudgeKind):
            spec = JudgeSpec(JudgeKind(name), name)
        if spec is None:
            raise NotFound(
                f"There is no judge named “{name}”; create it, or use a kind: {', '.join(JudgeKind)}.",
                f"没有名为“{name}”的裁判，请先创建，或使用内置类型：{'、'.join(JudgeKind)}。",
            )
        given = {key: value for key, value in config.items() if value is not None}
        kept = {key: value for key, value in spec.config.items() if key != "index"}
        return JudgeSpec(spec.kind, spec.name, endpoint or spec.endpoint, {**kept, **given})

    def _stored(self, name: str) -> JudgeSpec | None:
        with self._database.read() as session:
            configs = session.scalars(
                select(Rater.config)
                .where(Rater.kind == RaterKind.JUDGE, Rater.name == name)
                .order_by(Rater.id.desc())
            ).all()
        return next((spec for config in configs if (spec := _spec(config)) is not None), None)


def _verdicts(session: Session) -> _Counts:
    newer = aliased(Verdict)
    rows = session.execute(
        select(Verdict.rater_id, func.count(Verdict.value), func.count())
        .join(Rater, Rater.id == Verdict.rater_id)
        .outerjoin(newer, newer.supersedes_id == Verdict.id)
        .where(Rater.kind == RaterKind.JUDGE, newer.id.is_(None))
        .group_by(Verdict.rater_id)
    )
    return {rater_id: (scored, total - scored) for rater_id, scored, total in rows}


def _comparisons(session: Session) -> _Counts:
    newer = aliased(Comparison)
    unscored = func.sum(case((Comparison.outcome == Outcome.SKIP, 1), else_=0))
    rows = session.execute(
        select(Comparison.rater_id, func.count(), unscored)
        .join(Rater, Rater.id == Comparison.rater_id)
        .outerjoin(newer, newer.supersedes_id == Comparison.id)
        .where(Rater.kind == RaterKind.JUDGE, newer.id.is_(None))
        .group_by(Comparison.rater_id)
    )
    return {rater_id: (total - missing, missing) for rater_id, total, missing in rows}


def _costs(session: Session) -> dict[str, float]:
    rows = session.execute(select(LLMCall.scope, func.sum(LLMCall.cost)).group_by(LLMCall.scope))
    return {scope: float(cost or 0) for scope, cost in rows}


def _info(rater: Rater, newest: bool, counts: tuple[int, int], costs: Mapping[str, float]) -> JudgeInfo:
    spec = _spec(rater.config)
    kind = spec.kind if spec else JudgeKind(rater.name) if rater.name in set(JudgeKind) else None
    scale = rater.config.get("scale")
    return JudgeInfo(
        id=rater.id,
        name=rater.name,
        kind=kind,
        version=rater.version,
        scale=Scale(scale) if scale else None,
        endpoint=spec.endpoint if spec else None,
        created_at=rater.created_at,
        newest=newest,
        scored=counts[0],
        unscored=counts[1],
        cost=costs.get(rater.version, 0.0),
        spec=spec,
    )


def _spec(config: Mapping[str, Any]) -> JudgeSpec | None:
    stored = config.get("spec")
    if not isinstance(stored, Mapping):
        return None
    try:
        return JudgeSpec.read(stored)
    except UserError:
        return None
