"""Closed vocabularies of preference pairs. Standard library only: the tables import them too."""

from enum import StrEnum

LABELLED_BY_JUDGE = "panel"
"""Origin of pairs that only a judge labelled: read where they are asked for, never for "everything"."""
CONFIRMED_BY_PEOPLE = "confirmed"
"""Origin of pairs that a judge proposed and people accepted or turned: by now a person's word."""
JUDGE_ORIGINS = (LABELLED_BY_JUDGE, CONFIRMED_BY_PEOPLE)
"""Origins that begin with a judge: the baselines that judges are held against never learn from them."""


class PairStage(StrEnum):
    """How far a run is. Writing and judging take turns, a chunk of prompts at a time."""

    FILTERING = "filtering"
    WRITING = "writing"
    JUDGING = "judging"
    PAIRING = "pairing"
    DONE = "done"


class PairState(StrEnum):
    """What stands about a pair now; see `USED` for which of them training and export read."""

    PROPOSED = "proposed"  # the panel decided, nobody else looked
    CHECKING = "checking"  # handed to people, waits for their answers
    REVIEW = "review"  # people and panel part; a person must decide
    ACCEPTED = "accepted"
    FLIPPED = "flipped"
    DISCARDED = "discarded"


USABLE_STATES = frozenset({PairState.PROPOSED, PairState.ACCEPTED, PairState.FLIPPED})
"""States in which a pair stands in the run's data set."""
OPEN_STATES = frozenset({PairState.PROPOSED, PairState.CHECKING, PairState.REVIEW})
"""States that no person has decided."""


class Decider(StrEnum):
    """Who brought a pair into its state."""

    PANEL = "panel"  # the judge of the run
    PEOPLE = "people"  # the majority of a campaign
    PERSON = "person"  # one reviewer on the page or the command line
