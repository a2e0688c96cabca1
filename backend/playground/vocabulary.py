"""Closed vocabularies of the playground. Standard library only: the tables import them too."""

from enum import StrEnum


class CardState(StrEnum):
    """How far a card is; the last three are final."""

    WAITING = "waiting"
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


FINAL_STATES = (CardState.DONE, CardState.FAILED, CardState.STOPPED)


class CardChange(StrEnum):
    """How another version of a greeting should differ from the one shown."""

    AGAIN = "again"
    SHORTER = "shorter"
    WARMER = "warmer"
    FUNNIER = "funnier"
    CLASSICAL = "classical"
