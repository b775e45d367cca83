"""What the three forms of the report say of runs that are empty, half done, finished or hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_values import STAGES, add_round, attempt, begun_run, conjecture_round, evaluate, mark

from stp.errors import StoreError
from stp.report.plots import curve_ks, spread_out
from stp.report.report import summary, write_html, write_metrics
from stp.store.rows import Evaluation
from stp.store.store import Store

_HOSTILE = "theorem t : \"</pre><script>alert(1)</script>\" = '<img src=x onerror=alert(2)>' & $x$"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "run" / "stp.sqlite") as store:
        yield store


def _row(store: Store, round: int) -> dict[str, str]:
    """The cells of the terminal's table in that round, by column; held-out ones as `core pass@1`."""
    above, names, *rows = summary(store).splitlines()
    starts = [(m.group(), m.end()) for m in re.finditer(r"\S+", names)]
    heads = {m.end(): m.group() for m in re.finditer(r"\S+", above)}
    keys = [f"{heads[end]} {name}" if end in heads else name for name, end in starts]
    (row,) = (line for line in rows if re.match(rf" *{round}  ", line))
    begin, cells = 0, []
    for _, end in starts:
        cells.append(row[begin:end].strip())
        begin = end
    return dict(zip(keys, cells, strict=True))


def _metrics(store: Store, path: Path) -> list[dict[str, Any]]:
    write_metrics(store, path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _page(store: Store, path: Path) -> str:
    write_html(store, path, "A run")
    text = path.read_text(encoding="utf-8")
    _WellFormed().check(text)
    return text


class _WellFormed(HTMLParser):
    """Every element closed in order, every id once, and nothing that runs or fetches."""

    VOID = frozenset({"meta", "br", "path", "use", "rect"})

    def check(self, text: str) -> None:
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._check_attributes(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._check_attributes(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def _check_attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe", "link", "object"}
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href"}:
                assert value
                assert value.startswith("#")
            if name == "id":
                assert value not in self.ids
                self.ids.add(str(value))


def test_the_table_counts_the_funnel_and_the_proofs_of_a_round(store: Store) -> None:
    begun_run(store)
    add_round(store, 1)
    row = _row(store, 1)
    funnel = {"sampled": "10", "parsed": "9", "new": "7", "compiled": "6", "kept": "4", "proved": "3"}
    assert funnel.items() <= row.items()
    assert row["barely provable"] == "1"
    assert row["distinct proofs"] == "3"
    assert row["minutes"] == "7.0"
    assert row["state"] == "done"


def test_what_was_left_out_as_a_copy_of_something_held_out_is_said(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    counts = {"seeds": {"by_key": 1, "by_ngrams": 9}, "pool": {"by_key": 0, "by_ngrams": 67}}
    store.set_meta("decontaminated", {"against": {"core": 729}, "absent": ["leanworkbook"], **counts})
    said = (
        "Left out as copies of core (729): 10 seed statements (1 by key, 9 by n-grams), 67 statements of the "
        "pool (0 by key, 67 by n-grams), 0 conjectures; not on this machine: leanworkbook."
    )
    assert said in summary(store).splitlines()
    assert said in _page(store, tmp_path / "page.html")


def test_round_0_has_seeds_and_held_out_rates_only(store: Store) -> None:
    begun_run(store)
    row = _row(store, 0)
    assert row["seed proofs"] == "1"
    assert row["sampled"] == row["proved"] == row["distinct proofs"] == "-"
    assert row["core pass@1"] == "12.5%"  # 1 of 4 for one statement, 0 for the other
    assert row["core pass@4"] == "50.0%"
    assert row["fixed pass@4"] == "50.0%"


def test_every_dataset_and_the_fixed_tactics_have_columns_of_its_own(store: Store) -> None:
    begun_run(store)
    store.add_evaluations([Evaluation(0, "other", "held1", 2, 1, 0)])
    row = _row(store, 0)
    assert row["other pass@1"] == "50.0%"
    assert row["other pass@2"] == "100.0%"
    assert row["core pass@4"] == "50.0%"


def test_metrics_have_the_same_keys_on_every_line_and_nulls_where_there_is_nothing(
    store: Store, tmp_path: Path
) -> None:
    begun_run(store)
    for number in (1, 2):
        add_round(store, number)
    lines = _metrics(store, tmp_path / "metrics.jsonl")
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert len({tuple(line) for line in lines}) == 1
    seed, first, second = lines
    assert (seed["sampled"], seed["proved"], seed["attempt_s"], seed["evaluate_s"]) == (
        None,
        None,
        None,
        30.0,
    )
    assert (first["sampled"], first["not_trivial"], first["kept"], first["proved"]) == (10, 5, 4, 3)
    assert (first["attempts"], first["verdict_proved"], first["verdict_rejected"]) == (40, 13, 27)
    assert first["conjecture_pass_rate"] == pytest.approx(13 / 32)
    assert (first["dataset_proved_total"], second["dataset_proved_total"]) == (0, 1)
    assert (second["core/K"], second["core/pass@1"], second["core/pass@K"]) == (4, 0.375, 0.5)
    assert second["core/fixed/pass@1"] is None
    assert seed["core/fixed/pass@1"] == 0.125
    assert first["total_s"] == 60.0 * len(STAGES)


def test_a_run_that_has_not_begun_has_a_report(store: Store, tmp_path: Path) -> None:
    assert summary(store) == "No round has begun yet."
    assert _metrics(store, tmp_path / "metrics.jsonl") == []
    assert "No round has begun yet" in _page(store, tmp_path / "report.html")


@pytest.mark.parametrize("stage", STAGES)
def test_a_round_killed_in_any_stage_is_shown_as_far_as_it_came(
    store: Store, tmp_path: Path, stage: str
) -> None:
    begun_run(store)
    for name in STAGES[: STAGES.index(stage)]:
        mark(store, 1, name, 1.0)
    store.begin_stage(1, stage)
    if stage not in ("seeds", "conjecture"):
        conjecture_round(store, 1)
    if stage == "attempt":
        attempt(store, 1, "c1_0", 1, 7)
        store.add_attempts(1, "attempt", [("c1_1", "by unchecked", 8, 0)])
    if stage == "evaluate":
        evaluate(store, 1, first=1)
    text = summary(store)
    assert _row(store, 1)["state"] == f"in {stage}"
    assert f"Round 1 is not finished (in {stage})" in text
    assert ("core: 2 statements evaluated so far" in text) == (stage == "evaluate")
    assert f"Round 1 is not finished (in {stage})" in _page(store, tmp_path / "report.html")
    line = _metrics(store, tmp_path / "metrics.jsonl")[1]
    assert line["proved"] == (1 if stage == "attempt" else None)


def test_a_run_killed_between_two_stages_names_the_last_one(store: Store) -> None:
    begun_run(store)
    mark(store, 1, "seeds", 1.0)
    assert _row(store, 1)["state"] == "after seeds"


def test_rounds_without_marks_or_band_are_reported_all_the_same(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    store._write("DELETE FROM meta", [()])
    store._write("DELETE FROM rounds", [()])
    conjecture_round(store, 1)
    attempt(store, 1, "c1_1", 1, 7)
    row = _row(store, 1)
    assert (row["state"], row["barely provable"], row["minutes"]) == ("-", "-", "-")
    assert "settings" not in _page(store, tmp_path / "report.html").partition("</head>")[2]


def test_hostile_text_stays_text(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    add_round(store, 1, statement_text=_HOSTILE, lemma="<b onclick=alert(3)>")
    store.set_meta("toolchain", "<script>alert(4)</script>")
    store.add_evaluations(
        Evaluation(number, "<script>$x^{$</script>", key, 4, 1, 0) for number in (0, 1) for key in ("held1",)
    )
    page = _page(store, tmp_path / "report.html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<b onclick" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_an_example_shows_its_statement_rate_lemma_seed_and_proof(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    add_round(store, 1)
    page = _page(store, tmp_path / "report.html")
    examples = page.partition('class="examples"')[2]
    assert examples.count("<details") == 1
    assert "theorem name_c1_1 " in examples
    assert "12.5%" in examples
    assert "Nat.lemma : 1 = 1" in examples
    assert "theorem name_easy " in examples
    assert "by simp" in examples
    assert "settings 0123abcd · checked by Lean 4.99 (embedded)" in page


def test_only_twenty_examples_are_shown_the_latest_first(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    for number in range(1, 26):
        add_round(store, number)
    examples = _page(store, tmp_path / "report.html").partition('class="examples"')[2]
    assert re.findall(r"theorem name_c(\d+)_1 ", examples) == [str(number) for number in range(25, 5, -1)]


@pytest.mark.parametrize("rounds", [0, 1, 3, 12])
def test_the_page_has_every_plot_with_labelled_axes(store: Store, tmp_path: Path, rounds: int) -> None:
    begun_run(store)
    for number in range(1, rounds + 1):
        add_round(store, number)
    page = _page(store, tmp_path / "report.html")
    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert titles[0] == "Held-out pass@k: core"
    if rounds:
        assert titles[1:] == [
            "Held-out rate by round: core",
            "What is left of the conjectures",
            f"Pass rates in round {rounds}",
            "What the checker said",
            "Time by stage",
        ]
        labels = ("k, proofs tried per statement", "pass rate of a statement", "attempts", "minutes")
        assert all(f">{label}</text>" in page for label in labels)
    assert page.count("<svg ") == len(titles)
    assert "currentColor" in page


def test_a_failed_write_leaves_the_old_report_and_no_rubbish(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / "metrics.jsonl"
    begun_run(store)
    write_metrics(store, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_metrics(store, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_report_can_be_read_beside_the_running_writer(store: Store, tmp_path: Path) -> None:
    begun_run(store)
    add_round(store, 1)
    assert store.path
    with Store(store.path, read_only=True) as reader:
        assert summary(reader) == summary(store)
        _page(reader, tmp_path / "report.html")


def test_long_runs_are_thinned_to_what_can_be_read() -> None:
    assert spread_out(range(4)) == [0, 1, 2, 3]
    assert spread_out(range(51)) == [0, 10, 20, 30, 40, 50]
    assert curve_ks(8) == [1, 2, 3, 4, 5, 6, 7, 8]
    ks = curve_ks(25_600)
    assert (ks[0], ks[-1]) == (1, 25_600)
    assert len(ks) < 50
