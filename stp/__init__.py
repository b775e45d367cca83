"""STP: a self-play theorem prover. One language model conjectures and proves; Lean 4 checks."""

__version__ = "0.1.0"
