"""Steps and services with all rights over the engine's machine, where its operator allows it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.private import ensure_docker_image, up
from agent.engines.protocol import Outcome
from pipelines_schema.contract import ServiceSpec
from tests.integration.buildkit.conftest import OwnEngine, bench_of

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine of its own needs root"),
]

SYS_ADMIN = 1 << 21
MOUNT = "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && echo mounted"
RIGHTS = "grep CapEff /proc/self/status"


@pytest.fixture
async def allowing(own_engine: OwnEngine, tmp_path: Path) -> AsyncIterator[Bench]:
    """An agent that allows it, on an engine of its own."""
    engine = await own_engine.start()
    async with bench_of(engine, tmp_path, trusted=True, allow_privileged=True) as made:
        yield made


def rights(log: bytes) -> int:
    [line] = [line for line in log.splitlines() if b"CapEff:" in line]
    return int(line.rpartition(b"CapEff:")[2], 16)


async def test_a_privileged_step_has_all_rights_and_any_other_has_not(allowing: Bench) -> None:
    ran = await allowing.run(f"{RIGHTS}; {MOUNT}", privileged=True)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    assert rights(ran.log.stdout) & SYS_ADMIN
    assert b"mounted" in ran.log.stdout

    ran = await allowing.run(f"{RIGHTS}; {MOUNT}")
    assert ran.result.exit_code != 0
    assert not rights(ran.log.stdout) & SYS_ADMIN
    assert b"mounted" not in ran.log.stdout


@pytest.mark.parametrize("privileged", [True, False])
async def test_a_service_has_them_alone_if_it_says_so(allowing: Bench, privileged: bool) -> None:
    """The step beside it has none."""
    web = ServiceSpec(
        name="web",
        image=allowing.image,
        command=["sh", "-c", f"{RIGHTS}; {MOUNT}; exec httpd -f -p 80 -h /tmp"],
        tcp=80,
        ready_seconds=60,
        privileged=privileged,
    )
    ran = await allowing.run(f"if {MOUNT}; then exit 9; fi", services=[web])
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
    assert bool(rights(ran.log.stdout) & SYS_ADMIN) is privileged
    assert (b"[web] mounted" in ran.log.stdout) is privileged


DOCKER = (
    "exec dockerd --host tcp://0.0.0.0:2375 --tls=false --data-root /tmp/docker "
    # The nested kernel's firewall is not ours to rely on, nor overlays over overlays.
    "--iptables=false --bridge=none --storage-driver=vfs"
)
RUN_IN_DOCKER = """\
export DOCKER_HOST=tcp://docker:2375
tar -C / -c bin/busybox | docker import - tiny
docker run --rm --network none tiny /bin/busybox echo hello from a container
"""


@pytest.mark.parametrize("privileged", [True, False])
async def test_docker_runs_in_a_privileged_service(
    allowing: Bench, own_engine: OwnEngine, privileged: bool
) -> None:
    address = await up(reuse=False, places=own_engine.places)
    image = await ensure_docker_image(address=address, places=own_engine.places)
    docker = ServiceSpec(
        name="docker",
        image=image,
        command=["sh", "-c", DOCKER],
        tcp=2375,
        ready_seconds=120,
        privileged=privileged,
    )
    ran = await allowing.run(RUN_IN_DOCKER, image=image, services=[docker])
    if privileged:
        assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 0), ran.result
        assert b"\nhello from a container\n" in ran.log.stdout
    else:
        assert ran.result.exit_code != 0
        assert b"hello from a container" not in ran.log.stdout


async def test_an_agent_that_does_not_allow_it_runs_nothing(one_bench: Bench) -> None:
    ran = await one_bench.run("echo ran", privileged=True)
    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert "`pushrod agent --allow-privileged`" in (ran.result.message or "")
    assert b"ran" not in ran.log.stdout
