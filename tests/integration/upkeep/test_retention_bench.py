"""The benchmark of retention, with fewer builds: a kill on the way, and nothing left over."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.retention import delete_most


async def test_builds_go_while_others_are_handed_out_and_a_kill_costs_nothing(
    tmp_path: Path,
) -> None:
    found = await delete_most(tmp_path, 2_000)
    assert found.portions >= 1_800 / 100
    assert found.most_statements <= 60
    assert found.most_rows <= 900
    # Steps were handed out all the while.
    assert len(found.cycles) >= 2
    assert "Traceback" not in (tmp_path / "coordinator.log").read_text()
