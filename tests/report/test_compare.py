"""Comparisons: equal cost, paired intervals, and runs that cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from stp.errors import UsageError
from stp.report.bootstrap import credit_at, difference_ci95, ratio_ci95, rounds_difference_ci95, share_ci95
from stp.report.compare import compare, write_comparison
from stp.report.experiment import read_arms, read_data, tactic_steps, write_record
from stp.store.store import Store
from tests.report.report_values import Made


def test_arms_are_held_to_each_other_at_the_least_budget_spent(tmp_path: Path) -> None:
    ours = Made((4, 12), 2000).write(tmp_path / "stp" / "seed-0")
    theirs = Made((3, 6, 9), 1000, mode="off").write(tmp_path / "ei" / "seed-0")
    found = compare([ours, theirs], "ei")
    assert found.budget == pytest.approx(3000, abs=60)
    by_name = {result.arm.name: result for result in found.results}
    assert by_name["ei"].proved == pytest.approx(9, abs=0.2)
    assert by_name["stp"].proved == pytest.approx(4 + 8 / 2, abs=0.2)
    assert by_name["ei"].ratio is None
    assert by_name["stp"].ratio == pytest.approx(8 / 9, abs=0.05)
    low, high = by_name["stp"].ratio_ci95 or (0, 0)
    assert low < 8 / 9 < high
    assert (by_name["stp"].multi_step, by_name["stp"].multi_step_share) == (12, 1)
    assert by_name["stp"].proved_total == by_name["stp"].proved


def test_what_a_fixed_tactic_proves_or_one_step_does_is_no_multi_step_proof(tmp_path: Path) -> None:
    folder = Made((5,), 1000).write(tmp_path / "stp")
    with Store(folder / "stp.sqlite") as store:
        store._write(
            "UPDATE rounds SET stats = ? WHERE stage = 'evaluate'", [('{"portfolio_proves": ["k1", "k2"]}',)]
        )
        store._write("UPDATE proofs SET text = 'by simp' WHERE statement IN ('k2', 'k3')", [()])
    (result,) = compare([folder], "stp").results
    assert (result.proved, result.multi_step, result.multi_step_share) == (5, 2, 2 / 5)


def test_a_record_says_what_its_run_said(tmp_path: Path) -> None:
    folder = Made((4, 12), 2000, seed=3).write(tmp_path / "stp" / "seed-3")
    with Store(folder / "stp.sqlite") as store:
        store.set_meta("decontaminated", {"against": {"core": 729}})
    record = tmp_path / "records" / "stp" / "seed-3.json"
    assert write_record(folder, record) == read_data(record) == read_data(folder)
    assert read_data(record).decontaminated == {"against": {"core": 729}}
    assert read_arms([record])[0].name == "stp"


@pytest.mark.parametrize("content", ["{}", "", '{"seed": "x"}', "[1, 2]"])
def test_what_is_no_record_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "seed-0.json").write_text(content)
    with pytest.raises(UsageError, match=r"seed-0\.json: expected the record of a run") as caught:
        read_data(tmp_path / "seed-0.json")
    assert "\n" not in str(caught.value)


def test_a_comparison_is_a_table_numbers_and_a_page(tmp_path: Path) -> None:
    folders = [Made((5, 9), 1000, seed).write(tmp_path / "stp" / f"seed-{seed}") for seed in (0, 1)]
    folders += [Made((2, 4), 1000, seed, "off").write(tmp_path / "ei" / f"seed-{seed}") for seed in (0, 1)]
    table = write_comparison(folders, tmp_path / "out", "ei")
    assert table.splitlines()[1].split()[0] == "stp"  # the best first
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["ratio_of"] == "stp"
    assert results["ratio_over_ei"] == pytest.approx(9 / 4, abs=0.1)
    low, high = results["ratio_ci95"]
    assert 1 < low < 9 / 4 < high
    stp = results["arms"]["stp"]
    assert stp["seeds"] == [0, 1]
    assert stp["curves"]["tokens"][-1][1] == pytest.approx(9 / 20)
    assert stp["curves"]["hours"][-1][0] == pytest.approx(4)
    assert stp["conjectures"]["in_band_share"] == [[1, 1], [1, 1]]
    assert stp["conjectures"]["disjunction_share"] == [[1, 1], [1, 1]]
    assert stp["conjectures"]["duplicate_share"] == [[0.5, 0.5], [0.5, 0.5]]
    assert stp["held_out"]["core"]["pass@1"][0] == pytest.approx(2 / 4)
    page = (tmp_path / "out" / "compare.html").read_text()
    mean, low, high = stp["difference"]
    assert mean == pytest.approx(9 / 20 - 4 / 20)
    assert 0 < low < mean < high
    assert stp["held_out_differences"]["core"] == [0, 0, 0]  # the same models there
    assert results["arms"]["ei"]["difference"] is None
    assert stp["conjecture_differences"] == {}  # the baseline makes none
    for title in (
        "Proved, over the baseline",
        "Held-out pass@k, over the baseline: core",
        "Proved, by generated tokens",
        "Proved, by hours of Lean",
        "Held-out pass@k",
        "Disjunctions",
    ):
        assert title in page


@pytest.mark.parametrize(
    ("second", "baseline", "named"),
    [
        (Made((1,), 100, keys=("a", "b")), "ei", "pools differ"),
        (Made((1,), 100), "nothing", "nothing"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path: Path, second: Made, baseline: str, named: str) -> None:
    folders = [Made((1,), 100).write(tmp_path / "stp"), second.write(tmp_path / "ei")]
    with pytest.raises(UsageError, match=named):
        compare(folders, baseline)


def test_runs_of_one_arm_differ_by_their_seeds_alone(tmp_path: Path) -> None:
    first = Made((1,), 100).write(tmp_path / "a" / "stp" / "seed-0")
    with pytest.raises(UsageError, match="same seed"):
        compare([first, Made((1,), 100).write(tmp_path / "b" / "stp" / "seed-0")], "stp")
    with pytest.raises(UsageError, match="more than their seeds"):
        compare([first, Made((1,), 100, 1, "off").write(tmp_path / "c" / "stp" / "seed-1")], "stp")


def test_of_many_arms_the_curves_show_those_that_differ_most(tmp_path: Path) -> None:
    folders = [Made((5,), 1000).write(tmp_path / "base")]
    folders += [Made((5 + i,), 1000).write(tmp_path / f"arm{i}") for i in range(1, 10)]
    write_comparison(folders, tmp_path / "out", "base")
    page = (tmp_path / "out" / "compare.html").read_text()
    over, curves = page.split('aria-label="Proved, by generated tokens"')
    assert all(f">arm{i}</text>" in over for i in range(1, 10))
    assert [i for i in range(1, 10) if f">arm{i}</text>" not in curves] == [1, 2]
    assert "leave out 2 arms" in page


def test_conjectures_are_held_to_the_baseline_s(tmp_path: Path) -> None:
    folders = [Made((5, 9, 9), 1000).write(tmp_path / "a"), Made((2, 4), 1000).write(tmp_path / "b")]
    found = {result.arm.name: result for result in compare(folders, "b").results}
    assert found["b"].conjecture_differences == {}
    same = found["a"].conjecture_differences["duplicate_share"]
    assert (same.mean, same.ci95) == (0, (0, 0))  # half of what parses, in each round of both
    write_comparison(folders, tmp_path / "out", "b")
    assert "50.0 % (+0.0 to +0.0)" in (tmp_path / "out" / "compare.html").read_text()


def test_a_run_that_has_only_begun_counts_nothing(tmp_path: Path) -> None:
    begun = Made((), 100).write(tmp_path / "ei")
    found = compare([Made((5,), 1000).write(tmp_path / "stp"), begun], "ei")
    assert (found.budget, [result.ratio for result in found.results]) == (0, [None, None])


def test_credit_is_spread_over_the_round_that_the_budget_ends_in() -> None:
    first_round = np.array([0, 1, 2, 3])
    assert credit_at(150, [0, 100, 200, 400], first_round).tolist() == [0, 1, 0.5, 0]
    assert credit_at(0, [0, 100], np.array([1])).tolist() == [0]
    assert credit_at(500, [0, 100, 100], np.array([1, 2])).tolist() == [1, 1]


@examples(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(0, 10))
def test_intervals_hold_the_mean(seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arm = [(rng.random(200) < 0.5).astype(float) for _ in range(seeds)]
    low, high = share_ci95(arm)
    assert low <= np.mean(arm) <= high
    assert share_ci95(arm) == (low, high)
    assert ratio_ci95(arm, arm) == (1, 1)
    assert difference_ci95(arm, arm) == (0, 0)
    low, high = difference_ci95(arm, [np.zeros(200)] * seeds)
    assert low <= np.mean(arm) <= high
    assert ratio_ci95(arm, [np.zeros(200)] * seeds) is None
    few = np.zeros(200)
    few[:2] = 1
    low, high = ratio_ci95(arm, [few] * seeds) or (0, 0)
    assert low > 1
    assert high is None or high > np.mean(arm) / few.mean()


def test_rounds_of_different_numbers_are_compared_by_their_means() -> None:
    ours, theirs = [np.array([1.0, 3.0, 2.0])], [np.array([1.0, 1.0])]
    low, high = rounds_difference_ci95(ours, theirs)
    assert 0 <= low < 1 < high <= 2
    assert rounds_difference_ci95(theirs, theirs) == (0, 0)


@pytest.mark.parametrize(
    ("proof", "steps"),
    [("by simp", 1), ("by\n  intro h\n  omega", 2), ("by cases x <;> simp; rfl", 3), ("rfl", 1), ("", 1)],
)
def test_tactic_steps(proof: str, steps: int) -> None:
    assert tactic_steps(proof) == steps


def test_a_held_out_statement_whose_checks_all_failed_is_left_out(tmp_path: Path) -> None:
    folders = [
        Made((5,), 1000, mode=m).write(tmp_path / name) for name, m in (("stp", "solved"), ("ei", "off"))
    ]
    with Store(folders[0] / "stp.sqlite") as store:
        store._write("UPDATE evaluations SET samples = 0, proved = 0 WHERE dataset = 'core'", [()])
    write_comparison(folders, tmp_path / "out", "ei")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["arms"]["stp"]["held_out_differences"] == {}
