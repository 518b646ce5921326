"""The benchmark of lists asks for what the coordinator answers, and makes data that it takes."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.list_data import Size, fill
from tests.benchmarks.lists import answers
from tests.e2e.processes import Pushrod


def test_every_list_of_the_benchmark_is_answered(tmp_path: Path) -> None:
    fill(tmp_path / "coordinator", Size(builds=600, audit_entries=900, deliveries=60, crowd=5))
    pushrod = Pushrod(tmp_path)
    pushrod.start_coordinator()
    try:
        assert len(answers(pushrod.api)) > 30
    finally:
        pushrod.coordinator.stop()
    assert "Traceback" not in (tmp_path / "coordinator.log").read_text()
