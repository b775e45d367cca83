"""The page of a proof search: the curve, each problem with its proof, what failed, what others published.

Covered: statements, proofs and names are untrusted text; jinja2 escapes each of them, and the page's own
policy forbids scripts and every request to a network.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from stp.datasets.files import data_dir
from stp.report import plots
from stp.report.page import Plot, template
from stp.report.proofs import ProveRecord, percent
from stp.report.rates import Rate

PUBLISHED = "published.toml"
#: A table of tens of thousands of rows is no page.
_ROWS = 2000


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A row of the comparison: a system and what it solved with which budget."""

    system: str
    budget: str
    result: str
    where: str


def render(record: ProveRecord) -> str:
    """The page of a record."""
    title, rows = published(record.published)
    return template("proofs.html").render(
        title=f"{record.dataset} {record.split}: {record.solved} of {record.total} proved",
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        record=record,
        tiles=_tiles(record),
        plots=_plots(record),
        problems=sorted(record.problems, key=lambda p: (p.solved_at is None, p.solved_at or 0, p.name))[
            :_ROWS
        ],
        hidden=max(0, record.total - _ROWS),
        published_title=title,
        published=rows,
    )


def published(name: str) -> tuple[str, list[PublishedResult]]:
    """Title and rows of a table of `data/published.toml`; nothing where there is none of that name."""
    table = tomllib.loads((data_dir() / PUBLISHED).read_text(encoding="utf-8")).get(name)
    if table is None:
        return "", []
    rows = []
    for row in table["rows"]:
        whole = f" of {row['total']}" if "total" in row else ""
        solved = f"{row['solved']}{whole}" if "solved" in row else ""
        rate = f"{row['rate']:g}%" if "rate" in row else ""
        if "total" in row:
            rate = percent(row["solved"], row["total"])
        result = f"{rate} ({solved})" if rate and solved else rate or solved
        rows.append(PublishedResult(row["system"], row["budget"], result, row["where"]))
    return table["title"], rows


def _tiles(record: ProveRecord) -> list[tuple[str, str]]:
    sound = record.sound
    solved = sum(problem.state == "solved" for problem in sound)
    tiles = [
        (percent(record.solved, record.total), f"proved: {record.solved} of {record.total}"),
        (percent(solved, len(sound)), f"without known bad statements: {solved} of {len(sound)}"),
        (f"{sum(p.tries for p in record.problems):,}", f"tries, up to {record.k} each"),
        (f"{sum(p.tokens for p in record.problems):,}", "tokens sampled"),
        (f"{record.seconds / 60:.1f} min", "at work"),
    ]
    if record.lost:
        tiles.append(("model lost", f"on the way, so not all was tried: {record.lost}"))
    if bad := record.count("bad_statement") + record.count("no_theorem"):
        tiles.insert(2, (str(bad), "state nothing that can be proved here"))
    return tiles


def _plots(record: ProveRecord) -> list[Plot]:
    found = []
    drawn = set(plots.curve_ks(record.k))
    points = [point for point in record.pass_at_k if point.k in drawn]
    curves = [
        plots.Curve("first k tries", {p.k: Rate(p.rate, None, record.total) for p in points}, baseline=True)
    ]
    if unbiased := {p.k: Rate(p.unbiased, p.error, record.total) for p in points if p.unbiased is not None}:
        curves.append(plots.Curve("unbiased estimate", unbiased))
    if points:
        svg = plots.pass_at_k("curve", "pass@k", curves)
        caption = "Share of all problems proved with k tries each; the band is one standard error."
        found.append(Plot("pass@k", caption, Markup(svg)))
    if record.verdicts:
        parts = {name.replace("_", " "): [float(count)] for name, count in record.verdicts.items()}
        svg = plots.by_round("verdicts", "What the checker said", "tries", [1], parts, stacked=True)
        found.append(
            Plot("What the checker said", "Tries by verdict, repeats of one proof included.", Markup(svg))
        )
    return found
