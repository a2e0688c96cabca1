"""Small files that cost whoever reads them trustingly its memory or its time."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from tests import corpus_files as files

SHEET = "xl/worksheets/sheet1.xml"
_NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def sheet(path: Path, body: str, prologue: str = "", dimension: str = "A1:B2") -> Path:
    """A workbook whose first sheet has these rows as XML."""
    plain = files.workbook(path.with_suffix(".plain"), [["prompt"], ["请"]])
    text = (
        f'{prologue}<worksheet xmlns="{_NAMESPACE}"><dimension ref="{dimension}"/>'
        f"<sheetData>{body}</sheetData></worksheet>"
    )
    return _with(plain, path, {SHEET: text})


def _with(plain: Path, path: Path, parts: dict[str, str]) -> Path:
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in {*old.namelist(), *parts}:
            new.writestr(name, parts[name] if name in parts else old.read(name))
    return path


def text_cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def far_row(path: Path) -> Path:
    head = f'<row r="1">{text_cell("A1", "prompt")}</row>'
    return sheet(path, f'{head}<row r="999999999999">{text_cell("A999999", "请")}</row>')


def far_cells(path: Path, rows: int = 20_000) -> Path:
    """Every row reaches to the last column, XFD."""
    head = f'<row r="1">{text_cell("A1", "prompt")}</row>'
    body = "".join(f'<row r="{n}">{text_cell(f"XFD{n}", "请")}</row>' for n in range(2, rows))
    return sheet(path, head + body)


def entities(path: Path) -> Path:
    """Ten entities, each ten of the one before: ten thousand million characters."""
    lines = ['<!ENTITY a0 "哈哈哈哈哈哈哈哈哈哈">']
    lines += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)]
    prologue = f"<?xml version='1.0'?><!DOCTYPE x [{''.join(lines)}]>"
    return sheet(path, f'<row r="1">{text_cell("A1", "&a9;")}</row>', prologue)


def shared_strings(path: Path, megabytes: int = 80) -> Path:
    plain = files.workbook(path.with_suffix(".plain"), [["prompt"], ["请"]])
    text = f'<sst xmlns="{_NAMESPACE}"><si><t>{"a" * (megabytes << 20)}</t></si></sst>'
    return _with(plain, path, {"xl/sharedStrings.xml": text})


def slow_sheet(path: Path) -> Path:
    """Nothing but empty cells, row after row: no row ever comes of it."""
    row = "".join("<c/>" for _ in range(100))
    return sheet(path, "".join(f"<row>{row}</row>" for _ in range(40_000)))


def unfolding_parquet(path: Path, rows: int = 2_700) -> Path:
    """One text of a megabyte, written once and pointed to by every row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["好" * 350_000]))
    pq.write_table(pa.table({"prompt": texts}), path, compression="zstd")
    return path


def wide_csv(path: Path, columns: int = 1_000_000) -> Path:
    path.write_text("prompt" + ",a" * columns + "\n" + "请" + ",1" * columns + "\n", "utf-8")
    return path


def brackets(path: Path, count: int = 20_000_000) -> Path:
    path.write_text("[" * count, "utf-8")
    return path


def one_line(path: Path, count: int = 20_000_000) -> Path:
    path.write_text('{"prompt": "' + "a" * count + '"}', "utf-8")
    return path


def sparse(path: Path, size: int = 1 << 40) -> Path:
    path.write_bytes(json.dumps({"prompt": "请"}).encode() + b"\n")
    os.truncate(path, size)
    return path


def gzipped(path: Path) -> Path:
    import gzip

    path.write_bytes(gzip.compress(b"a" * 10_000_000))
    return path


HOSTILE: dict[str, tuple[Any, str]] = {
    "far row": (far_row, "declares row 999,999,999,999"),
    "far cells": (far_cells, "16,384 columns"),
    "entities": (entities, "cannot be read as a spreadsheet"),
    "shared strings": (shared_strings, "too large for a spreadsheet"),
    "unfolding parquet": (unfolding_parquet, "unfolds to more than"),
    "wide csv": (wide_csv, "1,000,001 columns"),
    "brackets": (brackets, "nested or long beyond reason"),
    "one line": (one_line, "far too long"),
    "sparse": (sparse, "1,048,576 MB"),
    "gzip": (gzipped, "neither text"),
}
