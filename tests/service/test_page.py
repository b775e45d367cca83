"""The page in a real browser: a proof is checked there, its picture is kept for people."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests.service.conftest import Live

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def browse(url: str, folder: Path, *more: str) -> str:
    """The page as the browser has it after some seconds."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        *more,
    ]
    done = subprocess.run([*command, url], capture_output=True, timeout=120, text=True)
    return done.stdout


@pytest.mark.lean
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt install chromium")
def test_a_proof_is_checked_on_the_page(lean_service: httpx.Client, tmp_path: Path) -> None:
    picture = Path(os.environ.get("STP_ARTEFACTS", tmp_path)) / "page.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    proof = {"statement": "theorem foo (a b : Nat) : a + b = b + a", "proof": "by\n  omega"}
    url = f"{lean_service.base_url}/#{urlencode(proof)}"
    browse(url, tmp_path, "--window-size=1280,1000", "--virtual-time-budget=8000", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
    shown = browse(url, tmp_path, "--virtual-time-budget=8000", "--dump-dom")
    assert re.search(r'id="verdict" class="good">proved<', shown)
    assert "<dt>axioms</dt>" in shown
    assert re.search(r"<dt>workers</dt><dd>1</dd>", shown)
    wrong = urlencode({**proof, "proof": "by\n  rfl"})
    shown = browse(f"{lean_service.base_url}/#{wrong}", tmp_path, "--virtual-time-budget=8000", "--dump-dom")
    assert re.search(r'id="verdict" class="bad">rejected<', shown)
    assert re.search(r'<span>  rfl</span></div><div class="said bad">', shown), "the message at its line"


def test_the_page_needs_nothing_from_elsewhere_and_names_its_fields(live: Live) -> None:
    with live() as client:
        page = client.get("/").text
    assert not re.search(r"(?:src|href)=\"(?!/docs)", page)
    for field in ("statement", "proof", "header"):
        assert re.search(rf'<label>[^<]*<small>.*?id="{field}"', page, re.DOTALL)
    assert 'aria-live="polite"' in page
    assert 'lang="en"' in page
