"""Measures sampling and whole rounds with the default preset."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from stp.bench.jobs import mix, statements_of
from stp.bench.sampling import Work, speeds
from stp.errors import MachineryError
from stp.models.backend import open_generator
from stp.models.prompts import prompt_format
from stp.selfplay.seed_model import seed_model
from stp.settings import load

_REPEATS = 3


def sample() -> dict[str, Any]:
    """Tokens a second of the default model: 16 samples a prompt; and 32 by each back end that is installed,
    over its engine's own."""
    settings = load()
    model = seed_model(settings.model)
    generator = open_generator(settings.model, model)
    style = prompt_format(settings.model.prompt_format)
    prompts = [style.prover(statement) for statement in statements_of(mix()[:64])]
    rates = []
    for repeat in range(_REPEATS + 1):
        began = time.monotonic()
        sampled = generator.generate(prompts, n=16, temperature=1.0, max_tokens=96, seed=repeat)
        tokens = sum(sample.tokens for samples in sampled for sample in samples)
        rates.append(tokens / (time.monotonic() - began))
    work = Work(prompts, settings.model.prompt_format, 32, 96, settings.model.batch_size)
    engines = {speed.backend: {**asdict(speed), "share": speed.share} for speed in speeds(model, work)}
    return {"tokens_per_s": median(rates[1:]), "all": rates[1:], "engines": engines}


def play(rounds: int) -> dict[str, Any]:
    """A new run with the default preset, caches as they are: its time, its memory, its numbers.

    Memory is the sum of the resident sets of the driver and all its children, read once a second: what
    several of them share is counted for each.
    """
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "stp", "selfplay", "--rounds", str(rounds), "--run", folder]
        driver, peak = psutil.Popen(command, stdout=DEVNULL, stderr=DEVNULL), 0
        while driver.poll() is None:
            peak = max(peak, _resident(driver))
            time.sleep(1)
        if driver.returncode:
            raise MachineryError(f"{' '.join(command)}: ended with exit code {driver.returncode}")
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        return {
            "minutes": (time.monotonic() - began) / 60, "peak_gib": peak / 2**30,
            "rounds": [json.loads(line) for line in lines],
        }  # fmt: skip


def _resident(driver: psutil.Process) -> int:
    total = 0
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total
