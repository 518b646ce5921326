from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pushrod.presentation import (
    age,
    cell,
    duration_between,
    duration_text,
    print_table,
    printable,
    problem_line,
    step_summary,
)

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (1.44, "1.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (4 * 86400, "4 d"),
    ],
)
def test_a_duration_is_told_in_at_most_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_times_are_told_relative_to_now() -> None:
    assert age("2025-06-01T11:58:00+00:00", NOW) == "2 min 0 s ago"
    assert age("2025-06-01T11:58:00Z", NOW) == "2 min 0 s ago"
    assert age(None, NOW) == ""
    assert age("yesterday", NOW) == "yesterday"


def test_what_did_not_start_took_no_time_and_what_runs_counts_till_now() -> None:
    assert duration_between(None, None, NOW) == ""
    assert duration_between("2025-06-01T11:59:30Z", None, NOW) == "30 s"
    assert duration_between("2025-06-01T11:00:00Z", "2025-06-01T11:00:05Z", NOW) == "5.0 s"


def test_text_of_others_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc") == "a\\x1b[2Jb\\rc"
    assert printable("ünïcode 漢字") == "ünïcode 漢字"
    assert cell("two\nlines\there") == "two lines here"


def test_a_table_off_the_terminal_is_tab_separated_and_uncut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("a", "b"), [("x" * 300, None), ("y\tz", 2)], empty="none")
    assert capsys.readouterr().out == f"a\tb\n{'x' * 300}\t\ny z\t2\n"


def test_an_empty_table_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a",), [], empty="nothing here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing here\n")


def test_a_problem_is_told_by_its_place() -> None:
    assert (
        problem_line({"file": "a.yml", "line": 3, "column": 5, "message": "no"}) == "a.yml:3:5: no"
    )
    assert problem_line({"path": "steps[0].name", "message": "no"}) == "steps[0].name: no"
    assert problem_line({"message": "no"}) == "no"


def test_a_step_says_how_it_ended() -> None:
    assert step_summary({"status": "SUCCESS", "exitCode": 0}) == "succeeded"
    assert step_summary({"status": "FAILED", "exitCode": 3}) == "failed (exit 3)"
    assert step_summary({"status": "FAILED", "reason": "timeout"}) == "failed (timeout)"
    assert step_summary({"status": "BLOCKED", "waitsFor": "waits for lint"}) == (
        "blocked (waits for lint)"
    )
    assert step_summary({"status": "FAILED", "reason": "engine", "message": "no image x"}) == (
        "failed (engine: no image x)"
    )
