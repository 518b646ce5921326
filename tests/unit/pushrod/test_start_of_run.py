"""What `pushrod run` loads before its first line: modules are most of its start."""

from __future__ import annotations

import subprocess
import sys

MOST_MODULES = 1320
"""Of all that a run on the host engine has loaded by then, the standard library's too."""
NOT_NEEDED = (
    "apscheduler",
    "coordinator.api.dialects.build_execution",
    "coordinator.api.dialects.build_synthesis",
    "coordinator.api.dialects.image_builds",
    "coordinator.api.pushes.webhooks",
    "coordinator.app",
    "coordinator.web.pages",
    "grpc",
    "pushrod.local.sending",
)
CODE = f"""
import sys
import pushrod.cli, pushrod.commands.run, pushrod.local.run
pushrod.local.run._import_heavy()
print(len(sys.modules), [m for m in {NOT_NEEDED} if m in sys.modules])
"""


def test_a_run_loads_no_more_than_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120
    )
    count, _, needless = done.stdout.strip().partition(" ")
    assert needless == "[]"
    assert int(count) <= MOST_MODULES
