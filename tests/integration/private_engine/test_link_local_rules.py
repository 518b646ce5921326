"""How the private engine shuts link-local addresses off where the kernel has no tables for IPv6, or
no IPv6: in a network of the test's own, with programs that only note what they are asked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.engines import private

SCRIPT = Path(private.__file__).with_name("link_local.sh")
NOTES = '#!/bin/sh\necho "${{0##*/}} $*" >> {notes}\n'
SHOW = "cat /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6"
WITHOUT_IPV6 = "mount -t tmpfs tmpfs /proc"

Run = Callable[..., tuple[int, str, list[str]]]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network of one's own needs root")

needs_ipv6 = pytest.mark.skipif(
    not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Of the script: its exit code, what is said `after`, and what the programs were asked."""
    notes = tmp_path / "notes"

    def run(
        *, failing: str = "", before: str = ":", after: str = ":"
    ) -> tuple[int, str, list[str]]:
        for name in ("iptables", "ip6tables"):
            refusal = f'case "$0 $*" in *{failing}*) exit 3;; esac\n' if failing else ""
            (tmp_path / name).write_text(NOTES.format(notes=notes) + refusal)
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(
            [
                *("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c"),
                f"{before}; sh {SCRIPT}; code=$?; {after}; exit $code",
            ],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stdout, notes.read_text().splitlines()

    return run


@needs_ipv6
def test_both_kinds_of_addresses_are_refused_where_the_kernel_has_tables_for_both(run: Run) -> None:
    code, shown, asked = run(after=SHOW)
    assert code == 0
    assert "iptables -A DOCKER-USER -d 169.254.0.0/16 -j REJECT" in asked
    for address in ("fe80::/10", "fd00:ec2::254"):
        assert f"ip6tables -A DOCKER-USER -d {address} ! -p ipv6-icmp -j REJECT" in asked
    assert {f"ip6tables -A {chain} -j DOCKER-USER" for chain in ("INPUT", "FORWARD", "OUTPUT")} < {
        *asked
    }
    assert shown.split() == ["0", "0"]


@needs_ipv6
def test_ipv6_is_off_in_the_engines_network_where_the_kernel_has_no_tables_for_it(run: Run) -> None:
    code, shown, _ = run(failing="ip6tables", after=SHOW)
    assert code == 0
    assert shown.split() == ["1", "1"]


def test_nothing_is_asked_about_ipv6_of_a_kernel_that_has_none(run: Run) -> None:
    code, _, asked = run(failing="ip6tables", before=WITHOUT_IPV6)
    assert code == 0
    assert asked
    assert not [line for line in asked if line.startswith("ip6tables")]


@needs_ipv6
def test_what_can_not_be_rejected_is_dropped(run: Run) -> None:
    code, _, asked = run(failing="REJECT")
    assert code == 0
    dropped = [line.split()[4] for line in asked if line.endswith("-j DROP")]
    assert dropped == ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254"]


@needs_ipv6
@pytest.mark.parametrize("failing", ["169.254.0.0/16", "fe80", "FORWARD"])
def test_an_engine_that_can_not_shut_them_off_does_not_start(run: Run, failing: str) -> None:
    code, _, _ = run(failing=failing)
    assert code == 1
