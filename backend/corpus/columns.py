"""Which column holds what: usual names in both languages, or the importer's own mapping."""

import re
from collections.abc import Iterable, Mapping

from backend.errors import UserError

_FIELD_ALIASES = {
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
_FIELD_BY_ALIAS = {
    field_alias: field for field, alias_text in _FIELD_ALIASES.items() for field_alias in alias_text.split()
}
_SEPARATORS = re.compile(r"[\s_\-\ufeff]+")

FIELD_NAMES = tuple(_FIELD_ALIASES)


def recognise_columns(column_names: Iterable[str]) -> dict[str, str]:
    """Our field -> their column, for the columns whose names are usual; the first of two wins."""
    columns_by_field: dict[str, str] = {}
    for column_name in column_names:
        field_name = _FIELD_BY_ALIAS.get(_SEPARATORS.sub("", column_name).lower())
        if field_name is not None:
            columns_by_field.setdefault(field_name, column_name)
    return columns_by_field


def resolve_columns(file_name: str, file_columns: Iterable[str], column_mapping: Mapping[str, str]) -> dict[str, str]:
    """Our field -> their column; the mapping wins over usual names.

    Raises UserError, naming the columns of file `name`, where the mapping does not fit it.
    """
    available_columns = tuple(file_columns)
    for field_name, column_name in column_mapping.items():
        if field_name not in _FIELD_ALIASES:
            raise UserError(
                f"There is no field {field_name!r} to map; the fields are {', '.join(FIELD_NAMES)}.",
                f"没有名为“{field_name}”的字段，可用字段：{'、'.join(FIELD_NAMES)}。",
            )
        if column_name not in available_columns:
            raise UserError(
                f"{file_name} has no column {column_name!r}; its columns are {', '.join(available_columns)}.",
                f"{file_name} 没有“{column_name}”这一列，它的列有：{'、'.join(available_columns)}。",
            )
    mapped_columns = set(column_mapping.values())
    usual_columns = {
        field_name: column_name
        for field_name, column_name in recognise_columns(available_columns).items()
        if column_name not in mapped_columns
    }
    return usual_columns | dict(column_mapping)


def is_importable(column_names: Iterable[str], chosen_fields: Mapping[str, str], *, was_mapped: bool) -> bool:
    """Whether rows can be made of these fields.

    A lone prompt column among strangers is left to the mapping: greetings might be lost unseen.
    """
    if "prompt" not in chosen_fields:
        return False
    if ("chosen" in chosen_fields) != ("rejected" in chosen_fields):
        return False
    if {"response", "chosen"} & set(chosen_fields):
        return True
    unknown_columns = set(column_names) - set(chosen_fields.values()) - {"split", "id", "origin"}
    return was_mapped or not unknown_columns


def unknown_columns_error(file_name: str, column_names: Iterable[str]) -> UserError:
    """The error for a file nobody can tell the columns of."""
    available_columns = [str(column_name) for column_name in column_names]
    shown_names = ", ".join(available_columns[:30]) or "none"
    return UserError(
        f"{file_name} fits no known format; its fields are: {shown_names}. Say which is which, as in "
        "--map prompt=COLUMN --map response=COLUMN --map label=COLUMN (or chosen, rejected).",
        f"{file_name} 不属于已知格式，它的字段有：{'、'.join(available_columns[:30]) or '无'}。"
        "请指定对应关系，例如 prompt=列名、response=列名、label=列名（或 chosen、rejected）。",
    )
