#!/bin/sh
# Installs the pinned Lean and its Mathlib for this folder: elan's toolchain, Mathlib's built files, the checker
# and the smaller header. Each step goes on where it stopped; one line says what to do where it cannot.
cd "$(dirname "$0")" || exit 3
stop() { echo "make lean: $1; then run make lean again" >&2; exit 3; }

command -v elan >/dev/null ||
  stop 'elan is not on PATH: install it (https://github.com/leanprover/elan) and open a new shell'
lean=$(cat lean-toolchain)
elan run "$lean" lean --version >/dev/null 2>&1 || elan toolchain install "$lean" ||
  stop "$lean cannot be fetched: check the network, and that release.lean-lang.org and github.com can be reached"
lake exe cache get ||
  stop "Mathlib cannot be fetched: check the network and for 6 GB of free disk here"
lake build ||
  stop 'the checker does not build against this Lean: see above, and check that lean_project is as it came'
lake build Slim ||
  echo 'make lean: Slim.lean does not build against this Mathlib: let headers import Mathlib itself' >&2
