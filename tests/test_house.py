"""The layout shows the system: imports run one way, heavy things stay at home, every name is explained."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests import ran

STP = Path(__file__).parents[1] / "stp"
ORDER = [
    {"types", "errors", "settings", "download", "files", "cluster"},
    {"syntax"}, {"store"}, {"verify"}, {"models"}, {"training"},
    {"datasets"}, {"search"}, {"report"}, {"client"}, {"service"}, {"selfplay"},
    {"doctor", "bench", "prove"}, {"cli"}, {"__main__"},
]  # fmt: skip
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
HOMES = {
    "sqlite3": {"store"}, "sqlite_utils": {"store"},
    "ray": {"cluster", "verify", "models", "training", "selfplay", "bench"},
    "torch": {"models", "training", "selfplay", "bench"}, "transformers": {"models", "training"},
    "subprocess": {"verify", "training", "bench"},
}  # fmt: skip


def modules() -> list[tuple[str, Path, ast.Module]]:
    files = [path for path in sorted(STP.rglob("*.py")) if path.parent != STP or path.stem != "__init__"]
    return [
        (path.relative_to(STP).parts[0].removesuffix(".py"), path, ast.parse(path.read_text()))
        for path in files
    ]


def imports(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_imports_run_one_way() -> None:
    wrong = []
    for part, path, tree in modules():
        for name in imports(tree):
            target = name.split(".")[1] if name.startswith("stp.") else None
            alone = RANK[part] == RANK.get(str(target)) == 0
            if target in RANK and RANK[target] >= RANK[part] and target != part and not alone:
                wrong.append(f"{path.relative_to(STP)} imports {name}")
    assert not wrong


def test_the_map_shows_every_part() -> None:
    house = (STP.parent / "CONTRIBUTING.md").read_text().split("```")[1]
    shown = {word.rstrip("/").removesuffix(".py") for line in house.splitlines() for word in line.split()}
    assert set(RANK) - shown == {"__main__"}


def test_heavy_modules_stay_at_home() -> None:
    wrong = [
        f"{path.relative_to(STP)} imports {name}"
        for part, path, tree in modules()
        for name in imports(tree)
        if (homes := HOMES.get(name.split(".")[0])) and part not in homes
    ]
    assert not wrong


def test_everything_public_is_explained_and_files_stay_short() -> None:
    for _, path, tree in modules():
        assert len(path.read_text().splitlines()) <= 500, path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom stp.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'ray', 'sqlite_utils', 'matplotlib', 'fastapi', 'mcp'}\n"
        "heavy &= sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_readme_claims_only_what_its_tests_ran() -> None:
    rows = ran.rows_of(ran.README.read_text(encoding="utf-8").partition(ran.BEGIN)[2].partition(ran.END)[0])
    assert list(rows) == list(ran.PARTS)
    untested = [part for part, (_, prefixes) in ran.PARTS.items() if not prefixes]
    assert {rows[part] for part in untested} == {ran.NEVER}
    failed = ran.render(rows, {part: ["passed", "failed"] for part in rows})
    assert "for real" not in failed
