"""A Ray cluster of several nodes on one machine, whose nodes are killed while it works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stp.cluster import start_ray
from stp.datasets import lean_core
from stp.errors import UsageError
from stp.models.backend import open_generator
from stp.models.prompts import prompt_format
from stp.search.sample import Draws, Prover, attempt
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings, TrainSettings, VerifySettings
from stp.store.store import Store
from stp.training.examples import Example
from stp.training.remote import train_on_cluster
from stp.training.sft import train
from stp.verify.pool import Pool, open_pool
from tests.theorems import theorem

pytestmark = pytest.mark.programs

VERIFY = VerifySettings(pool="ray", workers=1, heartbeats=8_000)
MODEL = ModelSettings(replicas=2, batch_size=8)
DRAWS = Draws(samples=4, temperature=1.0, seed=0)
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
    attempt(store, prover, 1, "attempt", statements, DRAWS)
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
        assert sum(calm.verdicts(1).values()) == _STATEMENTS * DRAWS.samples


def test_a_head_without_workers_is_said(cluster: Any, tmp_path: Path) -> None:
    with driver(tmp_path, cluster.address) as child:
        _, errors = child.communicate(timeout=120)
    assert child.returncode
    assert "no node with a core" in errors.splitlines()[-1], errors[-2000:]


def test_where_no_cluster_is_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1:9", "nonsense"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UsageError, match=rf"RAY_ADDRESS={address}: .*`ray start --head`"):
            start_ray()


@pytest.fixture
def joined(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The cluster, which this process joins when it needs to."""
    import ray

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()


def test_another_version_and_too_few_gpus_are_said_in_one_line(
    joined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    joined.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 << 20)
    with monkeypatch.context() as other:
        other.setattr(ray, "__version__", "2.0.0")
        with pytest.raises(UsageError, match=r"Version mismatch: .*Ray: 2\.0\.0.* of this machine, or unset"):
            start_ray()
    joined.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 << 20)
    with pytest.raises(
        UsageError, match=r"model\.gpus: an engine is to have 2 GPUs of one node, .* have 1, 1:"
    ):
        open_generator(ModelSettings(replicas=3, gpus=2), seed_model(ModelSettings()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_whose_node_is_lost_goes_on_on_another(
    joined: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside generators that sleep: GPUs are made up, what runs on them is real."""
    prompts = [
        prompt_format("tiny").prover(theorem(f"theorem t (a : Nat) : a + {i} = {i} + a")) for i in range(60)
    ]
    plan = [Example(prompt, "by omega") for prompt in prompts]
    settings = TrainSettings(epochs=2, batch_size=2, save_steps=10)
    how: dict[str, Any] = {"prompt_format": "tiny", "seed": 0}
    model = seed_model(ModelSettings())
    calm = train(model, tmp_path / "calm", plan, settings, **how)
    nodes = [joined.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=80 << 20) for gpus in (2, 1)]
    generator = open_generator(ModelSettings(replicas=3), model)
    generator.release()

    def kill() -> None:
        while not list(tmp_path.glob("stormy.work/checkpoint-*/whole")):
            time.sleep(0.02)
        joined.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    stormy = train_on_cluster(model, tmp_path / "stormy", plan, settings, **how)
    killer.join()
    assert (stormy.steps, stormy.tokens) == (calm.steps, calm.tokens)
    assert stormy.loss == pytest.approx(calm.loss, abs=1e-2)
    said = capsys.readouterr().err
    assert "was lost: another goes on" in said
    assert "train:" in said, "the bar of the trainer, wherever that is"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calm", "stormy"]
    generator.use(tmp_path / "stormy")
    [samples] = generator.generate([plan[0].prompt], n=2, temperature=1.0, max_tokens=8, seed=0)
    assert len(samples) == 2
    generator.close()
