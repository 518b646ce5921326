"""Who may speak with whom in the private engine's network: containers of one attempt with each
other, and nobody else. See docs/adr/0063.

Containers are told apart by the interfaces that lead to them, which are the kernel's to name: no
container can pretend to be another's, whatever addresses it writes into its packets.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.engines.private.record import read_record

ALL = "PUSHROD-SERVICES"
"""The chain that all packets from container to container go through."""
RECORD_NAME = "engine.json"
LOCK_NAME = "fence.lock"
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "XTABLES_LIBDIR")
# Ours comes before docker's own rules, which let containers of one bridge speak with each other.
_PREPARE = f"""\
set -e
[ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables)" = 1 ]
for tables in iptables ip6tables; do
  $tables -w 5 -C FORWARD -i docker0 -o docker0 -j {ALL} 2>/dev/null && continue
  $tables -w 5 -S FORWARD >/dev/null 2>&1 || [ $tables = ip6tables ] || exit 1
  $tables -w 5 -S FORWARD >/dev/null 2>&1 || continue
  $tables -w 5 -N {ALL} 2>/dev/null || $tables -w 5 -F {ALL}
  $tables -w 5 -A {ALL} -j DROP
  $tables -w 5 -I FORWARD 1 -i docker0 -o docker0 -j {ALL}
done
"""
_OPEN = f"""{_PREPARE}
iptables -w 5 -N "$1" 2>/dev/null || iptables -w 5 -F "$1"
"""
# One program changes several rules, as each that is started takes milliseconds. The engine's
# packages name it `iptables` alone, which is a link to one that does all.
_ALL_IN_ONE = 'tables=$(readlink -f "$(command -v iptables)")\n'
_ADMIT = f"""\
{_ALL_IN_ONE}chain=$1
shift
{{
  echo '*filter'
  for interface in "$@"; do
    echo "-A $chain -m physdev --physdev-out $interface -j ACCEPT"
    echo "-I {ALL} 1 -m physdev --physdev-in $interface -j $chain"
  done
  echo COMMIT
}} | "$tables" iptables-restore -w 5 --noflush
"""
_REMOVE = f"""\
set -e
{_ALL_IN_ONE}rules=$("$tables" iptables-save -t filter)
case $rules in *":$1 "*) ;; *) exit 0;; esac
{{
  echo '*filter'
  printf '%s\\n' "$rules" | sed -n "s/^-A \\({ALL} .* -j $1\\)\\$/-D \\1/p"
  printf '%s\\n' "-F $1" "-X $1" COMMIT
}} | "$tables" iptables-restore -w 5 --noflush
"""


class FenceError(Exception):
    """The engine's network can't be divided; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Of one private engine."""

    daemon: int
    """The process whose network it is."""
    lock: Path
    environment: dict[str, str] = field(repr=False)

    async def prepare(self) -> None:
        """Part all containers from each other. Raises FenceError."""
        await self._run(_PREPARE)

    @asynccontextmanager
    async def group(self, attempt_id: str) -> AsyncIterator[Group]:
        """Containers that may speak with each other meanwhile. Raises FenceError."""
        chain = chain_of(attempt_id)
        try:
            await self._run(_OPEN, chain)
            yield Group(self, chain)
        finally:
            await self.remove(attempt_id)

    async def remove(self, attempt_id: str) -> None:
        """Forget an attempt's group, if it has one. Raises FenceError."""
        await self._run(_REMOVE, chain_of(attempt_id))

    async def rules(self) -> list[str]:
        """All that is there, for who counts what is left."""
        return (await self._run(f"iptables -w 5 -S | grep -e {ALL} -e '^-. PR-' || :")).splitlines()

    async def _run(self, script: str, *arguments: str) -> str:
        running = asyncio.create_task(asyncio.to_thread(self._run_now, script, arguments))
        try:
            return await asyncio.shield(running)
        finally:
            # A thread isn't cancelled: what it does late would come after the group's removal.
            await asyncio.wait((running,))

    def _run_now(self, script: str, arguments: tuple[str, ...]) -> str:
        nsenter = shutil.which("nsenter") or "/usr/bin/nsenter"
        command = [nsenter, "-t", str(self.daemon), "-n", "sh", "-c", script, "sh", *arguments]
        with self.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                done = subprocess.run(
                    command,
                    env=self.environment,
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise FenceError(str(error)) from error
        if done.returncode != 0:
            raise FenceError(done.stderr.strip() or f"exit code {done.returncode}")
        return done.stdout


class Group:
    """The containers of one attempt."""

    def __init__(self, fence: Fence, chain: str) -> None:
        self._fence = fence
        self._chain = chain
        self._alone: str | None = None
        self._has_company = False

    @property
    def engine(self) -> int:
        return self._fence.daemon

    async def admit(self, interface: str) -> None:
        """The container behind the interface belongs to it, not to be called for two at once. The
        first, who has nobody to speak with, is let in with the second. Raises FenceError."""
        if self._alone is None and not self._has_company:
            self._alone = interface
            return
        both = [self._alone, interface] if self._alone is not None else [interface]
        await self._fence._run(_ADMIT, self._chain, *both)
        self._alone, self._has_company = None, True


def chain_of(attempt_id: str) -> str:
    return "PR-" + hashlib.sha256(attempt_id.encode()).hexdigest()[:20]


def fence_of(docker_socket: str | None) -> Fence | None:
    """That of the private engine behind a socket; None where it is none, or we are not root."""
    if docker_socket is None or os.geteuid() != 0:
        return None
    folder = Path(docker_socket).parent
    record = read_record(folder / RECORD_NAME)
    if record is None or record.daemon is None:
        return None
    try:
        told = Path(f"/proc/{record.daemon.pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return None
    pairs = (one.partition("=") for one in told)
    environment = {name: value for name, _, value in pairs if name in _VARIABLES}
    return Fence(daemon=record.daemon.pid, lock=folder / LOCK_NAME, environment=environment)
