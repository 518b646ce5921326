"""How `pytest -n` shares the tests out among its workers: see "Workers" in CONTRIBUTING.md.

What pytest-xdist calls a scope, we call a group: tests that one worker runs, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SPLIT = ("tests/contract/", "tests/integration/")
"""Where a test stands alone, unless its file is in TOGETHER; elsewhere a file is a group."""

TOGETHER = {
    # An engine of their own, which they kill.
    "tests/integration/buildkit/test_buildkit_full_disk.py": "own engine",
    "tests/integration/buildkit/test_buildkit_lost_engine.py": "own engine",
    "tests/integration/buildkit/test_image_engines.py": "own engine",
    "tests/integration/buildkit/test_image_parts.py": "own engine",
    "tests/integration/buildkit/test_privileged.py": "own engine",
    "tests/integration/private_engine/test_private_engine.py": "private engine",
    # Its steps run once for all its tests.
    "tests/integration/agent/test_agent_counts.py": "counts",
    # Registries and a systemd that take seconds to start.
    "tests/integration/buildkit/test_own_registries.py": "registries",
    "tests/integration/systemd/test_systemd_boot.py": "systemd",
    # User ids that nobody else may have a process of.
    "tests/integration/agent/test_project_users.py": "user ids",
}
"""Files of SPLIT whose tests share something: the group that each is in."""

BEGUN_FIRST = (
    "tests/contract/test_fuzzed_interfaces.py",
    "tests/e2e/",
    "tests/torture/",
    *sorted(TOGETHER),
    "tests/integration/buildkit/",
    "tests/integration/",
    "tests/contract/",
)
"""The long groups, so that none is left to one worker when the others have nothing to do."""


class GroupScheduling(LoadScopeScheduling):
    """Unlike marks of `--dist loadgroup`, this leaves node ids as they are: --last-failed works."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(node_id: str) -> str:
    file = node_id.partition("::")[0]
    if file in TOGETHER:
        return TOGETHER[file]
    return node_id if file.startswith(SPLIT) else file


def further_rows(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Of each test that runs with `each_storage`, all but one of its rows on servers."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _parameters(item).get("each_storage") == "servers":
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {
        item for rows in tests.values() for item in sorted(rows, key=lambda row: row.nodeid)[1:]
    }


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def rank(node_id: str) -> int:
    """Groups of a lower rank begin first."""
    ranks = (n for n, start in enumerate(BEGUN_FIRST) if node_id.startswith(start))
    return next(ranks, len(BEGUN_FIRST))
