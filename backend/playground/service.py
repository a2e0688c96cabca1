"""The facade that pages and commands call: rounds in the background, and every judge on one written greeting."""

import secrets
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from backend.core.enums import CardChange, Scale
from backend.core.errors import Conflict, UserError
from backend.db.engine import Database
from backend.generation.generators import GeneratorInfo, GeneratorService
from backend.generation.writer import BIGGEST_SEED
from backend.judges.base import COMPARING_KINDS, TRAINED_HERE, JudgeKind, JudgeSpec, Judgment, Sample
from backend.judges.scoring.service import TRIVIAL, ScoringService
from backend.playground.cards import SEED_STRIDE, PreviousVersion
from backend.playground.records import (
    MAX_MODELS,
    CardVerdict,
    CardView,
    ModelTally,
    ParsedRequest,
    PlayRequest,
    RoundView,
    parse_play_request,
    visitor_sampling,
)
from backend.playground.rounds import BackgroundLoop, LiveRound, RoundRunner
from backend.playground.store import PlayStore, missing_round_error

# A judge asks a model or fits a classifier while a visitor waits: two at a time leave the pages quick.
MAX_CONCURRENT = 2
TURN_TIMEOUT_S = 60.0


class CardJudges:
    """The baselines and the newest version of every other judge of single greetings."""

    def __init__(self, scoring: ScoringService) -> None:
        self._scoring = scoring
        self._turn_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT)

    def judge_names(self) -> list[str]:
        """Who can be asked; the baselines first."""
        known_judges = self._scoring.catalog.judges()
        other_names = [
            judge_info.name
            for judge_info in known_judges
            if judge_info.newest
            and judge_info.spec is not None
            and judge_info.kind not in COMPARING_KINDS | TRAINED_HERE
        ]
        return [*TRIVIAL, *sorted(set(other_names))]

    def judge_greeting(self, judge_name: str, prompt_text: str, greeting_text: str) -> CardVerdict:
        """What one judge says. Raises NotFound for a name, UserError for a judge that cannot work."""
        if judge_name not in self.judge_names():
            self._scoring.catalog.resolve(judge_name)  # says which are known
            raise UserError(
                f"“{judge_name}” compares two greetings and cannot judge one.",
                f"“{judge_name}”是两两比较的裁判，不能评一条。",
            )
        judge_spec = (
            JudgeSpec(JudgeKind(judge_name), judge_name)
            if judge_name in TRIVIAL
            else self._scoring.catalog.resolve(judge_name)
        )
        with self._wait_for_turn():
            judgment = self._scoring.judge_sample(judge_spec, Sample(prompt_text, greeting_text))
        assert isinstance(judgment, Judgment)
        return CardVerdict(
            judge_name,
            judge_spec.kind.value,
            self._judge_scale(judge_name).value,
            judgment.value,
            judgment.reason,
        )

    def _judge_scale(self, judge_name: str) -> Scale:
        judge_info = next(
            (judge_info for judge_info in self._scoring.catalog.judges() if judge_info.name == judge_name),
            None,
        )
        return judge_info.scale if judge_info is not None and judge_info.scale is not None else Scale.SCORE

    @contextmanager
    def _wait_for_turn(self) -> Iterator[None]:
        if not self._turn_semaphore.acquire(timeout=TURN_TIMEOUT_S):
            raise Conflict("The judges are busy; try again in a minute.", "裁判正忙，请过一分钟再试。")
        try:
            yield
        finally:
            self._turn_semaphore.release()


# Rounds that may run at a time: of one visitor, of everybody.
MAX_VISITOR_ROUNDS, MAX_ROUNDS = 3, 40
# How long a finished round stays in memory, for pages that still look at it; the database has it anyway.
KEEP_ROUND_S = 600.0


@dataclass(frozen=True)
class _PendingStart:
    """What is about to be written: a new round, or (with its generator and place) one more version of a card."""

    token: str
    visitor: str
    card_place: tuple[str, int] | None = None


class PlayService:
    """Rounds of greetings: begun, watched, stopped, changed, liked. Safe to use from several threads.

    A visitor is whoever holds a browser's cookie; what belongs to another one is not found.
    """

    def __init__(self, database: Database, generators: GeneratorService) -> None:
        self._store = PlayStore(database)
        self._generators = generators
        self._round_runner = RoundRunner(generators, self._store)
        self._background_loop = BackgroundLoop("zhufu-play")
        self._live_rounds: dict[str, LiveRound] = {}
        self._round_futures: dict[str, list[Future[None]]] = {}
        self._pending_starts: list[_PendingStart] = []
        self._rounds_lock = threading.Lock()

    def begin(self, request: PlayRequest, visitor: str) -> RoundView:
        """Read the request, store the round and begin to write it; returns at once.

        Raises UserError for what cannot be answered, Conflict where too much is being written.
        """
        parsed_request = parse_play_request(request)
        generators = self._chosen_generators(request.generators)
        # Drawn once and stored, so that a round without a given seed can be repeated too.
        base_seed = secrets.randbelow(BIGGEST_SEED) if request.seed is None else request.seed
        new_cards = [
            new_card
            for generator in generators
            for new_card in _new_cards(generator, request, parsed_request, base_seed)
        ]
        # Part of the page's addresses: 128 random bits, so that no visitor guesses another's.
        token = secrets.token_hex(16)
        # Counted before it is stored: of many requests at once as many pass as there is room for.
        with self._reserve_start(_PendingStart(token, visitor)):
            stored_round = self._store.begin(
                token,
                visitor,
                parsed_request.prompt,
                _entered_request(request, parsed_request),
                base_seed,
                new_cards,
            )
            with self._rounds_lock:
                live_round = self._remember_round(stored_round, visitor)
        self._start_writing(live_round, self._round_runner.write_round(live_round, parsed_request, generators))
        return live_round.view()

    def view(self, token: str, visitor: str) -> RoundView:
        """A round as it stands. Raises NotFound, also for another visitor's."""
        live_round = self._live_rounds.get(token)
        if live_round is None:
            return self._store.round(token, visitor)
        # The same answer as for a round that does not exist: others are not to learn that it does.
        if live_round.visitor != visitor:
            raise missing_round_error()
        return live_round.view()

    def recent(self, visitor: str, max_rounds: int = 5) -> list[RoundView]:
        """The visitor's newest rounds, finished or not."""
        stored_rounds = self._store.recent(visitor, max_rounds)
        return [
            live_round.view() if (live_round := self._live_rounds.get(round_view.token)) else round_view
            for round_view in stored_rounds
        ]

    def stop(self, token: str, visitor: str) -> RoundView:
        """End the writing of a round; what was shown stays. Harmless twice. Raises NotFound."""
        self.view(token, visitor)
        for round_future in self._round_futures.get(token, []):
            round_future.cancel()
        return self.view(token, visitor)

    def change(self, card_id: int, card_change: CardChange, visitor: str) -> RoundView:
        """Another version of a card at the same place. Raises NotFound, Conflict where too much is being written."""
        live_round = self._recall_round(self._store.round_token(card_id, visitor), visitor)
        changed_card = live_round.cards_by_id[card_id]
        generator = self._chosen_generators((changed_card.generator,))[0]
        start = _PendingStart(live_round.round.token, visitor, (changed_card.generator, changed_card.place))
        with self._reserve_start(start, live_round):
            self._live_rounds[live_round.round.token] = live_round
            new_card = self._store.add(live_round.round.token, _new_version(changed_card, generator, card_change))
            live_round.show_card(new_card)
        # Where nothing was written there is nothing to shorten: it is simply asked again.
        previous_version = PreviousVersion(changed_card.text, card_change if changed_card.text else CardChange.AGAIN)
        self._start_writing(
            live_round, self._round_runner.write_version(live_round, generator, new_card, previous_version)
        )
        return live_round.view()

    def signal(self, card_id: int, visitor: str, signal_value: int, request_id: str) -> CardView:
        """Like (1), dislike (-1), or neither (0). Raises NotFound, UserError."""
        if signal_value not in (-1, 0, 1):
            raise UserError("A signal is 1, -1 or 0.", "评价只能是喜欢、不喜欢或取消。")
        token = self._store.round_token(card_id, visitor)
        # Stored first: what a page shows as liked must have been written down.
        self._store.signal(card_id, visitor, signal_value, request_id)
        live_round = self._recall_round(token, visitor)
        live_round.change(card_id, liked=signal_value)
        return live_round.cards_by_id[card_id]

    def card(self, card_id: int, visitor: str) -> tuple[RoundView, CardView]:
        """A card with its round. Raises NotFound."""
        round_view = self.view(self._store.round_token(card_id, visitor), visitor)
        return round_view, next(card_view for card_view in round_view.cards if card_view.id == card_id)

    def tallies(self) -> list[ModelTally]:
        """What every model wrote here, and what visitors thought of it."""
        return self._store.tallies()

    def wait(self, token: str) -> None:
        """Until the round is written, for commands."""
        for round_future in self._round_futures.get(token, []):
            round_future.result()

    def close(self) -> None:
        """Stop everything; what was shown is stored."""
        self._background_loop.close()

    def _chosen_generators(self, generator_names: Sequence[str]) -> list[GeneratorInfo]:
        unique_names = list(dict.fromkeys(generator_names))
        if not 0 < len(unique_names) <= MAX_MODELS:
            raise UserError(f"Choose 1 to {MAX_MODELS} models.", f"请选择 1 到 {MAX_MODELS} 个模型。")
        return [self._generators.info(generator_name) for generator_name in unique_names]

    @contextmanager
    def _reserve_start(self, start: _PendingStart, live_round: LiveRound | None = None) -> Iterator[None]:
        """Hold a place among the rounds that are written while the database takes what is about to start.

        Raises Conflict where too much is being written, or the place that is to be written anew is already.
        """
        # The lock is for the count alone: held while the database waits, it would hold up every other visitor.
        with self._rounds_lock:
            if start in self._pending_starts or (live_round is not None and live_round.is_written(start.card_place)):
                raise Conflict("This greeting is still being written.", "这一条还在写，请稍等。")
            self._check_capacity(start.visitor)
            self._pending_starts.append(start)
        try:
            yield
        finally:
            with self._rounds_lock:
                self._pending_starts.remove(start)

    def _check_capacity(self, visitor: str) -> None:
        expiry_limit = time.monotonic() - KEEP_ROUND_S
        for token, live_round in list(self._live_rounds.items()):
            if not live_round.running and live_round.touched_at < expiry_limit:
                del self._live_rounds[token]
                self._round_futures.pop(token, None)
        visitor_by_round = {pending_start.token: pending_start.visitor for pending_start in self._pending_starts}
        # By token, so that a new version in a round that is being written does not count twice.
        visitor_by_round |= {
            token: live_round.visitor for token, live_round in list(self._live_rounds.items()) if live_round.running
        }
        if list(visitor_by_round.values()).count(visitor) >= MAX_VISITOR_ROUNDS:
            raise Conflict(
                "Your earlier requests are still being written; wait for one or stop it.",
                "您前面的请求还在写，请等写完一个，或先停下一个。",
            )
        if len(visitor_by_round) >= MAX_ROUNDS:
            raise Conflict(
                "Very many people are writing just now; try again in a minute.",
                "现在写祝福的人太多，请过一分钟再试。",
            )

    def _remember_round(self, round_view: RoundView, visitor: str) -> LiveRound:
        live_round = LiveRound(round_view, visitor, {card_view.id: card_view for card_view in round_view.cards})
        live_round.touched_at = time.monotonic()
        self._live_rounds[round_view.token] = live_round
        return live_round

    def _recall_round(self, token: str, visitor: str) -> LiveRound:
        """The round in memory, brought back where it was finished long ago."""
        with self._rounds_lock:
            if (live_round := self._live_rounds.get(token)) is not None:
                live_round.touched_at = time.monotonic()
                return live_round
        stored_round = self._store.round(token, visitor)
        with self._rounds_lock:
            # Somebody may have brought it back in the meantime, and write in it by now.
            return self._live_rounds.get(token) or self._remember_round(stored_round, visitor)

    def _start_writing(self, live_round: LiveRound, writing_work: Coroutine[Any, Any, None]) -> None:
        round_futures = self._round_futures.setdefault(live_round.round.token, [])
        # A round whose cards are changed again and again must not collect the futures of all versions.
        round_futures[:] = [other_future for other_future in round_futures if not other_future.done()]
        round_futures.append(self._background_loop.submit_work(writing_work))


def _new_cards(
    generator: GeneratorInfo, request: PlayRequest, parsed_request: ParsedRequest, base_seed: int
) -> list[dict[str, Any]]:
    sampling_draws = [
        # Card n has the same seed with every generator, so that columns can be compared.
        visitor_sampling(generator.sampling, request.sampling, base_seed + card_place)
        for card_place in range(parsed_request.count)
    ]
    return [
        {
            "generator": generator.name,
            "model": generator.model,
            "place": card_place,
            "seed": draw_sampling.seed,
            "sampling": asdict(draw_sampling),
        }
        for card_place, draw_sampling in enumerate(sampling_draws)
    ]


def _new_version(changed_card: CardView, generator: GeneratorInfo, card_change: CardChange) -> dict[str, Any]:
    # Farther than the tries of any card reach, so that a
    # version draws anew instead of repeating a rejected try.
    draw_seed = (changed_card.seed + SEED_STRIDE * 101) % BIGGEST_SEED
    return {
        "generator": changed_card.generator,
        "model": generator.model,
        "place": changed_card.place,
        "change": card_change.value,
        "seed": draw_seed,
        "sampling": asdict(replace(changed_card.sampling, seed=draw_seed)),
    }


def _entered_request(request: PlayRequest, parsed_request: ParsedRequest) -> Mapping[str, Any]:
    """What was entered, so that a page can show it again."""
    return {
        "text": request.text,
        "fields": asdict(request.fields),
        "count": parsed_request.count,
        "generators": list(dict.fromkeys(request.generators)),
        "sampling": dict(request.sampling),
        "note": {"en": parsed_request.note.en, "zh": parsed_request.note.zh} if parsed_request.note else None,
    }
