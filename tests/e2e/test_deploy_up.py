"""Deployments under `pushrod up`: as a new user has it, with no agent of one's own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TestEngine
from tests.e2e.processes import READY, Api, Process
from tests.integration.buildkit.registries import OWN
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SCRIPT = '#!/bin/bash\necho "up with $LLM_CONFIGS"\nwhile :; do sleep 0.2; done\n'
BODY = {
    "agent_name": "bot",
    "source_files": {"bin/run.sh": SCRIPT},
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}],
}


def started(folder: Path, engine: str, settings: dict[str, str]) -> tuple[Process, Api]:
    data = folder / "data"
    listen = f"127.0.0.1:{free_port()}"
    words = ("up", "--engine", engine, "--listen", listen, "--data", str(data))
    process = Process(*words, log=folder / "up.log", settings=settings)
    url = process.start(READY.pattern)
    return process, Api(url, (data / "admin-token").read_text().strip())


def wait_for(look: Callable[[], dict[str, Any]], status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while (shown := look())["status"] != status:
        assert shown["status"] != "FAILED", shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    return shown


@pytest.fixture
def up(buildkit: TestEngine, tmp_path: Path) -> Iterator[Api]:
    settings = {
        "image_registry": f"{OWN}/e2e-{secrets.token_hex(4)}",
        "image_base_shell": buildkit.image,
    }
    process, api = started(tmp_path, buildkit.address, settings)
    yield api
    process.kill()


def test_a_deployment_is_built_and_runs_under_up_until_it_is_stopped(up: Api) -> None:
    deployment = up.post("/api/deploy", BODY)
    path = f"/api/deploy/{deployment['id']}"
    running = wait_for(lambda: up.get(path), "RUNNING")
    step_id = running["log_url"].split("/")[-2]
    up.wait_for_log(step_id, b'up with [{"provider": "openai", "model": "gpt-4o-mini"}]')
    assert up.request("POST", f"{path}/stop")[0] == 200
    wait_for(lambda: up.get(path), "STOPPED")


def test_on_the_host_engine_a_deployment_says_what_to_do(tmp_path: Path) -> None:
    process, api = started(tmp_path, "host", {})
    try:
        deployment = api.post("/api/deploy", {"agent_name": "bot", "image": "registry.example/b:1"})
        shown = api.get(f"/api/deploy/{deployment['id']}")
    finally:
        process.kill()
    assert shown["status"] == "STARTING"
    assert "`pushrod agent --engine buildkit --label deploy=true`" in shown["reason"]
