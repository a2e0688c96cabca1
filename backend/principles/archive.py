"""The archive of versions: look, compare texts, write by hand, go back, publish. Nothing is ever deleted."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.core.enums import DecisionReason, GamePhase, Proposer, Role
from backend.core.errors import UserError
from backend.db.engine import Database
from backend.db.principle_tables import (
    PrincipleMark,
    PrincipleOutcome,
    PrincipleRun,
    Principles,
    PrincipleStep,
)
from backend.db.queries import get_or_not_found
from backend.judges.base import JudgeSpec
from backend.judges.scoring.records import JudgeInfo
from backend.judges.scoring.service import ScoringService
from backend.principles.algorithm.rules import RuleSet, list_rule_changes, rules_from_texts, starting_rules
from backend.principles.records import VersionInfo
from backend.principles.setup import principle_spec
from backend.principles.store import require_run

# The width of the name columns; SQLite would take longer names, PostgreSQL refuses them.
_MAX_NAME_LENGTH = 120
# What deciding on a version takes.
DECISION_PHASES = {
    # Attack, confirmation and reflection are not among them: their advice serves both roles alike.
    Role.DETECTOR: (GamePhase.PROPOSE_D, GamePhase.TRY_D, GamePhase.TRIM, GamePhase.GATE_D),
    Role.GENERATOR: (GamePhase.PROPOSE_G, GamePhase.DUEL, GamePhase.DUEL_CONFIRM, GamePhase.GATE_G),
}


class EarlierVersion(UserError):
    """A name under which a judge with these principles stands already, behind a newer one.

    `earlier_judge` is that version; under `free_name` the same principles can be published.
    """

    def __init__(self, earlier_judge: JudgeInfo, free_name: str) -> None:
        created_date = f"{earlier_judge.created_at:%Y-%m-%d}"
        super().__init__(
            f"These principles are an earlier version of “{earlier_judge.name}” ({earlier_judge.version}, "
            f"{created_date}), which goes by its newest one; publish them as “{free_name}”, "
            "which scores just the same.",
            f"这套原则已是“{earlier_judge.name}”的旧版本（{earlier_judge.version}，{created_date}），而按名称取用的是最新版本；"
            f"可以另发布为“{free_name}”，评判完全一样。",
        )
        self.judge, self.free_name = earlier_judge, free_name


class PrincipleArchive:
    """Every version of S_D and S_G."""

    def __init__(self, database: Database, scoring: ScoringService) -> None:
        self._database = database
        self._scoring = scoring

    def versions(self, run_id: int | None = None, agent_role: Role | None = None) -> list[VersionInfo]:
        """Versions in the order they came; of a run also the ones it began with, as it saw them."""
        version_query = select(Principles).order_by(Principles.id)
        if agent_role is not None:
            version_query = version_query.where(Principles.role == agent_role)
        with self._database.read() as session:
            if run_id is not None:
                run_row = require_run(session, run_id)
                first_ids = (run_row.detector_id, run_row.generator_id)
                version_query = version_query.where((Principles.run_id == run_id) | Principles.id.in_(first_ids))
            return _version_infos(session, session.scalars(version_query).all(), run_id)

    def version(self, version_id: int) -> VersionInfo:
        """One version. Raises NotFound."""
        with self._database.read() as session:
            return _version_infos(session, [_require_version(session, version_id)], None)[0]

    def diff(self, old_id: int, new_id: int) -> list[tuple[str, str]]:
        """What became of each rule from one version to another: ("=", "-" or "+", text).

        Raises NotFound, and UserError for two roles.
        """
        old_version, new_version = self.version(old_id), self.version(new_id)
        if old_version.role is not new_version.role:
            raise UserError("An S_D and an S_G have nothing in common to compare.", "S_D 与 S_G 不是一类，无法对比。")
        return list_rule_changes(old_version.rules.texts, new_version.rules.texts)

    def edit(self, version_id: int, rule_texts: Sequence[str], author: str, reason: str) -> VersionInfo:
        """A new version by hand. Raises UserError for rules that cannot be, or without author and reason."""
        signed_author, signed_reason = check_signature(author, reason)
        with self._database.write() as session:
            parent_row = _require_version(session, version_id)
            new_rules = rules_from_texts(parent_row.role, rule_texts, (f"v{version_id}",))
            # A version with its parent's texts would have the same calls and verdicts, and nothing to tell
            # them apart by.
            if new_rules.hash == parent_row.rules_hash:
                raise UserError("The rules are the same as before; nothing was saved.", "规则与原来相同，没有保存。")
            version_row = _version_row(new_rules, parent_row.id, Proposer.PERSON, signed_author, signed_reason)
            # Nothing of the parent is touched: runs and published judges refer to versions by number.
            session.add(version_row)
            session.flush()
            new_id = version_row.id
        return self.version(new_id)

    def start(self, agent_role: Role) -> int:
        """The number of our own first version, made where it is new."""
        rule_set = starting_rules(agent_role)
        with self._database.write() as session:
            existing_id = session.scalar(
                select(Principles.id)
                .where(Principles.role == agent_role, Principles.rules_hash == rule_set.hash)
                # A version that somebody edited back to these texts is another one: it has a history.
                .where(Principles.parent_id.is_(None), Principles.proposer == Proposer.START)
                .order_by(Principles.id)
            )
            if existing_id is not None:
                return existing_id
            version_row = _version_row(rule_set, None, Proposer.START)
            session.add(version_row)
            session.flush()
            return version_row.id

    def current(self, agent_role: Role) -> int:
        """The version in force: the one marked last, else our own first."""
        with self._database.read() as session:
            marked_id = _marked_versions(session).get(agent_role)
        return marked_id if marked_id is not None else self.start(agent_role)

    def mark(self, version_id: int, author: str, reason: str) -> VersionInfo:
        """Make a version current, an earlier one too. Raises NotFound, UserError without author or reason."""
        signed_author, signed_reason = check_signature(author, reason)
        with self._database.write() as session:
            version_row = _require_version(session, version_id)
            session.add(
                PrincipleMark(
                    role=version_row.role,
                    version_id=version_row.id,
                    author=signed_author,
                    reason=signed_reason,
                )
            )
        return self.version(version_id)

    def publish(self, version_id: int, judge_name: str, endpoint_name: str | None = None) -> JudgeInfo:
        """Keep an S_D as a `principle` judge, at the endpoint of its run unless another is named.

        It scores as the Detector did: same prompt, model and sampling, hence the same version and the
        same calls in the ledger. Raises UserError for an S_G and for a name that is taken by another kind,
        EarlierVersion where the name has these principles already but goes by newer ones.
        """
        judge_spec = self.spec(version_id, judge_name, endpoint_name)
        judges_by_name = {
            judge_info.name: judge_info for judge_info in self._scoring.catalog.judges() if judge_info.newest
        }
        existing_judge = judges_by_name.get(judge_spec.name)
        if existing_judge is not None and existing_judge.kind is not judge_spec.kind:
            raise UserError(
                f"“{judge_spec.name}” is a judge of another kind; choose another name.",
                f"“{judge_spec.name}”是另一类裁判，请换一个名称。",
            )
        # Saving what stands there already gives that version back, and it may lie behind a newer one of its
        # name.
        saved_judge = self._scoring.catalog.save(judge_spec)
        if not saved_judge.newest:
            # Twelve characters are room for “ v” with the version's number; names go into a column of 120.
            base_name = f"{judge_spec.name[: _MAX_NAME_LENGTH - 12]} v{version_id}"
            free_names = (base_name, *(f"{base_name} ({suffix_number})" for suffix_number in range(2, 100)))
            raise EarlierVersion(
                saved_judge,
                next(
                    candidate_name
                    for candidate_name in free_names
                    if candidate_name not in judges_by_name
                    # A name whose newest judge is this very version is as good as a free one: publishing
                    # twice makes one judge.
                    or judges_by_name[candidate_name].version == saved_judge.version
                ),
            )
        return saved_judge

    def spec(self, version_id: int, judge_name: str, endpoint_name: str | None = None) -> JudgeSpec:
        """The judge that a version makes. Raises UserError for an S_G or an empty name."""
        with self._database.read() as session:
            version_row = _require_version(session, version_id)
            run_row = session.get(PrincipleRun, version_row.run_id) if version_row.run_id else None
            run_endpoint = run_row.endpoints["detector"]["name"] if run_row else None
        if version_row.role is not Role.DETECTOR:
            raise UserError("Only an S_D can judge.", "只有 S_D 能当裁判。")
        rule_set = RuleSet.from_stored(version_row.role, version_row.rules)
        if not rule_set.rules:
            raise UserError("This version has no rules.", "这一版没有规则。")
        stripped_name = judge_name.strip()
        if not 0 < len(stripped_name) <= _MAX_NAME_LENGTH or not stripped_name.isprintable():
            raise UserError("Give the judge a name of 1 to 120 characters.", "请填写裁判名称（1 到 120 个字符）。")
        # Through the same function as the Detector: any other way would give the judge another version and
        # other calls.
        detector_spec = principle_spec(rule_set, "", stripped_name)
        return JudgeSpec(detector_spec.kind, stripped_name, endpoint_name or run_endpoint, detector_spec.config)


def check_signature(author: str, reason: str) -> tuple[str, str]:
    """Who and why, both given. Raises UserError."""
    signed_author, signed_reason = " ".join(author.split()), " ".join(reason.split())
    if not signed_author or not signed_reason:
        raise UserError("Say who you are and why.", "请填写署名和理由。")
    if len(signed_author) > _MAX_NAME_LENGTH or len(signed_reason) > 2_000:
        raise UserError(
            "The name may have 120 characters and the reason 2,000.", "署名最多 120 字，理由最多 2,000 字。"
        )
    return signed_author, signed_reason


def _version_row(
    rule_set: RuleSet, parent_id: int | None, proposer: Proposer, author: str = "", note: str = ""
) -> Principles:
    return Principles(
        role=rule_set.role,
        rules=rule_set.stored_rules,
        rules_hash=rule_set.hash,
        parent_id=parent_id,
        proposer=proposer,
        author=author,
        note=note,
    )


def _version_infos(session: Session, version_rows: Sequence[Principles], run_id: int | None) -> list[VersionInfo]:
    current_ids = set(_marked_versions(session).values())
    version_ids = [version_row.id for version_row in version_rows]
    outcome_rows = session.scalars(select(PrincipleOutcome).where(PrincipleOutcome.version_id.in_(version_ids))).all()
    outcomes_by_key: dict[tuple[int | None, int], PrincipleOutcome] = {
        (outcome_row.run_id, outcome_row.version_id): outcome_row for outcome_row in outcome_rows
    }
    # One query for all steps instead of four for every version of a long archive.
    costs_by_step = _step_costs(session)
    return [
        _version_info(
            version_row,
            # A version has one outcome in each run that began with it or brought it; the one of the run in
            # view counts.
            outcomes_by_key.get((run_id or version_row.run_id, version_row.id)),
            costs_by_step,
            version_row.id in current_ids,
        )
        for version_row in version_rows
    ]


def _version_info(
    version_row: Principles,
    outcome_row: PrincipleOutcome | None,
    costs_by_step: dict[tuple[int | None, int | None, str], tuple[int, float]],
    is_current: bool,
) -> VersionInfo:
    phase_costs = [
        costs_by_step.get((version_row.run_id, version_row.round, game_phase), (0, 0.0))
        for game_phase in DECISION_PHASES[version_row.role]
    ]
    outcome_fields = (
        {
            "accepted": outcome_row.accepted,
            "why": DecisionReason(outcome_row.why),
            "facts": outcome_row.facts,
            "score": outcome_row.score,
            "low": outcome_row.low,
            "high": outcome_row.high,
        }
        if outcome_row
        else {"why": DecisionReason.BY_HAND if version_row.proposer is Proposer.PERSON else None}
    )
    return VersionInfo(
        id=version_row.id,
        role=version_row.role,
        rules=RuleSet.from_stored(version_row.role, version_row.rules),
        parent=version_row.parent_id,
        run=version_row.run_id,
        round=version_row.round,
        proposer=version_row.proposer,
        author=version_row.author,
        note=version_row.note,
        created_at=version_row.created_at,
        calls=sum(call_count for call_count, _ in phase_costs),
        cost=sum(phase_cost for _, phase_cost in phase_costs),
        current=is_current,
        **outcome_fields,
    )


def _step_costs(session: Session) -> dict[tuple[int | None, int | None, str], tuple[int, float]]:
    step_rows = session.execute(
        select(
            PrincipleStep.run_id,
            PrincipleStep.round,
            PrincipleStep.phase,
            PrincipleStep.calls,
            PrincipleStep.cost,
        )
    )
    return {
        (run_id, round_number, game_phase): (call_count, step_cost)
        for run_id, round_number, game_phase, call_count, step_cost in step_rows
    }


def _marked_versions(session: Session) -> dict[Role, int]:
    # Marks are only ever added, so going back to an earlier version is one more mark and stays visible.
    newest_marks = select(func.max(PrincipleMark.id)).group_by(PrincipleMark.role)
    mark_rows = session.execute(
        select(PrincipleMark.role, PrincipleMark.version_id).where(PrincipleMark.id.in_(newest_marks))
    )
    return {mark_row.role: mark_row.version_id for mark_row in mark_rows}


def _require_version(session: Session, version_id: int) -> Principles:
    sentences = f"There is no version {version_id}.", f"没有编号为 {version_id} 的版本。"
    return get_or_not_found(session, Principles, version_id, *sentences)
