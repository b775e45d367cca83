"""Tables as others publish them and read them: JSON lines, a JSON list, or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stp.errors import UsageError

Row = dict[str, Any]
#: How a table's file name ends.
ENDINGS = (".jsonl", ".json", ".parquet")


def read_table(path: Path) -> list[Row]:
    """The rows of a file, or of all the tables in a folder in the order of their names.

    Raises:
        UsageError: it cannot be read, or its rows are no objects; names the line.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS)
        if not files:
            raise UsageError(f"{path}: expected tables ({', '.join(ENDINGS)}), found none")
        return [row for file in files for row in read_table(file)]
    if path.suffix == ".parquet":
        try:
            rows: list[Row] = pyarrow_for(path).parquet.read_table(path).to_pylist()
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: expected a Parquet file: {str(error).splitlines()[0]}") from None
        return rows
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a readable file of UTF-8 text: {error}") from None
    return [row for _, row in json_rows(path, text)]


def json_rows(path: Path, text: str) -> Iterable[tuple[str, Row]]:
    """Each object of JSON lines or of one JSON list, with where it stands.

    Raises:
        UsageError: something else stands there; names the line.
    """
    try:
        values = list(enumerate(json.loads(text), 1)) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: expected a JSON list: {error}") from None
    if values is None:
        values = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    values.append((number, json.loads(line)))
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"{path}:{number}: expected one JSON object: {error}") from None
    for number, value in values:
        if not isinstance(value, dict):
            raise UsageError(f"{path}:{number}: expected an object, found {type(value).__name__}")
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UsageError(f"{path}:{number}: expected Unicode text, found half a character") from None
        yield f"{path}:{number}", value


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as JSON lines or Parquet, by the path's ending.

    Raises:
        UsageError: Parquet needs pyarrow, which is not installed.
    """
    if path.suffix == ".parquet":
        arrow = pyarrow_for(path)
        arrow.parquet.write_table(arrow.Table.from_pylist(list(rows)), path)
        return
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def pyarrow_for(path: Path) -> Any:
    """The library that reads and writes Parquet.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            f"{path.name}: Parquet needs pyarrow, which is not installed; run: "
            "pip install 'stp-prover[export]'"
        ) from None
    return pyarrow
