from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coordinator.services.seldom import Seldom

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_it_is_due_once_in_its_time_for_each() -> None:
    seldom = Seldom(10 * MINUTE)
    assert seldom.is_due("a", NOW)
    assert seldom.is_due("b", NOW + MINUTE)
    assert not seldom.is_due("a", NOW + 9 * MINUTE)
    assert seldom.is_due("a", NOW + 10 * MINUTE)
    assert not seldom.is_due("b", NOW + 10 * MINUTE)


def test_what_would_be_due_is_forgotten() -> None:
    seldom = Seldom(10 * MINUTE)
    for number in range(100):
        seldom.is_due(str(number), NOW + number * MINUTE)
    assert len(seldom) == 10
