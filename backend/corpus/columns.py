"""Which column holds what: usual names in both languages, or the importer's own mapping."""

import re
from collections.abc import Iterable, Mapping

from backend.errors import UserError

_NAMES = {
    "prompt": "prompt query request instruction question 请求 提示 提示词 问题 指令 需求 主题",
    "response": "response greeting completion output answer text reply 祝福 祝福语 回复 回答 文案 内容",
    "label": "label good score 标签 标注 是否优秀 优秀",
    "clicks": "clicks click likes upvotes 点击 点击数 点击量 点赞 点赞数",
    "chosen": "chosen preferred better strong winner 优选 更好 较好 好",
    "rejected": "rejected worse weak loser 拒绝 较差 更差 差",
    "flaw": "flaw 缺点 毛病",
    "reason": "reason comment 理由 原因",
    "occasion": "occasion 场合 场景 节日",
    "recipient": "recipient 对象 收信人 接收人",
    "style": "style 风格 文体",
}
_FIELD_OF = {name: field for field, names in _NAMES.items() for name in names.split()}
_NOISE = re.compile(r"[\s_\-\ufeff]+")

FIELDS = tuple(_NAMES)


def recognised(columns: Iterable[str]) -> dict[str, str]:
    """Our field -> their column, for the columns whose names are usual; the first of two wins."""
    found: dict[str, str] = {}
    for column in columns:
        field = _FIELD_OF.get(_NOISE.sub("", column).lower())
        if field is not None:
            found.setdefault(field, column)
    return found


def resolve(name: str, columns: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Our field -> their column; the mapping wins over usual names.

    Raises UserError, naming the columns of file `name`, where the mapping does not fit it.
    """
    have = tuple(columns)
    for field, column in mapping.items():
        if field not in _NAMES:
            raise UserError(
                f"There is no field {field!r} to map; the fields are {', '.join(FIELDS)}.",
                f"没有名为“{field}”的字段，可用字段：{'、'.join(FIELDS)}。",
            )
        if column not in have:
            raise UserError(
                f"{name} has no column {column!r}; its columns are {', '.join(have)}.",
                f"{name} 没有“{column}”这一列，它的列有：{'、'.join(have)}。",
            )
    taken = set(mapping.values())
    usual = {field: column for field, column in recognised(have).items() if column not in taken}
    return usual | dict(mapping)


def complete(columns: Iterable[str], fields: Mapping[str, str], *, mapped: bool) -> bool:
    """Whether rows can be made of these fields.

    A lone prompt column among strangers is left to the mapping: greetings might be lost unseen.
    """
    if "prompt" not in fields:
        return False
    if ("chosen" in fields) != ("rejected" in fields):
        return False
    if {"response", "chosen"} & set(fields):
        return True
    strangers = set(columns) - set(fields.values()) - {"split", "id", "origin"}
    return mapped or not strangers


def unknown(name: str, columns: Iterable[str]) -> UserError:
    """The error for a file nobody can tell the columns of."""
    have = [str(column) for column in columns]
    shown = ", ".join(have[:30]) or "none"
    return UserError(
        f"{name} fits no known format; its fields are: {shown}. Say which is which, as in "
        "--map prompt=COLUMN --map response=COLUMN --map label=COLUMN (or chosen, rejected).",
        f"{name} 不属于已知格式，它的字段有：{'、'.join(have[:30]) or '无'}。"
        "请指定对应关系，例如 prompt=列名、response=列名、label=列名（或 chosen、rejected）。",
    )
