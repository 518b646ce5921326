"""What caused an error is looked for, and the search ends, however the causes hang together."""

from __future__ import annotations

import errno

import structlog
from structlog.testing import capture_logs

from agent.descriptors import are_lacking
from coordinator.storage.postgres_transactions import TakenOver
from coordinator.storage.trouble import DatabaseTrouble, Trouble, tell_fault, trouble_of


def test_what_caused_an_error_is_found_and_a_circle_of_causes_ends() -> None:
    outer, inner = RuntimeError("outer"), RuntimeError("inner")
    outer.__cause__, inner.__cause__ = inner, outer
    assert trouble_of(outer) is None
    assert not are_lacking(outer)
    inner.__cause__ = OSError(errno.EMFILE, "too many open files")
    assert trouble_of(outer) is Trouble.DESCRIPTORS
    assert are_lacking(outer)


def test_an_error_that_caused_itself_is_no_trouble_of_the_machine() -> None:
    error = RuntimeError("of ours")
    error.__cause__ = error
    assert trouble_of(error) is None
    assert not are_lacking(error)


def test_what_a_group_of_tasks_ended_by_is_known() -> None:
    away = DatabaseTrouble(Trouble.DATABASE_AWAY)
    assert trouble_of(ExceptionGroup("tasks", [away, away])) is Trouble.DATABASE_AWAY
    assert trouble_of(ExceptionGroup("tasks", [away, ValueError()])) is None


def test_to_be_taken_over_is_a_trouble_after_which_nobody_knows_what_was_done() -> None:
    assert trouble_of(TakenOver("this one ends")) is Trouble.TAKEN_OVER
    assert [one for one in Trouble if one.leaves_open] == [
        Trouble.DATABASE_UNKNOWN,
        Trouble.TAKEN_OVER,
    ]


def test_the_machines_trouble_is_told_in_a_line_and_a_fault_of_ours_by_its_traceback() -> None:
    ours, away = ValueError("of ours"), DatabaseTrouble(Trouble.DATABASE_AWAY)
    with capture_logs() as told:
        tell_fault(structlog.get_logger(), "it failed", away, step="s")
        tell_fault(structlog.get_logger(), "it failed", ours)
    level = {"event": "it failed", "log_level": "error"}
    assert told == [
        {**level, "trouble": Trouble.DATABASE_AWAY.value, "step": "s"},
        {**level, "exc_info": ours},
    ]
