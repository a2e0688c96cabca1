"""Rounds that are being written: what every page that looks sees, whoever comes or reloads."""

from dataclasses import dataclass, field, replace
from typing import Any

from backend.errors import Message
from backend.playground.records import CardView, RoundView
from backend.playground.vocabulary import FINAL_STATES

_RETRY_NOTE = Message("Not good enough, writing it anew …", "这条不够好，正在重写……")


@dataclass(eq=False)
class LiveRound:
    """The cards of a round in memory. Changed in the playground's own loop, read from any thread."""

    round: RoundView
    visitor: str
    cards_by_id: dict[int, CardView] = field(default_factory=dict)
    revision: int = 0
    touched_at: float = 0.0

    @property
    def running(self) -> bool:
        """Whether any card is still to be written."""
        return any(card_view.state not in FINAL_STATES for card_view in list(self.cards_by_id.values()))

    def card_versions(self, card_view: CardView) -> list[CardView]:
        """Every card at the same place."""
        card_views = list(self.cards_by_id.values())
        return [
            other_card
            for other_card in card_views
            if (other_card.generator, other_card.place) == (card_view.generator, card_view.place)
        ]

    def show_card(self, card_view: CardView) -> None:
        """Show a card as it is now."""
        self.cards_by_id[card_view.id] = card_view
        self.revision += 1

    def change(self, card_id: int, **values: Any) -> None:
        """Show a card with these values changed."""
        self.show_card(replace(self.cards_by_id[card_id], **values))

    def show_growing_text(self, card_id: int, text_so_far: str, try_index: int) -> None:
        """The text so far of a card, in its try `number` (0 is the first)."""
        self.change(card_id, text=text_so_far, tries=try_index + 1, note=_RETRY_NOTE if try_index else None)

    def view(self) -> RoundView:
        """The round as it stands."""
        card_views = list(self.cards_by_id.values())
        card_views.sort(key=lambda card: card.id)
        return replace(self.round, cards=tuple(card_views), running=self.running, revision=self.revision)
