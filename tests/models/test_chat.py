"""Chat models behind an address: what is asked, how answers are read, what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stp.errors import ModelServerError, UsageError
from stp.models.backend import open_generator
from stp.models.prompts import prompt_format
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings
from tests.models.stand_in import JsonHandler
from tests.theorems import theorem

STYLE = prompt_format("chat")
THEOREM = "theorem t (a : Nat) : a = a"


class Server(ThreadingHTTPServer):
    asked: list[dict[str, Any]]


class Handler(JsonHandler, BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "small"}, {"id": "large"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if "odd" in body["messages"][-1]["content"]:
            half = {"message": {"content": "\ud800"}, "finish_reason": "stop"}
            return self.answer(200, {"choices": [half]})
        if "broken" in body["messages"][-1]["content"]:
            return self.answer(200, {"error": "the engine is dead"})
        if "long" in body["messages"][-1]["content"]:
            return self.answer(400, {"error": {"code": "context_length_exceeded"}})
        cut = body["max_tokens"] < 100
        text = f"So:\n```lean4\n{THEOREM} := by -- {body['seed']}\n  rfl\n```"
        self.answer(200, {
            "choices": [{"message": {"content": text}, "finish_reason": "length" if cut else "stop"}],
            "usage": {"completion_tokens": 7},
        })  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        made.asked = []
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def settings(server: Server, name: str) -> ModelSettings:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return ModelSettings(backend="chat", base=name, url=url, batch_size=4)


def test_each_sample_is_a_conversation_of_its_own(server: Server) -> None:
    model = settings(server, "large")
    generator = open_generator(model, seed_model(model))
    prompts = [STYLE.prover(theorem(THEOREM, "open Nat")), STYLE.prover(theorem("theorem u : True"))]
    samples = generator.generate(prompts, n=3, temperature=0.7, max_tokens=100, seed=1)
    generator.close()
    assert [len(texts) for texts in samples] == [3, 3]
    assert {(sample.tokens, sample.finished) for texts in samples for sample in texts} == {(7, True)}
    assert len({sample.text for texts in samples for sample in texts}) == 6, "each with another seed"
    assert STYLE.proof(samples[0][0].text, THEOREM).startswith("by -- ")
    first = next(body for body in server.asked if THEOREM in body["messages"][1]["content"])
    assert first["model"] == "large"
    assert first["messages"] == [
        {"role": "system", "content": STYLE.system_message},
        {"role": "user", "content": prompts[0].text},
    ]


def test_a_prompt_that_the_server_finds_too_long_gets_nothing(server: Server) -> None:
    generator = open_generator(settings(server, "small"), seed_model(ModelSettings()))
    prompts = [STYLE.prover(theorem("theorem long : True")), STYLE.prover(theorem(THEOREM))]
    samples = generator.generate(prompts, n=2, temperature=1.0, max_tokens=100, seed=1)
    assert [len(texts) for texts in samples] == [0, 2]


def test_an_answer_that_is_none_is_the_servers_failure(server: Server) -> None:
    generator = open_generator(settings(server, "small"), seed_model(ModelSettings()))
    with pytest.raises(ModelServerError, match=r"expected an answer of OpenAI's protocol.*'choices'"):
        generator.generate(
            [STYLE.prover(theorem("theorem broken : True"))], n=1, temperature=1.0, max_tokens=9, seed=1
        )
    [[odd]] = generator.generate(
        [STYLE.prover(theorem("theorem odd : True"))], n=1, temperature=1.0, max_tokens=9, seed=1
    )
    assert odd.text == "?", "half a character is no text"


def test_an_answer_that_was_cut_off_is_not_finished(server: Server) -> None:
    generator = open_generator(settings(server, "small"), seed_model(ModelSettings()))
    [[sample]] = generator.generate(
        [STYLE.prover(theorem(THEOREM))], n=1, temperature=1.0, max_tokens=50, seed=1
    )
    assert not sample.finished


def test_a_model_that_is_not_served_is_refused_with_those_that_are(server: Server) -> None:
    with pytest.raises(UsageError, match="does not serve 'gpt', it serves small, large"):
        open_generator(settings(server, "gpt"), seed_model(ModelSettings()))
