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
from collections.abc import AsyncIterator, Sequence
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


class FenceError(Exception):
    """The engine's network can't be divided; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Of one private engine."""

    daemon: int
    """The process whose network it is."""
    tables: str
    """The program that is all of iptables: the engine's packages name `iptables` alone, a link."""
    lock: Path
    environment: dict[str, str] = field(repr=False)

    async def prepare(self) -> None:
        """Part all containers from each other. Raises FenceError."""
        await self._shell(_PREPARE)

    @asynccontextmanager
    async def group(self, attempt_id: str) -> AsyncIterator[Group]:
        """Containers that may speak with each other meanwhile. Raises FenceError."""
        chain = chain_of(attempt_id)
        try:
            await self._shell(_OPEN, chain)
            yield Group(self, chain)
        finally:
            await self.remove(attempt_id)

    async def remove(self, attempt_id: str) -> None:
        """Forget an attempt's group, if it has one. Raises FenceError."""
        chain = chain_of(attempt_id)
        rules = (await self._run([self.tables, "iptables-save", "-t", "filter"])).splitlines()
        if any(rule.startswith(f":{chain} ") for rule in rules):
            to_it = [rule for rule in rules if rule.startswith(f"-A {ALL} ")]
            to_it = [rule.replace("-A", "-D", 1) for rule in to_it if rule.endswith(f" -j {chain}")]
            await self._change([*to_it, f"-F {chain}", f"-X {chain}"])

    async def let_speak(self, chain: str, interfaces: Sequence[str]) -> None:
        """Those behind them with each other and all that the chain has. Raises FenceError."""
        rules = [
            rule
            for interface in interfaces
            for rule in (
                f"-A {chain} -m physdev --physdev-out {interface} -j ACCEPT",
                f"-I {ALL} 1 -m physdev --physdev-in {interface} -j {chain}",
            )
        ]
        await self._change(rules)

    async def rules(self) -> list[str]:
        """All that is there, for who counts what is left."""
        told = await self._shell(f"iptables -w 5 -S | grep -e {ALL} -e '^-. PR-' || :")
        return told.splitlines()

    async def _change(self, rules: Sequence[str]) -> None:
        """At once and by one program: each that is started takes milliseconds of a step."""
        text = "".join(f"{line}\n" for line in ("*filter", *rules, "COMMIT"))
        await self._run([self.tables, "iptables-restore", "-w", "5", "--noflush"], text)

    async def _shell(self, script: str, *arguments: str) -> str:
        return await self._run(["sh", "-c", script, "sh", *arguments])

    async def _run(self, command: Sequence[str], told: str = "") -> str:
        running = asyncio.create_task(asyncio.to_thread(self._run_now, command, told))
        try:
            return await asyncio.shield(running)
        finally:
            # A thread isn't cancelled: what it does late would come after the group's removal.
            await asyncio.wait((running,))

    def _run_now(self, command: Sequence[str], told: str) -> str:
        nsenter = shutil.which("nsenter") or "/usr/bin/nsenter"
        with self.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                done = subprocess.run(
                    [nsenter, "-t", str(self.daemon), "-n", *command],
                    env=self.environment,
                    input=told,
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
        await self._fence.let_speak(self._chain, both)
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
    tables = shutil.which("iptables", path=environment.get("PATH"))
    if tables is None:
        return None
    return Fence(
        daemon=record.daemon.pid,
        tables=os.path.realpath(tables),
        lock=folder / LOCK_NAME,
        environment=environment,
    )
