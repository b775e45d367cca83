"""The tools for agents, called by the official client."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from tests.service.conftest import Live

IMPORTS = "import Std.Data.HashMap.Lemmas"
FOO = {"statement": "theorem foo (a b : Nat) : a + b = b + a"}


def call(server: Any, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What the tools answer, in turn."""

    async def told() -> list[Any]:
        async with Client(server) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {
                "verify", "check_statement", "search_lemma", "prove",
            }  # fmt: skip
            answers = [await client.call_tool(name, arguments) for name, arguments in calls]
            return [a.structured_content for a in answers]

    return asyncio.run(told())


def test_tools_are_there_over_http_and_a_proof_is_found(live: Live) -> None:
    with live() as client:
        found, checked = call(
            f"{client.base_url}/mcp", ("prove", FOO), ("verify", {**FOO, "proof": "rejected"})
        )
    assert found["proved"]
    assert checked["verdict"] == "rejected"


@pytest.mark.lean
def test_lean_answers_agents(lean_service: httpx.Client) -> None:
    good, bad, found, lemmas, absent, imported = call(
        f"{lean_service.base_url}/mcp",
        ("check_statement", FOO),
        ("check_statement", {"statement": "theorem foo : x = 1"}),
        ("prove", FOO),
        ("search_lemma", {"query": "List length reverse", "limit": 3}),
        ("search_lemma", {"query": "hashmap size_insert"}),
        (
            "search_lemma",
            {"query": "hashmap size_insert", "header": "import Std.Data.HashMap.Lemmas\nopen Nat"},
        ),
    )
    assert good["well_formed"]
    assert not bad["well_formed"]
    assert bad["messages"]
    assert found["proof"].startswith("by ")
    (lemma,) = [lemma for lemma in lemmas["result"] if lemma["name"] == "List.length_reverse"]
    assert lemma["module"] == "Init.Data.List.Lemmas"
    assert "as.reverse.length = as.length" in lemma["statement"]
    assert absent["result"] == []
    assert "Std.HashMap.size_insert" in [lemma["name"] for lemma in imported["result"]]


@pytest.mark.lean
@pytest.mark.slow
def test_the_same_over_standard_input_and_output() -> None:
    command = StdioServerParameters(command=sys.executable, args=["-m", "stp", "mcp"])
    (checked,) = call(command, ("verify", {**FOO, "proof": "by omega", "strict": True}))
    assert checked["verdict"] == "proved"
