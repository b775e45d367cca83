"""Long batches: accepted once, answered once, whatever is restarted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stp.client import Client
from stp.errors import MachineryError, StoreError, UsageError
from stp.store.service import Batch, ServiceStore, new_batch
from stp.types import Job
from tests.service.conftest import Live, ScriptedHost, job

pytestmark = pytest.mark.programs


def test_a_restart_loses_no_job_and_checks_none_twice_that_was_answered(
    live: Live, host: ScriptedHost
) -> None:
    jobs = [job("wait 0.01", id=str(i)) for i in range(300)]
    with live() as client:
        reply = client.post("/v1/jobs", json={"id": "mine", "jobs": jobs})
        assert reply.status_code == 202
        assert client.post("/v1/jobs", json={"id": "mine", "jobs": jobs}).json()["total"] == 300
        while len(answered := client.get("/v1/jobs/mine").json()["results"]) < 50:
            time.sleep(0.02)
    with live() as client, Client(str(client.base_url)) as ours:
        results = list(ours.results("mine"))
    assert Counter(r.id for r in results) == Counter(str(i) for i in range(300))
    checked = Counter(host.checked)
    assert all(checked[result["id"]] == 1 for result in answered)
    assert sum(checked.values()) < 400, "what was with the worker at the stop is all that is checked again"


def test_a_deleted_batch_is_checked_no_further(live: Live, host: ScriptedHost) -> None:
    with live() as client, Client(str(client.base_url)) as ours:
        batch = ours.send([Job(str(i), "", "theorem foo : True", "wait 0.02") for i in range(500)])
        time.sleep(0.2)
        ours.cancel(batch)
        time.sleep(0.2)
        count = len(host.checked)
        time.sleep(0.2)
        assert len(host.checked) == count < 100
        assert client.get(f"/v1/jobs/{batch}").status_code == 404


def test_an_id_is_one_batchs_and_nobody_elses_to_see(live: Live) -> None:
    with live() as client:
        assert client.post("/v1/jobs", json={"id": "a", "jobs": [job("proved")]}).status_code == 202
        other = client.post("/v1/jobs", json={"id": "a", "jobs": [job("rejected")]})
        assert (other.status_code, other.json()["detail"]) == (409, "id 'a': another batch has it")
        assert client.post("/v1/jobs", json={"id": "../a", "jobs": [job("proved")]}).status_code == 422
        assert client.get("/v1/jobs/b").json()["detail"] == "batch 'b': there is none"
        assert client.get("/v1/jobs/a?after=-1").status_code == 422


def test_a_store_is_one_services(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "service.sqlite", serving=True)
    with pytest.raises(StoreError, match="another service uses it"):
        ServiceStore(tmp_path / "service.sqlite", serving=True)
    ServiceStore(tmp_path / "service.sqlite").close()
    store.close()
    (tmp_path / "other.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError):
        ServiceStore(tmp_path / "other.sqlite")


def test_the_client_keeps_order_and_names_what_is_wrong(live: Live) -> None:
    made = [Job("same", "", "theorem foo : True", "proved" if i % 3 else "rejected") for i in range(170)]
    with live() as client, Client(str(client.base_url)) as ours:
        results = ours.verify(made)
        assert [r.proved for r in results] == [i % 3 > 0 for i in range(170)]
        assert {r.id for r in results} == {"same"}
        with pytest.raises(UsageError, match="batch 'none': there is none"):
            list(ours.results("none"))


def test_the_client_waits_for_a_busy_service(live: Live) -> None:
    with live(queued_jobs=60) as client, Client(str(client.base_url)) as ours:
        made = [Job(str(i), "", "theorem foo : True", "wait 0.004") for i in range(200)]
        assert len(ours.verify(made)) == 200


def test_old_batches_are_forgotten_while_the_service_runs(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stp.service.batches._FORGET_S", 0.05)
    with live(batch_days=0.5 / 86_400) as client:
        assert client.post("/v1/jobs", json={"id": "a", "jobs": [job("proved")]}).status_code == 202
        assert client.get("/v1/jobs/a").status_code == 200
        end = time.monotonic() + 20
        while client.get("/v1/jobs/a").status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_batch_goes_on_when_the_disk_takes_its_answers_again(
    live: Live, host: ScriptedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stp.service.batches._RETRY_S", 0.05)
    full = iter([True] * 3)
    answer = ServiceStore.answer

    def answer_or_fail(store: ServiceStore, batch: Batch, results: Any) -> None:
        if next(full, False):
            raise StoreError("disk full")
        answer(store, batch, results)

    monkeypatch.setattr(ServiceStore, "answer", answer_or_fail)
    with live() as client, Client(str(client.base_url)) as ours:
        batch = ours.send([Job(str(i), "", "theorem foo : True", "proved") for i in range(200)])
        assert Counter(r.id for r in ours.results(batch)) == Counter(str(i) for i in range(200))
    assert next(full, None) is None


def test_answers_of_a_batch_whose_key_was_revoked_are_no_other_s(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "service.sqlite")
    old, new = (new_batch("b", client, client, 0, 1) for client in ("old", "new"))
    store.put_batch(old, ["{}"])
    store.drop_key("old")
    store.put_batch(new, ["{}"])
    store.answer(old, [(0, "of the old job")])
    assert (store.answers("b", 0, 9), store.unanswered("b", -1, 9)) == ([], [(0, "{}")])
    store.answer(new, [(0, "of the new job")])
    assert store.answers("b", 0, 9) == [(1, "of the new job")]
    store.close()


def test_whoever_else_answers_is_no_service(tmp_path: Path) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>a router's page</html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            Client(f"http://127.0.0.1:{server.server_address[1]}") as ours,
            pytest.raises(MachineryError, match="is stp serve at this address"),
        ):
            list(ours.results("a"))
        server.shutdown()
