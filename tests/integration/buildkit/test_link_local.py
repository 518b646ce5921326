"""What a cloud tells its machines about themselves is shut off from steps by the private engine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .image_bench import ImageBench
from .registries import entering

if TYPE_CHECKING:
    from .conftest import Bench, Marker, OwnEngine

pytestmark = pytest.mark.engine

HAS_IPV6 = Path("/proc/net/if_inet6").exists()
BRIDGE, BRIDGE_LOCAL, STEP = "fd99::1", "fe80::99", "fd99::2"
"""Of the engine's network, which has no IPv6 of its own, given to it for a test."""
CLOUD, SECRETIVE = "fd98::2", "fd00:ec2::254"
"""Of a machine behind the engine, which steps reach through it but for the second."""
LISTENER = """\
import socket
with socket.create_server(("::", 80), family=socket.AF_INET6) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].close()
"""
TRY = """\
sleep {marker} &
until grep -q ' fd99' /proc/net/ipv6_route; do sleep 0.05; done
for address in {addresses}; do
    timeout 20 bash -c ": <>/dev/tcp/$address/80" 2>&1 && echo "reached $address"
done
kill %1
"""


async def test_a_step_is_refused_at_once_by_a_link_local_address(own_bench: Bench) -> None:
    ran = await own_bench.run("timeout 20 bash -c ': <>/dev/tcp/169.254.169.254/80' 2>&1")

    assert b"Connection refused" in ran.log.stdout
    assert ran.result.exit_code == 1


async def test_a_dockerfile_fetches_nothing_from_a_link_local_address(
    own_bench: Bench, tmp_path: Path
) -> None:
    images = ImageBench(engine=own_bench.engine, image=own_bench.image, folder=tmp_path / "files")
    images.folder.mkdir()

    added = await images.build("FROM BASE\nADD http://169.254.169.254/latest/x /x\n")

    assert "connection refused" in added.message


def run_in(entered: list[str], *lines: str) -> None:
    """Run these lines of shell in the network that `entered` enters."""
    subprocess.run([*entered, "sh", "-e", "-c", "\n".join(lines)], check=True, timeout=30)


@contextmanager
def listening(entered: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Something takes connections there, on port 80 of every address, within the block."""
    command = [*entered, sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


@contextmanager
def ipv6_around(engine: list[str]) -> Iterator[None]:
    """A way by IPv6 through the engine's network to a cloud's machine."""
    with ExitStack() as stack:
        stack.enter_context(listening(engine))
        # Named by the process in it: `unshare` makes a network for the listener alone.
        cloud = stack.enter_context(listening(["unshare", "--net"]))
        stack.callback(
            run_in,
            engine,
            f"ip addr del {BRIDGE}/64 dev docker0; ip addr del {BRIDGE_LOCAL}/64 dev docker0",
            "ip link del cloud0; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
        )
        run_in(
            engine,
            f"ip addr add {BRIDGE}/64 dev docker0 nodad",
            f"ip addr add {BRIDGE_LOCAL}/64 dev docker0 nodad",
            f"ip link add cloud0 type veth peer name eth0 netns {cloud.pid}",
            "ip addr add fd98::1/64 dev cloud0 nodad; ip link set cloud0 up",
            f"ip route add {SECRETIVE} dev cloud0",
            "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        )
        run_in(
            ["nsenter", f"--net=/proc/{cloud.pid}/ns/net"],
            f"ip addr add {CLOUD}/64 dev eth0 nodad; ip addr add {SECRETIVE}/128 dev eth0 nodad",
            "ip link set eth0 up; ip route add default via fd98::1",
        )
        yield


def give_ipv6(pid: int) -> None:
    """To the container of the process."""
    run_in(
        ["nsenter", f"--net=/proc/{pid}/ns/net"],
        "for each in all eth0; do echo 0 > /proc/sys/net/ipv6/conf/$each/disable_ipv6; done",
        f"ip addr add fe80::2/64 dev eth0 nodad; ip addr add {STEP}/64 dev eth0 nodad",
        f"ip route add default via {BRIDGE}",
    )


@pytest.mark.skipif(not HAS_IPV6, reason="this kernel has no IPv6")
async def test_a_step_that_had_ipv6_would_reach_all_but_link_local_addresses(
    own_bench: Bench, own_engine: OwnEngine, marker: Marker
) -> None:
    engine = entering(own_engine.places.record)
    closed = [f"{BRIDGE_LOCAL}%eth0", SECRETIVE]
    with ipv6_around(engine):
        tried = TRY.format(marker=marker.word, addresses=" ".join([BRIDGE, CLOUD, *closed]))
        running = asyncio.create_task(own_bench.run(tried))
        async with asyncio.timeout(30):
            while not (pids := marker.processes()):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(give_ipv6, pids[-1])
        text = (await running).log.stdout.decode()

    # The ways are open, and somebody listens: so what is refused is refused by the rules.
    assert f"reached {BRIDGE}\n" in text
    assert f"reached {CLOUD}\n" in text
    for address in closed:
        assert f"{address}/80: Connection refused" in text
        assert f"reached {address}" not in text


async def test_a_step_has_no_ipv6_of_its_own(own_bench: Bench) -> None:
    ran = await own_bench.run("[ ! -e /proc/net/if_inet6 ] || grep -v ' lo$' /proc/net/if_inet6")
    assert (ran.log.stdout, ran.log.stderr) == (b"", b"")
