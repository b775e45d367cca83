"""`stp verify`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from stp.errors import UsageError

if TYPE_CHECKING:
    from stp.types import CheckResult
    from stp.verify.pool import Pool

_WINDOW = 256


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A file: a report on it, or a check of --theorem against --against.")
    ] = None,
    theorem: Annotated[str | None, typer.Option(help="The full name of the theorem in FILE.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="A file that states that theorem with `sorry` for a proof.")
    ] = None,
    statement: Annotated[
        str | None, typer.Option(help="theorem NAME SIGNATURE; for Isabelle theorem NAME: SIGNATURE")
    ] = None,
    proof: Annotated[
        str | None, typer.Option(help="The term after `:=`, or Isabelle's proof, such as `by simp`.")
    ] = None,
    header: Annotated[str, typer.Option(help="What stands before the theorem.")] = "",
    jsonl: Annotated[
        str | None, typer.Option(help="A file of jobs, one JSON object a line; - for stdin.")
    ] = None,
    system: Annotated[str, typer.Option(help="lean or isabelle.")] = "lean",
    toolchain: Annotated[str, typer.Option(help="Which Lean: auto, embedded or native.")] = "auto",
    workers: Annotated[int, typer.Option(help="Checker processes; 0: as many as fit.")] = 1,
    premises: Annotated[
        bool, typer.Option("--premises", help="Also list the library theorems used.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Have a second process check again what the first accepted.")
    ] = False,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Refuse to run a prover without a sandbox.")
    ] = False,
    trusting: Annotated[
        bool,
        typer.Option(
            "--trusting", help="Let headers and --against run code (macros, notation, #eval): your own."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Check a proof, a file or a stream of jobs. Exit code 0: proved (or the stream was read), 1: not."""
    from stp.settings import validate
    from stp.verify.job import job_from_json, result_to_json
    from stp.verify.pool import open_pool

    values = {
        "system": system, "pool": "local", "workers": workers, "toolchain": toolchain,
        "require_sandbox": require_sandbox, "trusting": trusting,
    }  # fmt: skip
    settings = validate({"verify": values}, "stp verify").verify
    given = [name for name, what in (("FILE", file), ("--statement", statement), ("--jsonl", jsonl)) if what]
    if len(given) > 1:
        raise UsageError(f"expected one of FILE, --statement and --jsonl, found {' and '.join(given)}")
    if jsonl is not None:
        if theorem or against or proof or header:
            raise UsageError(
                "--jsonl: each line has its own header, proof and theorem; leave out the options"
            )
        lines = _open(jsonl)
        with open_pool(settings) as pool:
            for result in _stream(pool, lines, premises, strict):
                # ASCII: a text may hold what the terminal's encoding does not.
                print(json.dumps(result_to_json(result)), flush=True)
        return
    value = _value(file, statement, proof, header, theorem, against)
    value |= {"premises": premises, "strict": strict}
    job = job_from_json(value, "1", settings.system)
    with open_pool(settings) as pool:
        if sys.stderr.isatty():
            print(f"starting {system}: 10 to 20 s", file=sys.stderr)
        result = pool.submit(job).result()
    if as_json:
        print(json.dumps(result_to_json(result)))
    else:
        _print(result)
    raise typer.Exit(0 if result.proved else 1)


def _value(
    file: Path | None, statement: str | None, proof: str | None, header: str, theorem: str | None,
    against: Path | None,
) -> dict[str, object]:  # fmt: skip
    """The job of a file or of a statement and its proof.

    Raises:
        UsageError: the options do not go together, or a file cannot be read.
    """
    from stp.types import EVERYTHING

    if file is not None and (header or proof):
        raise UsageError("FILE: its text has header and proof; leave out --header and --proof")
    if statement is not None and (theorem or against):
        raise UsageError("--statement: --theorem and --against go with FILE; leave them out")
    if file is not None and (theorem or not against):
        spec = _read(against) if against else ""
        return {"theorem": theorem or EVERYTHING, "statement": spec, "proof": _read(file)}
    if statement is not None and proof is not None:
        return {"header": header, "statement": statement, "proof": proof}
    raise UsageError(
        "expected FILE, with --theorem NAME beside --against, or --statement and --proof, or --jsonl FILE"
    )


def _print(result: CheckResult) -> None:
    print(result.verdict.value + (f": {result.reason}" if result.reason else ""))
    if result.axioms:
        print(f"  axioms: {', '.join(result.axioms)}")
    for premise in result.premises:
        print(f"  {premise.name}  ({premise.module})")
    for message in result.messages:
        print(message, file=sys.stderr)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a readable file of UTF-8 text: {error}") from None


def _open(path: str) -> BinaryIO:
    """The lines, never to be closed: that would wait for the thread that waits for the next line."""
    try:
        return os.fdopen(os.dup(0), "rb") if path == "-" else Path(path).open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _stream(pool: Pool, lines: BinaryIO, premises: bool, strict: bool) -> Iterator[CheckResult]:
    """Results in the order of the lines, each as soon as it is there: who sends a line and waits for its
    answer gets it, since the lines are read by a thread of their own, at most `_WINDOW` ahead. Options
    are asked of every job."""
    from tqdm import tqdm

    waiting: Queue[Future[CheckResult] | Exception | None] = Queue(_WINDOW)

    def read() -> None:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    waiting.put(_submit(pool, line, number, premises, strict))
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


def _submit(pool: Pool, line: bytes, number: int, premises: bool, strict: bool) -> Future[CheckResult]:
    """The answer to a line; one that cannot be read is answered too, never lost."""
    from stp.types import CheckResult, Verdict
    from stp.verify.job import job_from_json

    name = str(number)
    try:
        value = json.loads(line)
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            name = value["id"]
        job = job_from_json(value, name, pool.system)
        return pool.submit(replace(job, strict=job.strict or strict, premises=job.premises or premises))
    except (UsageError, ValueError, RecursionError) as error:
        future: Future[CheckResult] = Future()
        future.set_result(CheckResult(name, Verdict.BAD_STATEMENT, f"line {number}: {error}"))
        return future
