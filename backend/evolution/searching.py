"""The searches for a better S_D that the house offers."""

from collections.abc import Callable

from backend.principles.game import GameSearch, Searcher
from backend.principles.gepa_search import GepaSearch
from backend.principles.vocabulary import Search

SEARCHERS: dict[Search, Callable[[], Searcher]] = {
    Search.GAME: GameSearch,
    Search.GEPA: GepaSearch,
}
