"""What a coordinator that has nothing to do yet does without."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "argon2", "cryptography", "grpc", "jinja2", "jwt", "pygit2", "sqlalchemy.orm")
"""Each some megabytes; loaded where it is first used."""
NEEDED_BY_FEW = ("asyncio", "coordinator.domain.image_builds", "pydantic", "sqlalchemy")
"""Texts: a process that reads one is often new."""


def test_a_coordinator_loads_nothing_heavy_before_it_is_used() -> None:
    assert loaded("coordinator.app", HEAVY) == "[]"


def test_a_process_that_reads_text_loads_only_what_most_texts_need() -> None:
    assert loaded("coordinator.reading.child", NEEDED_BY_FEW) == "[]"


def test_what_serves_loads_nothing_to_show_faults_in_colours() -> None:
    for module in ("coordinator.app", "agent.worker", "agent.engines.buildkit.engine"):
        begun = "pushrod.serving; pushrod.serving.log_to_stderr(); import " + module
        assert loaded(begun, ("rich", "pygments")) == "[]", module


def test_a_table_can_be_shown_after_all_the_same() -> None:
    begun = "pushrod.serving; pushrod.serving.log_to_stderr(); import rich.table"
    assert loaded(begun, ("rich",)) == "['rich']"


def loaded(module: str, of: tuple[str, ...]) -> str:
    """Those of the modules that come along with the first."""
    code = f"import sys, {module}; print([m for m in {of} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
