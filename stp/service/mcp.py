"""The service's tools for agents, by the Model Context Protocol: over HTTP at `/mcp` of the service, or over
standard input and output by `stp mcp`."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from stp import __version__
from stp.datasets.seeds import FIXED_TACTICS
from stp.errors import StpError
from stp.service.keys import Client
from stp.service.provers import Provers
from stp.service.refusal import without_paths
from stp.syntax.lean_file import imports_of
from stp.types import CheckResult, Job, Limits, Verdict
from stp.verify.job import result_to_json
from stp.verify.lean.library import Found, search, theorems
from stp.verify.lean.process import ProcessDiedError

_INSTRUCTIONS = (
    "Checks Lean 4 proofs. A statement is `theorem NAME SIGNATURE`, without `:=`; a proof is the term after "
    "`:=`, such as `by omega`. Only the verdict `proved` is a proof."
)
_PROVE_LIMITS = Limits(wall_s=10.0, heartbeats=20_000)
_MOST = 50
_MOST_IMPORTS = 4000


def make_mcp(provers: Provers) -> MCPServer:
    """The tools over some provers."""
    mcp = MCPServer("stp", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")
    listing = asyncio.Lock()

    def client_of(context: Context[Any]) -> Client:
        request = context.request_context.request
        return Client("stdio") if request is None else request.state.client

    async def check(context: Context[Any], jobs: list[Job]) -> list[asyncio.Future[CheckResult]]:
        await provers.settled.wait()
        if (request := context.request_context.request) is not None:
            request.state.jobs = len(jobs)
        try:
            return provers.submit(jobs, client_of(context))
        except StpError as error:
            raise ToolError(str(error)) from None

    @mcp.tool()
    async def verify(
        statement: str, proof: str, context: Context[Any], header: str = "", strict: bool = False
    ) -> dict[str, Any]:
        """Check a proof of a statement: verdict, reason, messages at their places, axioms, lemmas used."""
        job = Job("1", header, statement, proof, premises=True, strict=strict)
        (future,) = await check(context, [job])
        return result_to_json(await future)

    @mcp.tool()
    async def check_statement(statement: str, context: Context[Any], header: str = "") -> dict[str, Any]:
        """Does a statement elaborate? Says what is wrong with it if not; proves nothing."""
        (future,) = await check(context, [Job("1", header, statement, "by sorry")])
        result = await future
        return {
            "well_formed": result.verdict is Verdict.INCOMPLETE,
            "reason": "" if result.verdict is Verdict.INCOMPLETE else result.reason,
            "messages": [m.text for m in result.messages if m.severity == "error"],
        }

    @mcp.tool()
    async def search_lemma(
        query: str, context: Context[Any], header: str = "", limit: int = 10
    ) -> list[dict[str, str]]:
        """Find theorems of the library that a header imports, by words and constant names, such as
        `List.reverse length` or `Nat mul distrib`. All words must occur in a theorem's name or among the
        constants that its statement mentions. The first search under new imports takes a while."""
        imports = imports_of(header)
        if len(imports) > _MOST_IMPORTS:
            raise ToolError(f"header: expected imports of at most {_MOST_IMPORTS} characters")
        try:
            client_of(context).spend(1)  # a Lean of its own, where the library is new
            async with listing:
                lines = await asyncio.to_thread(theorems, provers.toolchain, imports)
        except ProcessDiedError:
            raise ToolError("Lean ended while it read the library of these imports") from None
        except StpError as error:
            raise ToolError(without_paths(str(error))) from None
        found = await asyncio.to_thread(search, lines, query, max(1, min(limit, _MOST)))
        futures = await check(context, [_mention(theorem, header) for theorem in found])
        return [
            {"name": premise.name, "module": premise.module, "statement": premise.statement}
            for future in futures
            for premise in (await future).premises
        ]

    @mcp.tool()
    async def prove(statement: str, context: Context[Any], header: str = "") -> dict[str, Any]:
        """Try a dozen tactics on a statement, with a small budget: a proof, or how far each came."""
        jobs = [Job(proof, header, statement, proof, limits=_PROVE_LIMITS) for proof in FIXED_TACTICS]
        futures = await check(context, jobs)
        tried = []
        try:
            for soonest in asyncio.as_completed(futures):
                result = await soonest
                if result.proved:
                    return {"proved": True, "proof": result.id, "axioms": list(result.axioms)}
                tried.append({"proof": result.id, "verdict": result.verdict, "reason": result.reason})
        finally:
            for future in futures:
                future.cancel()
        return {"proved": False, "tried": tried}

    return mcp


def _mention(theorem: Found, header: str) -> Job:
    """A job whose premise is the theorem: so the checker prints its statement."""
    levels = f".{{{', '.join('0' * theorem.levels)}}}" if theorem.levels else ""
    proof = f"have := @_root_.{theorem.name}{levels}; _root_.True.intro"
    return Job(theorem.name, header, "theorem stp_mention : _root_.True", proof, premises=True)


def http_app(provers: Provers) -> Starlette:
    """The tools as one route, `/mcp`. Its lifespan must run. Hosts and keys are the guard's business."""
    return make_mcp(provers).streamable_http_app(
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
