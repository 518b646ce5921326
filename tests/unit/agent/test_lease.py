from __future__ import annotations

import pytest

from agent.lease import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    LeaseTable,
    renewal_wait_seconds,
    retry_delay_seconds,
)
from pipelines_schema.contract import LEASE_SECONDS, RENEW_EVERY_SECONDS, LeaseRef


def test_retries_begin_short_double_and_stay_bounded() -> None:
    longest = [retry_delay_seconds(n, 0.999999) for n in range(1, 12)]
    assert longest[0] == pytest.approx(FIRST_RETRY_SECONDS, rel=0.01)
    assert longest[1] == pytest.approx(2 * longest[0])
    assert longest[-1] == pytest.approx(LONGEST_RETRY_SECONDS, rel=0.01)
    assert longest == sorted(longest)


def test_jitter_takes_at_most_half_of_the_delay() -> None:
    assert retry_delay_seconds(100, 0.0) == LONGEST_RETRY_SECONDS / 2
    assert retry_delay_seconds(10_000, 0.999) <= LONGEST_RETRY_SECONDS


def test_a_renewal_is_due_three_times_within_a_lease() -> None:
    assert renewal_wait_seconds(last_renewed=100.0, now=100.0) == RENEW_EVERY_SECONDS
    assert renewal_wait_seconds(last_renewed=100.0, now=103.0) == RENEW_EVERY_SECONDS - 3
    assert 3 * RENEW_EVERY_SECONDS < LEASE_SECONDS


def test_an_overdue_renewal_is_due_now() -> None:
    assert renewal_wait_seconds(last_renewed=-float("inf"), now=5.0) == 0


def test_a_lease_is_found_by_its_own_epoch_only() -> None:
    table: LeaseTable[str] = LeaseTable()
    table.hold(LeaseRef(step_id="s", epoch=2), "work")
    assert table.find(LeaseRef(step_id="s", epoch=2)) == "work"
    assert table.find(LeaseRef(step_id="s", epoch=1)) is None
    assert LeaseRef(step_id="s", epoch=3) not in table
    assert table.refs() == [LeaseRef(step_id="s", epoch=2)]


def test_releasing_twice_is_harmless() -> None:
    table: LeaseTable[str] = LeaseTable()
    lease = LeaseRef(step_id="s", epoch=1)
    table.hold(lease, "work")
    table.release(lease)
    table.release(lease)
    assert len(table) == 0


def test_the_table_may_change_while_it_is_walked() -> None:
    table: LeaseTable[int] = LeaseTable()
    for number in range(3):
        table.hold(LeaseRef(step_id=str(number), epoch=1), number)
    for number in table:
        table.release(LeaseRef(step_id=str(number), epoch=1))
    assert len(table) == 0
