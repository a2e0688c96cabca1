"""The archive of versions: look, compare texts, write by hand, go back, publish. Nothing is ever changed."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.principle_tables import (
    PrincipleMark,
    PrincipleOutcome,
    PrincipleRun,
    Principles,
    PrincipleStep,
)
from backend.errors import NotFound, UserError
from backend.evolution.players import spec_of
from backend.evolution.records import VersionInfo
from backend.judges.spec import JudgeSpec
from backend.principles.rules import RuleSet, changes, starting, written
from backend.principles.vocabulary import Phase, Proposer, Role, Why
from backend.scoring.records import JudgeInfo
from backend.scoring.service import ScoringService

_NAME = 120
PHASES = {
    Role.DETECTOR: (Phase.PROPOSE_D, Phase.TRY_D, Phase.TRIM, Phase.GATE_D),
    Role.GENERATOR: (Phase.PROPOSE_G, Phase.DUEL, Phase.DUEL_CONFIRM, Phase.GATE_G),
}
"""What deciding on a version takes."""


class EarlierVersion(UserError):
    """A name under which a judge with these principles stands already, behind a newer one.

    `judge` is that earlier version; under `free` the same principles can be published.
    """

    def __init__(self, judge: JudgeInfo, free: str) -> None:
        made = f"{judge.created_at:%Y-%m-%d}"
        super().__init__(
            f"These principles are an earlier version of “{judge.name}” ({judge.version}, {made}), which "
            f"goes by its newest one; publish them as “{free}”, which scores just the same.",
            f"这套原则已是“{judge.name}”的旧版本（{judge.version}，{made}），而按名称取用的是最新版本；"
            f"可以另发布为“{free}”，评判完全一样。",
        )
        self.judge, self.free = judge, free


class PrincipleArchive:
    """Every version of S_D and S_G."""

    def __init__(self, database: Database, scoring: ScoringService) -> None:
        self._database = database
        self._scoring = scoring

    def versions(self, run: int | None = None, role: Role | None = None) -> list[VersionInfo]:
        """Versions in the order they came; of a run also the ones it began with, as it saw them."""
        query = select(Principles).order_by(Principles.id)
        if role is not None:
            query = query.where(Principles.role == role)
        with self._database.read() as session:
            if run is not None:
                row = _run(session, run)
                first = (row.detector_id, row.generator_id)
                query = query.where((Principles.run_id == run) | Principles.id.in_(first))
            return _infos(session, session.scalars(query).all(), run)

    def version(self, version_id: int) -> VersionInfo:
        """One version. Raises NotFound."""
        with self._database.read() as session:
            return _infos(session, [_row(session, version_id)], None)[0]

    def diff(self, before: int, after: int) -> list[tuple[str, str]]:
        """What became of each rule from one version to another: ("=", "-" or "+", text).

        Raises NotFound, and UserError for two roles.
        """
        first, second = self.version(before), self.version(after)
        if first.role is not second.role:
            raise UserError(
                "An S_D and an S_G have nothing in common to compare.", "S_D 与 S_G 不是一类，无法对比。"
            )
        return changes(first.rules.texts, second.rules.texts)

    def edit(self, version_id: int, rules: Sequence[str], author: str, reason: str) -> VersionInfo:
        """A new version by hand. Raises UserError for rules that cannot be, or without author and reason."""
        who, why = signed(author, reason)
        with self._database.write() as session:
            parent = _row(session, version_id)
            made = written(parent.role, rules, (f"v{version_id}",))
            if made.hash == parent.rules_hash:
                raise UserError(
                    "The rules are the same as before; nothing was saved.", "规则与原来相同，没有保存。"
                )
            row = _new(made, parent.id, Proposer.PERSON, who, why)
            session.add(row)
            session.flush()
            new = row.id
        return self.version(new)

    def start(self, role: Role) -> int:
        """The number of our own first version, made where it is new."""
        rules = starting(role)
        with self._database.write() as session:
            known = session.scalar(
                select(Principles.id)
                .where(Principles.role == role, Principles.rules_hash == rules.hash)
                .where(Principles.parent_id.is_(None), Principles.proposer == Proposer.START)
                .order_by(Principles.id)
            )
            if known is not None:
                return known
            row = _new(rules, None, Proposer.START)
            session.add(row)
            session.flush()
            return row.id

    def current(self, role: Role) -> int:
        """The version in force: the one marked last, else our own first."""
        with self._database.read() as session:
            marked = _current(session).get(role)
        return marked if marked is not None else self.start(role)

    def mark(self, version_id: int, author: str, reason: str) -> VersionInfo:
        """Make a version current, an earlier one too. Raises NotFound, UserError without author or reason."""
        who, why = signed(author, reason)
        with self._database.write() as session:
            row = _row(session, version_id)
            session.add(PrincipleMark(role=row.role, version_id=row.id, author=who, reason=why))
        return self.version(version_id)

    def publish(self, version_id: int, name: str, endpoint: str | None = None) -> JudgeInfo:
        """Keep an S_D as a `principle` judge, at the endpoint of its run unless another is named.

        It scores as the Detector did: same prompt, model and sampling, hence the same version and the
        same calls in the ledger. Raises UserError for an S_G and for a name that is taken by another kind,
        EarlierVersion where the name has these principles already but goes by newer ones.
        """
        spec = self.spec(version_id, name, endpoint)
        known = {info.name: info for info in self._scoring.catalog.judges() if info.newest}
        taken = known.get(spec.name)
        if taken is not None and taken.kind is not spec.kind:
            raise UserError(
                f"“{spec.name}” is a judge of another kind; choose another name.",
                f"“{spec.name}”是另一类裁判，请换一个名称。",
            )
        made = self._scoring.catalog.save(spec)
        if not made.newest:
            own = f"{spec.name[: _NAME - 12]} v{version_id}"
            free = (own, *(f"{own} ({number})" for number in range(2, 100)))
            raise EarlierVersion(
                made, next(one for one in free if one not in known or known[one].version == made.version)
            )
        return made

    def spec(self, version_id: int, name: str, endpoint: str | None = None) -> JudgeSpec:
        """The judge that a version makes. Raises UserError for an S_G or an empty name."""
        with self._database.read() as session:
            row = _row(session, version_id)
            run = session.get(PrincipleRun, row.run_id) if row.run_id else None
            played = run.endpoints["detector"]["name"] if run else None
        if row.role is not Role.DETECTOR:
            raise UserError("Only an S_D can judge.", "只有 S_D 能当裁判。")
        rules = RuleSet.read(row.role, row.rules)
        if not rules.rules:
            raise UserError("This version has no rules.", "这一版没有规则。")
        given = name.strip()
        if not 0 < len(given) <= _NAME or not given.isprintable():
            raise UserError(
                "Give the judge a name of 1 to 120 characters.", "请填写裁判名称（1 到 120 个字符）。"
            )
        spec = spec_of(rules, "", given)
        return JudgeSpec(spec.kind, given, endpoint or played, spec.config)


def signed(author: str, reason: str) -> tuple[str, str]:
    """Who and why, both given. Raises UserError."""
    who, why = " ".join(author.split()), " ".join(reason.split())
    if not who or not why:
        raise UserError("Say who you are and why.", "请填写署名和理由。")
    if len(who) > _NAME or len(why) > 2_000:
        raise UserError(
            "The name may have 120 characters and the reason 2,000.", "署名最多 120 字，理由最多 2,000 字。"
        )
    return who, why


def _new(
    rules: RuleSet, parent: int | None, proposer: Proposer, author: str = "", note: str = ""
) -> Principles:
    return Principles(
        role=rules.role,
        rules=rules.plain(),
        rules_hash=rules.hash,
        parent_id=parent,
        proposer=proposer,
        author=author,
        note=note,
    )


def _infos(session: Session, rows: Sequence[Principles], run: int | None) -> list[VersionInfo]:
    current = set(_current(session).values())
    ids = [row.id for row in rows]
    outcomes = session.scalars(select(PrincipleOutcome).where(PrincipleOutcome.version_id.in_(ids))).all()
    found: dict[tuple[int | None, int], PrincipleOutcome] = {
        (one.run_id, one.version_id): one for one in outcomes
    }
    used = _used(session)
    return [_info(row, found.get((run or row.run_id, row.id)), used, row.id in current) for row in rows]


def _info(
    row: Principles,
    outcome: PrincipleOutcome | None,
    used: dict[tuple[int | None, int | None, str], tuple[int, float]],
    current: bool,
) -> VersionInfo:
    spent = [used.get((row.run_id, row.round, phase), (0, 0.0)) for phase in PHASES[row.role]]
    judged = (
        {
            "accepted": outcome.accepted,
            "why": Why(outcome.why),
            "facts": outcome.facts,
            "score": outcome.score,
            "low": outcome.low,
            "high": outcome.high,
        }
        if outcome
        else {"why": Why.BY_HAND if row.proposer is Proposer.PERSON else None}
    )
    return VersionInfo(
        id=row.id,
        role=row.role,
        rules=RuleSet.read(row.role, row.rules),
        parent=row.parent_id,
        run=row.run_id,
        round=row.round,
        proposer=row.proposer,
        author=row.author,
        note=row.note,
        created_at=row.created_at,
        calls=sum(calls for calls, _ in spent),
        cost=sum(cost for _, cost in spent),
        current=current,
        **judged,
    )


def _used(session: Session) -> dict[tuple[int | None, int | None, str], tuple[int, float]]:
    rows = session.execute(
        select(
            PrincipleStep.run_id,
            PrincipleStep.round,
            PrincipleStep.phase,
            PrincipleStep.calls,
            PrincipleStep.cost,
        )
    )
    return {(run, number, phase): (calls, cost) for run, number, phase, calls, cost in rows}


def _current(session: Session) -> dict[Role, int]:
    newest = select(func.max(PrincipleMark.id)).group_by(PrincipleMark.role)
    rows = session.execute(
        select(PrincipleMark.role, PrincipleMark.version_id).where(PrincipleMark.id.in_(newest))
    )
    return {row.role: row.version_id for row in rows}


def _row(session: Session, version_id: int) -> Principles:
    row = session.get(Principles, version_id)
    if row is None:
        raise NotFound(f"There is no version {version_id}.", f"没有编号为 {version_id} 的版本。")
    return row


def _run(session: Session, run_id: int) -> PrincipleRun:
    row = session.get(PrincipleRun, run_id)
    if row is None:
        raise NotFound(f"There is no run {run_id}.", f"没有编号为 {run_id} 的运行。")
    return row
