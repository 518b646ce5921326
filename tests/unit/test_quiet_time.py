from __future__ import annotations

import os
from pathlib import Path

from tests.quiet_time import quiet_seconds, seconds_of_pressure, seconds_stolen


def test_the_time_that_some_task_waited_is_read_in_seconds(tmp_path: Path) -> None:
    file = tmp_path / "cpu"
    file.write_text(
        "some avg10=79.27 avg60=63.16 avg300=44.56 total=3271782083\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n"
    )
    assert seconds_of_pressure(file) == 3271.782083


def test_a_kernel_that_does_not_count_waits_says_none(tmp_path: Path) -> None:
    assert seconds_of_pressure(tmp_path / "cpu") == 0


def test_what_the_hypervisor_took_is_read_of_all_processors() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"cpu  1 2 3 4 5 6 7 {3 * ticks} 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert seconds_stolen(stat) == 3


def test_the_quiet_clock_goes_on_where_nothing_waits(tmp_path: Path) -> None:
    began = quiet_seconds()
    for _ in range(100_000):
        if quiet_seconds() > began:
            return
    raise AssertionError("there is always a moment in which nothing waits")
