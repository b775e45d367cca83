"""`stp serve`, `stp keys` and `stp mcp`: the verifier service."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stp.errors import UsageError

if TYPE_CHECKING:
    from stp.settings import VerifySettings

app = typer.Typer(no_args_is_help=True, help="API keys of the verifier service.")
State = Annotated[
    Path | None, typer.Option(help="Folder of keys, batches and the audit log; by default the user's own.")
]
Toolchain = Annotated[str, typer.Option(help="auto, embedded or native.")]
Workers = Annotated[int, typer.Option(help="Checker processes; 0: as many as fit.")]


def serve(
    host: Annotated[str, typer.Option(help="The address to serve at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to serve at; 0: a free one.")] = 8000,
    keys: Annotated[bool, typer.Option("--keys", help="Serve only who has a key (stp keys add).")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    state: State = None,
    toolchain: Toolchain = "auto",
    workers: Workers = 0,
    pool: Annotated[str, typer.Option(help="local, or ray for the checkers of a cluster.")] = "local",
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Refuse to run a Lean without a sandbox.")
    ] = False,
) -> None:
    """Serve proof checks over HTTP: our API, Kimina's, MCP, a page. SIGTERM lets it finish."""
    from stp.service.bounds import ServeSettings
    from stp.service.server import serve as run

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("expected --tls-cert and --tls-key together, found one of them")
    for option, pem in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if pem and not os.access(pem, os.R_OK):
            raise UsageError(f"{option} {pem}: expected a readable file")
    verify = _verify(
        "stp serve", pool=pool, workers=workers, toolchain=toolchain, require_sandbox=require_sandbox
    )
    settings = ServeSettings(verify, _folder(state), keys)
    run(settings, host, port, tls_cert, tls_key)


def mcp(toolchain: Toolchain = "auto", workers: Workers = 1) -> None:
    """Serve the tools for agents over standard input and output; `stp serve` has them at /mcp."""
    import asyncio

    from stp.service.bounds import Bounds
    from stp.service.mcp import make_mcp
    from stp.service.metrics import Metrics
    from stp.service.provers import Provers, opening

    verify = _verify("stp mcp", toolchain=toolchain, workers=workers)

    async def run() -> None:
        provers = Provers(Bounds(), Metrics(), verify.toolchain)
        starting = asyncio.create_task(provers.start(pools))
        try:
            await make_mcp(provers).run_stdio_async()
        finally:
            await starting
            await provers.close()

    with opening(verify) as pools:
        asyncio.run(run())


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is: small letters, digits, hyphens.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="verify, jobs or metrics; several times; by default all.")
    ] = None,
    jobs_per_minute: Annotated[int, typer.Option(min=0, max=1_000_000_000, help="Quota; 0: none.")] = 0,
    state: State = None,
) -> None:
    """Make a key and print it: it is shown this once."""
    from stp.service.keys import SCOPES, Keys
    from stp.store.service import ServiceStore

    store = ServiceStore(_folder(state) / "service.sqlite")
    print(Keys(store).add(name, frozenset(scope or SCOPES), jobs_per_minute))
    store.close()


@app.command("list")
def list_(state: State = None) -> None:
    """Print each key's name, day, scopes and quota."""
    from stp.store.service import ServiceStore

    store = ServiceStore(_folder(state) / "service.sqlite")
    for key in store.key_rows():
        day = datetime.fromtimestamp(key.created, UTC).date()
        quota = f"{key.jobs_per_minute} jobs a minute" if key.jobs_per_minute else "no quota"
        print(f"{key.name:20}  {day}  {','.join(sorted(key.scopes)):20}  {quota}")
    store.close()


@app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Whose key it was.")], state: State = None) -> None:
    """Revoke a key at once, also in a service that runs."""
    from stp.store.service import ServiceStore

    store = ServiceStore(_folder(state) / "service.sqlite")
    dropped = store.drop_key(name)
    store.close()
    if not dropped:
        raise UsageError(f"key {name!r}: there is none; see: stp keys list")


def _folder(state: Path | None) -> Path:
    import platformdirs

    return state or Path(platformdirs.user_data_dir("stp")) / "service"


def _verify(command: str, **values: object) -> VerifySettings:
    from stp.settings import validate

    return validate({"verify": {"pool": "local", **values}}, command).verify
