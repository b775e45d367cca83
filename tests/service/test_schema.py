"""What the OpenAPI document allows, and much that it does not, never makes the service fail."""

from __future__ import annotations

import warnings

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.service.conftest import Live


@pytest.mark.slow
def test_no_request_makes_a_server_error(live: Live) -> None:
    asked: list[int] = []
    with live() as client:
        schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            both = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

            @settings(
                max_examples=40, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=both)
            def ask(case: schemathesis.Case) -> None:
                reply = case.call()
                asked.append(reply.status_code)
                absent = reply.status_code == 503 and "isabelle: none on this machine" in reply.text
                assert reply.status_code < 500 or absent, (case.as_curl_command(), reply.text)

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ask()
    assert len(asked) > 200
    assert 200 in asked
    assert 422 in asked
