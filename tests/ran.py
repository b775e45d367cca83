"""Keeps README's table of what ran for real: `pytest --ran` writes the rows whose tests it ran.

A part without tests has never run. A row says how its part ran, and when; it loses that as soon as one of
its tests fails.
"""

from __future__ import annotations

import datetime
import platform
from collections import defaultdict
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- ran:begin -->", "<!-- ran:end -->"
NEVER = "never run"

#: Each part, how its tests run it, and what their node ids begin with.
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "embedded Lean 4: install, checker, verdicts": (
        "for real",
        (
            "tests/verify/test_checker.py", "tests/verify/test_install.py", "tests/verify/test_wasm.py",
            "tests/verify/test_machine_code.py",
        ),
    ),
    "the cheat corpus, and honest proofs beside it": ("for real", ("tests/cheats/",)),
    "isolation of jobs, hostile jobs": ("for real", ("tests/verify/test_isolation.py",)),
    "bubblewrap around a command (no native Lean in it)": ("for real", ("tests/verify/test_sandbox.py",)),
    "workers, local pool, restarts": ("for real", ("tests/verify/test_pool.py",)),
    "Ray pool on one machine, its workers and checkers killed": (
        "for real", ("tests/selfplay/test_run.py::test_ray", "tests/selfplay/test_run.py::test_a_stopped"),
    ),
    "SQLite store, result cache": ("for real", ("tests/store/",)),
    "tiny transformer: sampling, embeddings": (
        "for real",
        ("tests/models/test_models_", "tests/models/test_generators.py", "tests/models/test_prompts.py"),
    ),
    "models behind an address: OpenAI's protocol, chat": (
        "against a stand-in server", ("tests/models/test_openai.py", "tests/models/test_chat.py"),
    ),
    "training, killed and gone on with": ("for real", ("tests/training/",)),
    "a whole round, killed three times": ("for real", ("tests/selfplay/test_run.py::test_killed_three",)),
    "a whole round, killed twenty times": ("for real", ("tests/selfplay/test_run.py::test_killed_twenty",)),
    "exports: training data and models with their cards": ("for real", ("tests/selfplay/test_export.py",)),
    "proof search on benchmarks and files": ("for real", ("tests/search/", "tests/datasets/")),
    "the verifier service, Kimina's own client": ("for real", ("tests/service/",)),
    "the wheel, in an environment of its own": ("for real", ("tests/test_wheel.py",)),
    "Isabelle: server, workers, verdicts": (
        "against a double made from a real server's answers",
        ("tests/verify/isabelle/", "tests/cheats_isabelle/"),
    ),
    "Isabelle itself": ("for real", ()),
    "native Lean, Mathlib": ("for real", ()),
    "GPU, vLLM on it": ("for real", ()),
    "several Ray nodes on one machine, killed": ("for real", ("tests/cluster/",)),
    "a Ray cluster of several machines": ("for real", ()),
}  # fmt: skip


class Recorder:
    """Collects outcomes and writes the table when the tests are over."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for part, (_, prefixes) in PARTS.items():
                if report.nodeid.startswith(prefixes):
                    self.outcomes[part].append(report.outcome)

    def pytest_sessionfinish(self) -> None:
        text = README.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        old, _, after = rest.partition(END)
        table = render(rows_of(old), self.outcomes)
        README.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def rows_of(table: str) -> dict[str, str]:
    """Part and how it ran, of the table as it stands."""
    cells = [line.strip("| \n").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in cells[1:] if len(row) == 2}


def render(rows: dict[str, str], outcomes: dict[str, list[str]]) -> str:
    """The table with the rows of parts that ran now, and the others as they were."""
    today = datetime.date.today().isoformat()
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    lines = ["| part | how |", "|---|---|"]
    for part, (how, _) in PARTS.items():
        ran = outcomes.get(part, [])
        passed = ran.count("passed")
        if "failed" in ran:
            said = f"**failed** on {today}"
        elif passed:
            said = f"{how}: {passed} tests on {today}, {where}"
        else:
            said = rows.get(part, NEVER)
        lines.append(f"| {part} | {said} |")
    return "\n".join(lines) + "\n"
