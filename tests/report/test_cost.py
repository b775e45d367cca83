"""The cost model: sums that can be done by hand, and rates read from a run."""

from __future__ import annotations

import time

import pytest

from stp.report.cost import Rates, Workload, cost, measured, table, workloads
from stp.settings import load
from stp.store.store import Store
from tests.report.report_values import add_round, begun_run

RATES = Rates(1000, 10, 2000, training_frac=0.1, distinct_frac=0.5)
WORK = Workload("w", proofs=7.2e6, tokens=3.6e9, rounds=10)


def test_hours_add_up_and_checkers_keep_up() -> None:
    found = cost(WORK, RATES, gpus=10, workers=0, model_gb=2)
    assert (found.sampling_h, found.training_h) == (100, 5)
    assert found.workers == 1
    assert found.checking_h == pytest.approx(100)
    assert found.hours == pytest.approx(105)
    assert (found.store_gb, found.models_gb) == (pytest.approx(3.6), 22)


def test_the_bottleneck_is_the_slowest_stage() -> None:
    assert cost(WORK, RATES, 10, 1, 2).bottleneck in ("sampling", "checking")
    assert cost(WORK, Rates(1000, 1, 2000), 10, 1, 2).bottleneck == "checking"
    assert cost(WORK, Rates(1e9, 1e9, 1), 10, 1, 2).bottleneck == "training"


def test_a_round_is_its_share_of_the_published_run_and_settings_are_their_own() -> None:
    run, one, own = workloads(load("tiny"), RATES)
    assert run.proofs == pytest.approx(48 * one.proofs)
    assert own.proofs == 16 * (320 + 320)
    expert = workloads(load("expert-iteration"), RATES)[-1]
    assert expert.proofs == 64 * 320
    assert "bottleneck" in table([cost(work, RATES, 1, 0, 1) for work in (run, one, own)])


def test_rates_come_from_a_run_where_it_shows_them() -> None:
    with Store() as store:
        begun_run(store)
        assert measured(store, RATES) == RATES
        add_round(store, 1)
        found = measured(store, RATES)
    assert found.distinct_frac == pytest.approx(7 / 40)
    assert found.training_tokens_per_s == RATES.training_tokens_per_s


def test_the_seconds_of_a_stage_that_goes_on_count_like_its_tokens() -> None:
    with Store() as store:
        begun_run(store)
        store.begin_stage(1, "attempt")
        time.sleep(0.1)
        store.add_attempts(1, "attempt", [("hard", "by simp", 1, 5_000)])
        running = measured(store, RATES).tokens_per_s
    assert RATES.tokens_per_s < running < 50_000
