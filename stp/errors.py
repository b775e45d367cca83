"""Every error this project raises on purpose.

    StpError                     the root: one line a person can act on
    ├── UsageError               what was asked for cannot be done as asked     exit 2
    │   └── SettingsError        a settings file, preset or --set is wrong      exit 2
    └── MachineryError           the machine let us down, not the input         exit 3
        ├── ModelServerError     the model's server does not answer, or fails   exit 3
        ├── ToolchainError       a prover is missing, damaged or will not start exit 3
        ├── WorkerError          a checker process or its actor failed for good exit 3
        └── StoreError           the run's folder or database cannot be used    exit 3

A bad proof is never an error: it is a `Verdict`. The command line turns an `StpError` into its one
line and its exit code in one place (`stp.cli.main`).
"""


class StpError(Exception):
    """Says what was expected, what was found and what to do next, in one line."""

    exit_code = 3


class UsageError(StpError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file, preset or --set is wrong."""


class MachineryError(StpError):
    """The machine let us down, not the input."""

    exit_code = 3


class ModelServerError(MachineryError):
    """The model's server does not answer, or fails."""


class ToolchainError(MachineryError):
    """A prover is missing, damaged or will not start."""


class WorkerError(MachineryError):
    """A checker process or its actor failed for good."""


class StoreError(MachineryError):
    """The run's folder or database cannot be used."""
