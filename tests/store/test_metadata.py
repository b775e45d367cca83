"""The words that Datasette shows beside a run's database."""

from __future__ import annotations

import json
from pathlib import Path

from store_values import attempt, statement

from stp.selfplay.folder import settle
from stp.settings import load
from stp.store.metadata import metadata
from stp.store.store import Store


def test_every_table_view_and_column_is_explained_and_nothing_else() -> None:
    with Store() as store:
        names = [
            name for (name,) in store._rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        ]
        columns = {name: {row[1] for row in store._rows(f"PRAGMA table_info({name})")} for name in names}
    tables = metadata("a run")["databases"]["stp"]["tables"]
    assert {name: set(table["columns"]) for name, table in tables.items()} == columns
    assert all(table["description"] for table in tables.values())


def test_its_questions_are_answered() -> None:
    with Store() as store:
        store.add_statements([statement("a"), statement("b")], 0, "train")
        attempt(store, 1, "a", rejected=3)
        attempt(store, 2, "a", proved=1, rejected=2)
        queries = metadata("a run")["databases"]["stp"]["queries"]
        answers = {name: store._rows(query["sql"].replace(":key", "?"), *["a"] * query["sql"].count(":key"))
                   for name, query in queries.items()}  # fmt: skip
    assert answers == {
        "first_proofs": [(1, "theorem name_a : a = a", 6, 1)],
        "proofs_of": [("by proved", 0, 2, 1)],
        "verdicts": [
            (1, "attempt", "rejected", 3),
            (2, "attempt", "proved", 1),
            (2, "attempt", "rejected", 2),
        ],
    }


def test_a_run_s_folder_has_them(tmp_path: Path) -> None:
    with Store(tmp_path / "stp.sqlite") as store:
        settle(store, tmp_path, load("tiny"))
    assert json.loads((tmp_path / "metadata.json").read_text()) == metadata(tmp_path.name)
