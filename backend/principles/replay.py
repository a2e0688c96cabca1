"""A run once more from the ledger alone: the same steps, or the first one that differs. Nothing is asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from backend.core.enums import GamePhase
from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.generation.writer import GreetingWriter
from backend.judges.context import JudgeContext
from backend.llm.budget import Budget
from backend.llm.endpoints import EndpointService
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.ledger import CallRecord
from backend.llm.messages import Completion, Endpoint, TokenUsage
from backend.principles.algorithm.planting import POLICY_SAMPLING
from backend.principles.algorithm.steps import STEP_TYPES
from backend.principles.setup import GENERATOR_SCOPE, refuse_baseline


@dataclass(frozen=True)
class ReplayResult:
    """Whether the ledger gives the same run, and where it first does not (round and phase)."""

    steps: int
    same: bool
    differs: str = ""


class ReplayLedger:
    """The ledger as it stood when the run asked, step by step.

    `windows` has, for each step, the ids of the last call before it and of its own last call: what was answered before
    comes from there, and the k-th time that a step asks the same it gets what its k-th asking got, an error again as an
    error.
    """

    def __init__(self, database: Database, windows: Mapping[tuple[int, GamePhase], tuple[int, int]]) -> None:
        self._database = database
        self._windows = windows
        self._first_call = self._last_call = 0
        self._turn_counts: dict[str, int] = {}

    def enter(self, round_number: int, game_phase: GamePhase) -> None:
        """From here on the calls are those of this step; a step that the run never had has none."""
        self._first_call, self._last_call = self._windows.get((round_number, game_phase), (0, 0))
        self._turn_counts = {}

    def lookup(self, request_hash: str) -> Completion | None:
        """What was answered then; None where nobody asked. Raises LLMError where it failed then."""
        with self._database.read() as session:
            call_rows = session.scalars(
                select(LLMCall)
                .where(LLMCall.request_hash == request_hash, LLMCall.id <= self._last_call)
                .order_by(LLMCall.id)
            ).all()
        earlier_calls = [
            call_row for call_row in call_rows if call_row.error is None and call_row.id <= self._first_call
        ]
        if earlier_calls:
            # The newest success before the step is what the client's own look into the ledger gave the run.
            return _stored_completion(earlier_calls[-1])
        call_turns: list[LLMCall] = []
        for call_row in call_rows:
            if call_row.id > self._first_call:
                # Attempt 1 begins a new asking; what its last attempt gave is what the run saw.
                call_turns[len(call_turns) if call_row.attempt == 1 else -1 :] = [call_row]
        if not call_turns:
            return None
        turn_index = self._turn_counts.get(request_hash, 0)
        self._turn_counts[request_hash] = turn_index + 1
        # Once a request was answered the run had that answer out of the ledger, however often it asked again.
        call_turn = call_turns[min(turn_index, len(call_turns) - 1)]
        if call_turn.error is not None:
            # Not fatal: the item was unscored then, and the run went on.
            raise LLMError(LLMErrorKind(call_turn.error), f"{call_turn.endpoint} ({call_turn.model})", fatal=False)
        return _stored_completion(call_turn)

    def record(self, call_record: CallRecord) -> None:
        """Nothing is asked, so there is nothing to record."""

    def flush(self) -> None:
        """Nothing is ever pending."""


class ReplayContext(JudgeContext):
    """Asks the ledger only: its budget allows no call, and its endpoints are those of the run's beginning."""

    def __init__(
        self,
        endpoint_service: EndpointService,
        run_endpoints: Mapping[str, Mapping[str, str]],
        replay_ledger: ReplayLedger,
    ) -> None:
        # No call is allowed, so a request that the ledger lacks ends the replay instead of costing money.
        super().__init__(endpoint_service, refuse_baseline, Budget(max_calls=0), ledger=replay_ledger)
        self._run_endpoints = run_endpoints

    def endpoint(self, endpoint_name: str | None) -> Endpoint:
        """The endpoint as it was when the run began, whatever has become of it."""
        run_endpoint = next(
            candidate for candidate in self._run_endpoints.values() if candidate["name"] == endpoint_name
        )
        return Endpoint(run_endpoint["name"], run_endpoint["base_url"], run_endpoint["model"])

    async def open_policy(self, policy_name: str) -> GreetingWriter:
        """A policy that only remembers, even where its files are gone."""
        # Keys of the ledger go by the artifact and not by the address, which was another one each time it was
        # served.
        replay_client = self.client(Endpoint(policy_name, "", policy_name, artifact=policy_name), GENERATOR_SCOPE)
        return GreetingWriter(policy_name, replay_client, POLICY_SAMPLING, self.fence_key(), trained=True)


def compare_steps(
    stored_steps: Mapping[str, Any], replayed_steps: Mapping[str, Any], version_numbers: Mapping[int, int]
) -> ReplayResult:
    """A run and its replay, step by step; `version_numbers` maps versions of the second to those of the first."""
    # In the order in which they were stored: the first difference is a cause, later ones only follow from it.
    for step_name, step_data in stored_steps.items():
        if step_name not in replayed_steps or _comparable_json(step_data) != _comparable_json(
            _renumbered_step(step_name, replayed_steps[step_name], version_numbers)
        ):
            return ReplayResult(len(stored_steps), same=False, differs=step_name)
    return ReplayResult(len(stored_steps), same=True)


def _renumbered_step(
    step_name: str, step_data: Mapping[str, Any], version_numbers: Mapping[int, int]
) -> Mapping[str, Any]:
    """The step with the version numbers of the first run. step_name: "round.phase"."""
    game_phase = GamePhase(step_name.partition(".")[2])
    return STEP_TYPES[game_phase].model_validate(step_data).with_versions(version_numbers).stored()


def _comparable_json(step_data: Mapping[str, Any]) -> str:
    # Sorted, since the order of keys means nothing, and a database need not give it back.
    return json.dumps(step_data, ensure_ascii=False, sort_keys=True)


def _stored_completion(call_row: LLMCall) -> Completion:
    return Completion(
        text=call_row.reply or "",
        call_id=call_row.call_id,
        usage=TokenUsage(call_row.tokens_in, call_row.tokens_out, call_row.tokens_estimated),
        latency_s=call_row.latency_s,
        finish_reason=call_row.finish_reason or "stop",
        cached=True,
    )
