"""Runs of STP's size: the numbers that this code must reach on two cores."""

from __future__ import annotations

import pytest

from stp.selfplay import scale


def test_the_measurement_itself_works_small() -> None:
    assert scale.selection(200)["prover"] > 0
    assert scale.reweighting(300, 400, 16)["used"] > 0
    found = scale.store(3_200)
    assert found["attempts"] == 3_200
    assert found["bytes_per_attempt"] < 2_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_round_of_75_000_conjectures_is_selected_and_weighed_in_five_minutes_and_6_gib() -> None:
    selected, weighed = scale.selection(), scale.reweighting()
    assert selected["seconds"] + weighed["seconds"] < 300
    assert weighed["peak_gib"] < 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_store_takes_20_000_attempts_a_second_with_their_checks() -> None:
    assert scale.store(1_000_000)["both_attempts_per_s"] > 20_000
