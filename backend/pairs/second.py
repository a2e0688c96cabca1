"""A second opinion on what balance would keep against the odds: whom to ask, and about which candidates.

Where good greetings tend to be longer, a pair whose chosen side is shorter is rare among the truths and
common among the judge's mistakes, and balance keeps all of these. So their greetings go before a judge once
more: another one, or the same at another draw, which still parts chance from conviction.
"""

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import update

from backend.agents.balance import scarce_pairs
from backend.db.engine import Database
from backend.db.pair_tables import Candidate
from backend.judges.spec import JudgeSpec
from backend.pairs.records import PairRequest
from backend.pairs.sides import PossiblePairs
from backend.text import strip_white_space

AGAIN_SUFFIX = " again"
SECOND_TEMPERATURE = 0.7
"""Temperature of a judge that is asked once more: at 0 it would say the same again."""
SECOND_JUDGED_SHARE = 0.15
"""Of the candidates, how many are judged twice: about as in the measured runs (docs/experiments.md)."""
_LONGEST_NAME = 60
BATCH = 500


def redrawn_judge(judge_spec: JudgeSpec) -> JudgeSpec:
    """The same judge at another draw, under a name that says so."""
    judge_config = dict(judge_spec.config)
    judge_config |= {"temperature": max(float(judge_config.get("temperature") or 0), SECOND_TEMPERATURE)}
    judge_config |= {"seed": int(judge_config.get("seed") or 0) + 1}
    return replace(
        judge_spec,
        name=judge_spec.name[: _LONGEST_NAME - len(AGAIN_SUFFIX)] + AGAIN_SUFFIX,
        config=judge_config,
    )


def mark(database: Database, run_id: int, request: PairRequest) -> int:
    """Note which candidates are to be judged twice; how many. The same verdicts give the same candidates."""
    candidate_ids, length_pairs = [], []
    for chosen_id, rejected_id, side_lengths in _pair_lengths(PossiblePairs(database, run_id, request.way)):
        candidate_ids.append((chosen_id, rejected_id))
        length_pairs.append(side_lengths)
    marked_ids = sorted(
        {
            candidate_id
            for id_pair, is_scarce in zip(candidate_ids, scarce_pairs(length_pairs), strict=True)
            if is_scarce
            for candidate_id in id_pair
        }
    )
    for batch_start in range(0, len(marked_ids), BATCH):
        with database.write() as session:
            id_batch = marked_ids[batch_start : batch_start + BATCH]
            session.execute(update(Candidate).where(Candidate.id.in_(id_batch)).values(twice=True))
    return len(marked_ids)


def _pair_lengths(possible_pairs: PossiblePairs) -> Iterator[tuple[int, int, tuple[int, int]]]:
    for candidate_pair in possible_pairs:
        side_lengths = (
            len(strip_white_space(candidate_pair.chosen.text)),
            len(strip_white_space(candidate_pair.rejected.text)),
        )
        yield candidate_pair.chosen.id, candidate_pair.rejected.id, side_lengths
