"""How a benchmark's numbers are written."""

from __future__ import annotations

import json

import pytest

from stp.bench import run

NUMBERS = {
    "embedded": {"overhead": {"ratio": 1.08190176, "all": [1.1075, 1.0622, 1.0819]}, "jobs": 400},
    "note": "warm",
    "tokens_per_s": 5755.6,
}


def test_numbers_are_lines_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "BENCHES", {"verify": lambda: NUMBERS})
    run.run_bench("verify")
    head, empty, *rest = capsys.readouterr().out.splitlines()
    assert head.endswith(tuple("0123456789"))
    assert "cores" in head
    assert [empty, *rest] == [
        "",
        "verify",
        "  embedded overhead ratio  1.08",
        "  embedded overhead all    1.11, 1.06, 1.08",
        "  embedded jobs            400",
        "  note                     warm",
        "  tokens per s             5,756",
    ]
    run.run_bench("all", as_json=True)
    assert json.loads(capsys.readouterr().out)["verify"] == NUMBERS
