"""One local checker for all tests that need the real Lean: each takes 1 to 2 GB."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from stp.settings import VerifySettings
from stp.verify.pool import Pool, open_pool
from tests.ran import Recorder

# A machine that is busy with something else is no fault of the code under test.
hypothesis.settings.register_profile("stp", deadline=None)
hypothesis.settings.load_profile("stp")


@pytest.fixture(scope="session")
def lean_pool() -> Iterator[Pool]:
    with open_pool(VerifySettings(pool="local", workers=1, trusting=False)) as pool:
        yield pool


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ran", action="store_true", help="write README's table of what ran for real")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--ran"):
        config.pluginmanager.register(Recorder())
