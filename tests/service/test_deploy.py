"""The files of docs/deploy: what they name is there, and the commands in them serve."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
STP = [sys.executable, "-m", "stp"]


def unit(key: str) -> str:
    """A value of the systemd unit."""
    (value,) = re.findall(rf"^{key}=(.*)$", (DEPLOY / "stp.service").read_text(), re.MULTILINE)
    return str(value)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, each with its arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def test_the_image_gets_every_folder_that_the_package_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    copied = [source for word, rest in instructions() if word == "COPY" for source in rest.split()[:-1]]
    assert {*project["package-dir"].values(), "stp"} <= set(copied)
    assert all((ROOT / source).exists() for source in copied)


def test_the_images_stages_are_those_that_can_be_asked_for() -> None:
    stages = {rest.split(" AS ")[1] for word, rest in instructions() if word == "FROM" and " AS " in rest}
    assert stages == {"base", "embedded", "native"}
    order = [word for word, _ in instructions()]
    assert order[-2:] == ["ENTRYPOINT", "CMD"]
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users == ["stp"], "it does not run as root"


def test_compose_names_what_is_there() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["stp"]
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]).is_file()
    volume = next(rest for word, rest in instructions() if word == "VOLUME")
    assert service["volumes"] == [f"state:{volume}"]
    assert service["ports"][0].startswith("127.0.0.1:")


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here: apt install systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "stp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DEPLOY / "stp.service").read_text().replace("/opt/stp/.venv/bin/stp", str(program))
    file = tmp_path / "stp.service"
    file.write_text(text.replace("User=stp\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    about = [line for line in done.stderr.splitlines() if str(file) in line or "stp.service" in line]
    assert not about, "\n".join(about)


@pytest.mark.lean
def test_the_units_and_the_images_commands_serve(tmp_path: Path) -> None:
    """Ready, closed to who has no key, and ended by SIGTERM."""
    before = shlex.split(unit("ExecStartPre"))
    assert subprocess.run([*STP, *before[1:]], capture_output=True).returncode == 0
    command = shlex.split(unit("ExecStart"))[1:]
    image = dict(instructions())
    assert json.loads(image["ENTRYPOINT"]) + json.loads(image["CMD"]) == ["stp", *command[:-2]]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = tmp_path / "state"
    options = ["--port", str(port), "--workers", "1"]
    child = subprocess.Popen([*STP, *command[:-1], str(state), *options])
    try:
        made = subprocess.run(
            [*STP, "keys", "add", "me", "--state", str(state)], capture_output=True, text=True
        )
        body = {"jobs": [{"statement": "theorem foo (a b : Nat) : a + b = b + a", "proof": "by omega"}]}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while True:
                assert child.poll() is None
                with suppress(httpx.TransportError):
                    if client.get("/ready").is_success:
                        break
                time.sleep(0.1)
            assert client.post("/v1/verify", json=body).status_code == 401
            mine = {"Authorization": f"Bearer {made.stdout.strip()}"}
            reply = client.post("/v1/verify", json=body, headers=mine).json()
        assert reply["results"][0]["verdict"] == "proved"
        child.send_signal(signal.SIGTERM)
        assert child.wait(int(unit("TimeoutStopSec"))) in (0, -signal.SIGTERM)
    finally:
        child.kill()
        child.wait()
