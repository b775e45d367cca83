"""`stp bench scale` measures runs of STP's size; here it is held to work."""

from __future__ import annotations

from stp.bench import scale


def test_the_measurement_itself_works_small() -> None:
    assert scale.selection(200)["prover"] > 0
    assert scale.reweighting(300, 400, 16)["used"] > 0
    found = scale.store(3_200)
    assert found["attempts"] == 3_200
    assert found["bytes_per_attempt"] < 2_000
