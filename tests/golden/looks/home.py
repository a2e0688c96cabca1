"""The golden home as the application opens it, and what is known of it."""

from pathlib import Path
from typing import Any

from backend.core.settings import Settings
from backend.db.migrate import list_revisions, stored_revision
from backend.services import Services, build_services

House = Services
RATERS = {"小林": 6, "老周": 7, "阿敏": 8}
VISITORS = ("a" * 32, "b" * 32)
REFERENCES = {
    "seed": "seed",
    "short": "短评",
    "little": "小集",
    "world": "world",
    "bad_rows": "有坏行",
    "compare": "哪条更好",
    "compare_one": "一人一条",
    "compare_closed": "关了的一轮",
    "validate": "优秀吗",
    "checked_pairs": "第一批 · 抽查",
    "written": "fake · 示例模型 · 1",
    "written_compare": "fake · 示例模型 / other · 另一个模型 · 1",
}
MAIN, RUNS, GAMES = "示例模型", (1, 2, 3, 4), (1, 2, 3, 4, 5, 6, 7)
WISHES = (
    "给奶奶的八十大寿祝福",
    "写十条给妈妈的生日祝福，每条20字以内",
    "给  奶奶的\n八十大寿祝福",
    "祝同事升职，四字成语",
    "中秋节给客户的祝福语，100字",
    "写一首七言绝句",
    "帮我算一道数学题",
    "Happy birthday to my sister",
    "",
)
"""Requests whose reading is fixed: splits, folds, parts, wishes, normal forms."""


def opened(home: Path) -> House:
    """Every service around a home, migrated as the application does it."""
    return build_services(Settings(home=home))


def revision(house: House) -> dict[str, Any]:
    """Where the database stands and where it should."""
    return {"current": stored_revision(house.database), "head": list_revisions()[-1]}
