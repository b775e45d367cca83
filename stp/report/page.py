"""The page of a run for people: one HTML file with its plots inside.

Covered: statements, proofs and names are untrusted text; jinja2 escapes each of them, and the page's
own policy forbids scripts and every request to a network. Not covered: what a text looks like (it may
hold letters that resemble others).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from stp.report import plots
from stp.report.record import FIXED, FUNNEL, RoundRecord, RunRecord, read_run
from stp.report.table import NOTHING, notes, percent, table
from stp.store.rows import Conjecture, Outcome
from stp.store.store import Store
from stp.types import Source, Verdict

_EXAMPLES = 20
_SHOWN_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture on the page."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class ShownConjecture:
    """A barely provable conjecture, with what the page shows beside it."""

    round: int
    statement: str
    pass_rate: float
    attempts: int
    lemma_name: str | None
    lemma_statement: str | None
    seed: str | None
    proof: str | None


def render(store: Store, title: str) -> str:
    """The page of what the store holds now."""
    run = read_run(store)
    return template("page.html").render(
        title=title,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        run=run,
        tiles=_tiles(run),
        plots=_plots(run),
        columns=table(run),
        notes=notes(run),
        examples=_examples(store),
    )


def template(name: str) -> Template:
    """A page of this package, which escapes what is put into it."""
    loader = FileSystemLoader(str(resources.files("stp.report")))
    pages = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return pages.get_template(name)


def _tiles(run: RunRecord) -> list[tuple[str, str]]:
    """The few numbers to read first, as (number, what it is)."""
    finished = sum(record.state == "done" and record.round > 0 for record in run.rounds)
    barely = [r.barely_provable for r in run.rounds if r.barely_provable is not None]
    proved = [r.dataset_proved_total for r in run.rounds if r.dataset_proved_total is not None]
    tiles = [
        (str(finished), "self-play rounds finished"),
        (f"{proved[-1]:,}" if proved else NOTHING, "dataset statements proved so far"),
        (f"{sum(barely):,}" if barely else NOTHING, "barely provable conjectures"),
    ]
    for dataset in run.datasets:
        for name in (dataset, dataset + FIXED):
            if measured := run.measured(name):
                rate = (
                    percent(measured[-1].pass_at(name, run.samples[name])) if run.samples[name] else NOTHING
                )
                tiles.append((rate, f"{name} pass@{run.samples[name]}, round {measured[-1].round}"))
    hours = sum(record.minutes or 0.0 for record in run.rounds) / 60
    return [*tiles, (f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min", "at work")]


def _plots(run: RunRecord) -> list[Plot]:
    found = [*_held_out_plots(run), _funnel_plot(run), _rates_plot(run), _verdicts_plot(run), _time_plot(run)]
    return [plot for plot in found if plot]


def _funnel_plot(run: RunRecord) -> Plot | None:
    records = [record for record in run.rounds if record.funnel["sampled"]]
    if not records:
        return None
    parts = {name.replace("_", " "): [float(r.funnel[name] or 0) for r in records] for name in FUNNEL}
    title = "What is left of the conjectures"
    svg = plots.by_round("funnel", title, "conjectures", [r.round for r in records], parts, stacked=False)
    caption = "Each step keeps a part of the one before; proved: at least one correct proof in its own round."
    return Plot(title, caption, Markup(svg))


def _rates_plot(run: RunRecord) -> Plot | None:
    records = [record for record in run.rounds if record.rates]
    if not records:
        return None
    last = records[-1]
    series = {
        name: [(tally.attempts, tally.proved) for tally in last.rates[source]]
        for name, source in (("conjectures", Source.CONJECTURE), ("dataset statements", Source.DATASET))
        if last.rates.get(source)
    }
    title = f"Pass rates in round {last.round}"
    caption = (
        "Share of a statement's attempts that hold. Bars are 5% wide; statements never proved stand apart."
    )
    return Plot(title, caption, Markup(plots.pass_rates(title, series, run.band_high))) if series else None


def _verdicts_plot(run: RunRecord) -> Plot | None:
    records = [record for record in run.rounds if record.verdicts]
    if not records:
        return None
    parts = {
        verdict.replace("_", " "): [float(r.verdicts.get(verdict, 0)) for r in records]
        for verdict in Verdict
        if any(verdict in r.verdicts for r in records)
    }
    title = "What the checker said"
    svg = plots.by_round("verdicts", title, "attempts", [r.round for r in records], parts, stacked=True)
    return Plot(title, "Attempts by verdict, repeats of one proof included.", Markup(svg))


def _time_plot(run: RunRecord) -> Plot | None:
    records = [record for record in run.rounds if sum(record.stage_s.values()) > 0]
    if not records:
        return None
    most = max(sum(record.stage_s.values()) for record in records)
    unit, seconds = ("hours", 3600) if most > 2 * 3600 else ("minutes", 60) if most > 120 else ("seconds", 1)
    parts = {
        stage: [r.stage_s.get(stage, 0.0) / seconds for r in records]
        for stage in run.stages
        if any(stage in r.stage_s for r in records)
    }
    title = "Time by stage"
    svg = plots.by_round("time", title, unit, [r.round for r in records], parts, stacked=True)
    return Plot(title, f"Wall clock in {unit}, restarts added up.", Markup(svg))


def _held_out_plots(run: RunRecord) -> list[Plot]:
    found = []
    for i, dataset in enumerate(run.datasets):
        most, records = run.samples.get(dataset, 0), run.measured(dataset)
        curves = [_curve(r, dataset, most, f"round {r.round}") for r in _shown(records) if most]
        fixed = run.measured(dataset + FIXED)
        if fixed and (checks := run.samples[dataset + FIXED]):
            curves.append(_curve(fixed[-1], dataset + FIXED, checks, "fixed tactics"))
        if not curves:
            continue
        title = f"Held-out pass@k: {dataset}"
        caption = (
            "Mean over held-out statements by the unbiased estimator; the band is one standard error of the"
            " latest round."
        )
        if fixed:
            caption += " The fixed tactics have as many checks."
        found.append(Plot(title, caption, Markup(plots.pass_at_k(f"curve{i}", title, curves))))
        if len(records) > 1:
            title = f"Held-out rate by round: {dataset}"
            svg = Markup(plots.over_rounds(f"held{i}", title, _lines(run, dataset)))
            found.append(Plot(title, "Bands are one standard error over statements.", svg))
    return found


def _shown(records: list[RoundRecord]) -> list[RoundRecord]:
    return [records[i] for i in plots.spread_out(range(len(records)))]


def _curve(record: RoundRecord, dataset: str, most: int, name: str) -> plots.Curve:
    points = {k: rate for k in plots.curve_ks(most) if (rate := record.pass_at(dataset, k))}
    return plots.Curve(name, points, baseline=dataset.endswith(FIXED))


def _lines(run: RunRecord, dataset: str) -> list[plots.Line]:
    lines = []
    for name, prefix in ((dataset, ""), (dataset + FIXED, "fixed ")):
        for k in sorted({1, most}, reverse=True) if (most := run.samples.get(name, 0)) else []:
            rates = {r.round: rate for r in run.rounds if (rate := r.pass_at(name, k))}
            lines.append(plots.Line(f"{prefix}pass@{k}", rates, baseline=bool(prefix)))
    return lines


def _examples(store: Store) -> list[ShownConjecture]:
    """The latest barely provable conjectures, the hardest of a round first."""
    rows = sorted(
        store.view("barely_provable"), key=lambda row: (-row["round"], row["pass_rate"], row["key"])
    )
    rows = rows[:_EXAMPLES]
    numbers = sorted({row["round"] for row in rows})
    proofs = {number: store.shortest_proofs(number, number) for number in numbers}
    parents = _parents(store, {row["key"] for row in rows}, max(numbers, default=0))
    examples = []
    for row in rows:
        parent = parents.get(row["key"])
        seed = store.statement(parent.seed) if parent else None
        examples.append(
            ShownConjecture(
                round=row["round"],
                statement=_clipped(row["statement"]),
                pass_rate=row["pass_rate"],
                attempts=row["attempts"],
                lemma_name=parent.lemma_name if parent else None,
                lemma_statement=_clipped(parent.lemma_statement)
                if parent and parent.lemma_statement
                else None,
                seed=_clipped(seed.text) if seed else None,
                proof=_clipped(proofs[row["round"]].get(row["key"], "")) or None,
            )
        )
    return examples


def _parents(store: Store, statements: set[str], last: int) -> dict[str, Conjecture]:
    """The conjecture that each statement was; one may be attempted again in later rounds."""
    parents: dict[str, Conjecture] = {}
    for number in range(last, -1, -1):
        if statements <= parents.keys():
            break
        for conjecture in store.conjectures(number, Outcome.KEPT):
            if conjecture.statement in statements:
                parents[conjecture.statement] = conjecture
    return parents


def _clipped(text: str) -> str:
    if len(text) <= _SHOWN_CHARS:
        return text
    return f"{text[:_SHOWN_CHARS]} … ({len(text):,} characters)"
