"""The client against a stand-in server that misbehaves; the real one is in test_generators.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stp.errors import MachineryError, ModelServerError, UsageError
from stp.models import http
from stp.models.openai import OpenAiGenerator
from stp.models.prompts import encode_prompt, prompt_format
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings
from tests.models.stand_in import JsonHandler
from tests.theorems import theorem

TINY = seed_model(ModelSettings())
PROMPT = prompt_format("tiny").prover(theorem("theorem t (a : Nat) : a = a"))


class Server(ThreadingHTTPServer):
    """Writes the end token; answers as `plan` says first."""

    plan: list[int]
    asked: list[dict[str, Any]]
    root = str(TINY)
    ids = True
    takes_weights = False


class Handler(JsonHandler, BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/server_info":
            device = "cuda" if self.server.takes_weights else "cpu"
            return self.answer(200, {"vllm_config": f"seed=0, device_config={device}"})
        self.answer(200, {"data": [{"id": "m", "root": self.server.root, "max_model_len": 200}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        if not self.path.endswith("/completions"):
            return self.answer(200, {})
        self.server.asked.append(body)
        if self.server.plan and (status := self.server.plan.pop(0)) != 200:
            return self.answer(status, {"error": "not now"})
        ids = [body["stop_token_ids"][0]] if self.server.ids else None
        logprobs = {"token_logprobs": [-0.5]} if body["logprobs"] is not None else None
        one = {"token_ids": ids, "text": "", "logprobs": logprobs}
        self.answer(200, {"choices": [{**one, "index": i} for i in range(body["n"])]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "_FIRST_PAUSE_S", 0.01)
    with Server(("127.0.0.1", 0), Handler) as made:
        made.plan, made.asked = [], []
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def client(server: Server, folder: Path = TINY, logprobs: bool = False) -> OpenAiGenerator:
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    return OpenAiGenerator(folder, "tiny", url, batch_size=8, logprobs=logprobs)


def test_a_prompt_goes_as_its_ids_and_is_asked_once_for_all_samples(server: Server) -> None:
    generator = client(server)
    [samples] = generator.generate([PROMPT], n=4, temperature=0.5, max_tokens=7, seed=0)
    assert [sample.finished for sample in samples] == [True] * 4
    [asked] = server.asked
    assert asked["prompt"] == encode_prompt(generator.codec.tokenizer, PROMPT)
    assert (asked["n"], asked["temperature"], asked["max_tokens"]) == (4, 0.5, 7)


def test_logprobs_are_asked_for_and_read(server: Server) -> None:
    for asked, expected in ((True, (-0.5,)), (False, ())):
        [[sample]] = client(server, logprobs=asked).generate(
            [PROMPT], n=1, temperature=1.0, max_tokens=7, seed=0
        )
        assert sample.logprobs == expected


def test_a_busy_server_is_asked_again_with_the_same_request(server: Server) -> None:
    server.plan = [503, 429, 200]
    [samples] = client(server).generate([PROMPT], n=1, temperature=1.0, max_tokens=7, seed=0)
    assert len(samples) == 1
    assert server.asked[0] == server.asked[1] == server.asked[2]


def test_a_refused_request_is_not_repeated(server: Server) -> None:
    server.plan = [400]
    with pytest.raises(UsageError, match="answered 400"):
        client(server).generate([PROMPT], n=1, temperature=1.0, max_tokens=7, seed=0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_or_broken_is_named(server: Server, status: int) -> None:
    server.plan = [status] * 20
    with pytest.raises(ModelServerError, match=f"completions answered {status}"):
        client(server).generate([PROMPT], n=1, temperature=1.0, max_tokens=7, seed=0)


def test_nobody_there_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_FIRST_PAUSE_S", 0.01)
    with pytest.raises(MachineryError, match=r"vllm serve .* model\.url"):
        OpenAiGenerator(TINY, "tiny", "http://127.0.0.1:9/v1")


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "localhost:8000/v1", "http://[::1/v1"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with pytest.raises(UsageError, match=r"model\.url: expected http://HOST:PORT/v1, found"):
        http.Server(url).ask("GET", "/models")


def test_a_key_that_no_header_can_carry_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-…")
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        http.Server("http://localhost:1/v1")


def test_a_server_with_other_weights_is_refused_unless_it_takes_ours(server: Server) -> None:
    server.root = "/elsewhere"
    with pytest.raises(UsageError, match="VLLM_SERVER_DEV_MODE"):
        client(server)
    server.takes_weights = True
    client(server)


def test_a_server_that_gives_only_text_is_refused(server: Server) -> None:
    server.ids = False
    with pytest.raises(UsageError, match="return_token_ids"):
        client(server).generate([PROMPT], n=1, temperature=1.0, max_tokens=7, seed=0)


def test_the_server_s_context_counts_too(server: Server) -> None:
    with pytest.raises(UsageError, match="200 tokens"):
        client(server).generate([PROMPT], n=1, temperature=1.0, max_tokens=200, seed=0)
