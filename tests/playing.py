"""Short ways to rounds of greetings against the fake server."""

import time
from typing import Any

from backend.llm.endpoints import EndpointInput
from backend.playground.records import CardView, PlayRequest, RoundView
from backend.services import Services
from tests.llm_fixtures import FakeLLM

ANN, BEN = "ann" * 8, "ben" * 8
WISH = "给奶奶的八十大寿写一句"
GREETING = "tests.greeting_replies:greeting"


def endpoint(services: Services, fake: FakeLLM, name: str = "fake", **more: Any) -> None:
    """The fake server under a name."""
    services.endpoints.save(EndpointInput(name, fake.base_url, more.pop("model", "fake"), **more))


def ask(text: str = WISH, *generators: str, **more: Any) -> PlayRequest:
    """A request with a fixed seed."""
    return PlayRequest(**{"generators": generators or ("fake",), "text": text, "seed": 11, **more})


def played(services: Services, request: PlayRequest, visitor: str = ANN) -> RoundView:
    """A round, once it is written."""
    begun = services.play.begin(request, visitor)
    return written(services, begun.token, visitor)


def written(services: Services, token: str, visitor: str = ANN, seconds: float = 20) -> RoundView:
    """A round, once nothing of it is being written any more."""
    return until(services, token, lambda view: not view.running, visitor, seconds)


def until(services: Services, token: str, look: Any, visitor: str = ANN, seconds: float = 20) -> RoundView:
    """A round, once it looks like that."""
    end = time.monotonic() + seconds
    while not look(view := services.play.view(token, visitor)):
        assert time.monotonic() < end, f"this never happened: {view}"
        time.sleep(0.01)
    return view


def texts(view: RoundView) -> list[str]:
    """What the cards say."""
    return [card.text for card in view.cards]


def only(view: RoundView) -> CardView:
    """The only card."""
    assert len(view.cards) == 1
    return view.cards[0]
