"""`stp bench cluster` and its like, held to work at a size of their own: no claim about speed."""

from __future__ import annotations

import pytest

from stp.bench import placing


@pytest.mark.programs
def test_the_driver_s_share_is_measured_on_real_nodes() -> None:
    found = placing.cluster(nodes=2, workers=4, checks=400, check_s=0.01)
    assert len(found["all"]) == 3
    assert 0 < found["driver_ms"] < 100
    assert found["of_a_check"] == pytest.approx(found["driver_ms"] / 10)
    assert 0 < found["workers_busy"] <= 1
