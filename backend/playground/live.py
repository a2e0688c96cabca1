"""Rounds that are being written: what every page that looks sees, whoever comes or reloads."""

from dataclasses import dataclass, field, replace
from typing import Any

from backend.errors import Message
from backend.playground.records import CardView, RoundView
from backend.playground.vocabulary import FINAL

_AGAIN = Message("Not good enough, writing it anew …", "这条不够好，正在重写……")


@dataclass(eq=False)
class LiveRound:
    """The cards of a round in memory. Changed in the playground's own loop, read from any thread."""

    round: RoundView
    visitor: str
    cards: dict[int, CardView] = field(default_factory=dict)
    revision: int = 0
    touched: float = 0.0

    @property
    def running(self) -> bool:
        """Whether any card is still to be written."""
        return any(card.state not in FINAL for card in list(self.cards.values()))

    def versions(self, card: CardView) -> list[CardView]:
        """Every card at the same place."""
        cards = list(self.cards.values())
        return [other for other in cards if (other.generator, other.place) == (card.generator, card.place)]

    def put(self, card: CardView) -> None:
        """Show a card as it is now."""
        self.cards[card.id] = card
        self.revision += 1

    def change(self, card_id: int, **values: Any) -> None:
        """Show a card with these values changed."""
        self.put(replace(self.cards[card_id], **values))

    def grow(self, card_id: int, text: str, number: int) -> None:
        """The text so far of a card, in its try `number` (0 is the first)."""
        self.change(card_id, text=text, tries=number + 1, note=_AGAIN if number else None)

    def view(self) -> RoundView:
        """The round as it stands."""
        cards = list(self.cards.values())
        cards.sort(key=lambda card: card.id)
        return replace(self.round, cards=tuple(cards), running=self.running, revision=self.revision)
