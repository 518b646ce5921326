"""What a coordinator that has nothing to do yet does without."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "argon2", "cryptography", "grpc", "jinja2", "jwt", "pygit2", "sqlalchemy.orm")
"""Each some megabytes; loaded where it is first used."""


def test_a_coordinator_loads_nothing_heavy_before_it_is_used() -> None:
    code = f"import sys, coordinator.app; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
