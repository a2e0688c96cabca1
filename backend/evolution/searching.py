"""The searches for a better S_D that the house offers."""

from collections.abc import Callable

from backend.principles.game import GameSearch, Searcher
from backend.principles.gepa_search import GepaSearch
from backend.principles.vocabulary import SearchMethod

SEARCHERS: dict[SearchMethod, Callable[[], Searcher]] = {
    SearchMethod.GAME: GameSearch,
    SearchMethod.GEPA: GepaSearch,
}
