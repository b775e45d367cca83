"""The real Isabelle, where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stp.errors import ToolchainError
from stp.verify.isabelle import toolchain
from stp.verify.isabelle.worker import IsabelleWorker


@pytest.fixture(scope="session")
def isabelle() -> Iterator[IsabelleWorker]:
    """A worker; without Isabelle the test is skipped, and says why."""
    try:
        found = toolchain.find()
    except ToolchainError as error:
        pytest.skip(str(error))
    worker = IsabelleWorker(found, 8192)
    yield worker
    worker.close()
