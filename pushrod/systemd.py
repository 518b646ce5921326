"""systemd's notifications: ready, stopping, and alive for its watchdog.

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names (sd_notify(3)); without
the variable, nothing happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)

SEND_SECONDS = 1.0
"""A full queue of systemd's is waited for, but not for long: the event loop stands still."""


def notify(*lines: str, environment: Mapping[str, str] | None = None) -> bool:
    """Send lines such as `READY=1` together; whether somebody took them."""
    variables = os.environ if environment is None else environment
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A name in the abstract namespace is written with @ and begins with a NUL.
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(SEND_SECONDS)
            sender.sendto("\n".join(lines).encode(), name)
    except OSError as error:
        logger.warning("systemd could not be told %s: %s", lines[0], error)
        return False
    return True


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How long systemd waits for a sign of life; None if it doesn't watch this process."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Give signs of life from the event loop: one that is stuck gives none, and is restarted."""
    seconds = watchdog_seconds(os.environ, os.getpid())
    if seconds is None:
        yield
        return
    beating = asyncio.create_task(_beat(seconds / 2))
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


async def _beat(every_seconds: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(every_seconds)
