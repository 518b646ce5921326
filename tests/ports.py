"""Ports for servers of the tests."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """One that the kernel gives nobody by itself: still free when its server listens or restarts.

    Not by `random`, which pytest-randomly seeds alike in every worker.
    """
    above = int(EPHEMERAL.read_text().split()[0])
    while True:
        port = secrets.choice(range(LOWEST, above))
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port
