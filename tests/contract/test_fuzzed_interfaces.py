"""Every interface, called with all that its OpenAPI document allows and forbids, by Schemathesis.

The seed is fixed, so that a commit is judged by the same calls each time; `make bench` and a
developer may take others: `SCHEMATHESIS_SEED=… pytest tests/contract/test_fuzzed_interfaces.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)

CONFIG = Path(__file__).with_name("schemathesis.toml")
SPECIFICATION_003 = (
    Path(__file__).parents[3] / "shared" / "specs" / "003_9f0f53cdd5b9abd0.openapi.json"
)
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "12")
EXAMPLES_ON_SERVERS = "3"
"""How a request is read is the same there: only what finds something in the database is tried."""
PATIENCE_SECONDS = 800
KNOWN_CHARACTERS = Path(__file__).parents[2] / ".hypothesis" / "unicode_data"
"""What Hypothesis finds out of Unicode in two seconds and keeps, here as for all other tests."""

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS + 60)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, rate_limit=10**6) as coordinator:
        yield coordinator


async def fuzz(
    coordinator: Coordinator,
    document: str,
    *options: str,
    work: Path,
    config: Path = CONFIG,
    examples: str = EXAMPLES,
) -> None:
    """All checks, also over sequences of calls; fails with Schemathesis' own report."""
    KNOWN_CHARACTERS.mkdir(parents=True, exist_ok=True)
    (work / ".hypothesis").mkdir()
    (work / ".hypothesis" / "unicode_data").symlink_to(KNOWN_CHARACTERS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", document, "--url", coordinator.url, "--no-color", "--continue-on-failure"),
        *("--header", f"Authorization: Bearer {coordinator.admin.token}"),
        *("--checks", "all", "--seed", SEED, "--max-examples", examples, *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=work,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},  # or it looks for one at each call
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")
    assert b"Test cases:" in output


@pytest.mark.skipif(not SPECIFICATION_003.exists(), reason="the specifications are not beside us")
async def test_specification_003_holds_for_all_that_it_allows(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    # A build of an unknown workflow is a 404, which that check takes for one of the project.
    options = ("--mode", "positive", "--exclude-checks", "ensure_resource_availability")
    await fuzz(coordinator, str(SPECIFICATION_003), *options, work=tmp_path)


async def test_our_own_document_holds_for_all_that_it_allows_and_forbids(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    await fuzz(coordinator, f"{coordinator.url}/api/openapi.json", work=tmp_path)


async def new_build_of_a_module(admin: Caller, project: dict[str, Any], folder: Path) -> str:
    tree = await new_work_tree(folder, admin, project)
    modules = "modules: {core: {path: ., targets: {default: ci}}}\n"
    by_hand = ONE_STEP.replace("push: {}", "manual: {}")
    await tree.commit({".pushrod.yml": by_hand, ".pushrod/modules.yml": modules})
    await tree.push()
    answer = await admin.post("/api/build_synthesis/trigger", {"module_name": "core"})
    return str(answer.expect(202).json["build_id"])


async def check_things_that_exist(
    coordinator: Coordinator, *options: str, folder: Path, examples: str = EXAMPLES
) -> None:
    """Ids out of the air are 404 everywhere; these are of a module's build whose step runs."""
    admin = coordinator.admin
    project = await admin.new_project()
    agent = await (await admin.new_token(kind="registration")).new_agent()
    build_id = await new_build_of_a_module(admin, project, folder)
    spec = await agent.take()
    (await agent.upload(spec, "out", b"x")).expect(201)
    known = {
        "project_id": project["id"],
        "build_id": build_id,
        "step_id": spec["stepId"],
        "epoch": spec["epoch"],
        "forge": "generic",
        "name": "out",
        "X-Tenant-ID": project["accountUuid"],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in known.items()]
    config = folder / "schemathesis.toml"
    config.write_text("\n".join(["[parameters]", *lines, CONFIG.read_text()]))
    document = f"{coordinator.url}/api/openapi.json"
    await fuzz(coordinator, document, *options, work=folder, config=config, examples=examples)


async def test_our_own_document_holds_for_things_that_exist(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    await check_things_that_exist(coordinator, "--phases", "coverage,fuzzing", folder=tmp_path)


async def test_our_own_document_holds_for_things_that_exist_on_servers(
    on_servers: None, coordinator: Coordinator, tmp_path: Path
) -> None:
    await check_things_that_exist(
        coordinator, "--phases", "fuzzing", folder=tmp_path, examples=EXAMPLES_ON_SERVERS
    )
