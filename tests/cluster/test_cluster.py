"""A Ray cluster of several nodes on one machine, whose nodes are killed while it works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stp.datasets import lean_core
from stp.models.backend import open_generator
from stp.models.prompts import prompt_format
from stp.search.sample import Budget, Prover, attempt
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings, VerifySettings
from stp.store.store import Store
from stp.verify.pool import Pool, open_pool

pytestmark = pytest.mark.programs

VERIFY = VerifySettings(pool="ray", workers=1, heartbeats=8_000)
MODEL = ModelSettings(replicas=2, batch_size=8)
BUDGET = Budget(samples=4, temperature=1.0, seed=0)
_STATEMENTS = 40


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that does no work; nodes are the test's to add."""
    utils = pytest.importorskip("ray.cluster_utils")
    made = utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20}
    )
    yield made
    made.shutdown()


def play(store: Store, model: ModelSettings, pool: Pool) -> None:
    """Attempts at some statements, into the store."""
    torch.set_num_threads(1)  # the checker has the other core
    generator = open_generator(model, seed_model(model))
    prover = Prover(generator, prompt_format(model.prompt_format), pool, model, VERIFY)
    statements = lean_core.load("train")[:_STATEMENTS]
    with store.atomic():
        store.add_statements(statements, 0, "train")
    attempt(store, prover, 1, "attempt", statements, BUDGET)
    generator.close()


def drive(folder: Path) -> None:
    """What the driver's process does."""
    with Store(folder / "stp.sqlite") as store, open_pool(VERIFY) as pool:
        (folder / "ready").touch()
        play(store, MODEL, pool)


def driver(folder: Path, address: str) -> subprocess.Popen[str]:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path\n"
    code += f"import test_cluster; test_cluster.drive(Path({str(folder)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_ADDRESS": address}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.timeout(900)
def test_nodes_killed_at_random_change_nothing(cluster: Any, lean_pool: Pool, tmp_path: Path) -> None:
    for name in ("calm", "stormy"):
        (tmp_path / name).mkdir()
    rng = random.Random(0)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    kills = 0
    with driver(tmp_path / "stormy", cluster.address) as child:
        while child.poll() is None:
            try:
                child.wait(rng.uniform(12, 25))
            except subprocess.TimeoutExpired:
                if kills < 2 and (tmp_path / "stormy/ready").exists():
                    cluster.remove_node(nodes.pop(rng.randrange(2)), allow_graceful=False)
                    nodes.append(cluster.add_node(num_cpus=1, object_store_memory=80 << 20))
                    kills += 1
        errors = child.stderr.read() if child.stderr else ""
    assert child.returncode == 0, errors[-3000:]
    assert kills >= 1
    with Store(tmp_path / "calm/stp.sqlite") as calm, Store(tmp_path / "stormy/stp.sqlite") as stormy:
        play(calm, ModelSettings(batch_size=16), lean_pool)
        assert calm.differences(stormy) == []
        assert sum(calm.verdicts(1, "attempt").values()) == _STATEMENTS * BUDGET.samples


def test_a_head_without_workers_is_said(cluster: Any, tmp_path: Path) -> None:
    with driver(tmp_path, cluster.address) as child:
        _, errors = child.communicate(timeout=120)
    assert child.returncode
    assert "no node with a core" in errors.splitlines()[-1], errors[-2000:]
