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
.PHONY: help setup selfplay test test-fast test-isabelle test-slow check fmt bench clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 15

setup: $(STAMP)  ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

selfplay: setup  ## Play ROUNDS rounds of self-play in RUN with CONFIG
	$(STP) selfplay --rounds $(ROUNDS) --config "$(CONFIG)" --run "$(RUN)"

test: setup  ## The tests, with the real Lean
	$(STP) toolchain install lean
	$(PYTEST) -m "not slow"

test-fast: setup  ## The tests that start no Lean
	$(PYTEST) -m "not slow and not lean"

test-slow: setup  ## The tests that take minutes
	$(STP) toolchain install lean
	$(PYTEST) -m slow

test-isabelle: setup  ## The Isabelle corpora, on the Isabelle of PATH or ISABELLE_HOME
	$(PYTEST) -m isabelle -rs

check: setup  ## Lint, format, types and the fast tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PYTEST) -m "not slow and not lean"

fmt: setup  ## Format the code
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

bench: setup  ## Measure this machine
	$(STP) bench

clean:  ## Remove .venv and build files; runs and the per-user cache stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
