from __future__ import annotations

import pytest

from agent.lease import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    LeaseTable,
    Term,
    margin_seconds,
    renew_every_seconds,
    renewal_wait_seconds,
    retry_delay_seconds,
)
from pipelines_schema.contract import LEASE_SECONDS, LeaseRef


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
    every = renew_every_seconds(LEASE_SECONDS)
    assert every == LEASE_SECONDS / 3
    assert renewal_wait_seconds(last_renewed=100.0, every=every, now=100.0) == every
    assert renewal_wait_seconds(last_renewed=100.0, every=every, now=103.0) == every - 3


@pytest.mark.parametrize("lease_seconds", [1.0, 3.0, 60.0, 3600.0])
def test_a_term_ends_before_the_lease_and_after_its_second_renewal(lease_seconds: float) -> None:
    term = Term(lease_seconds=lease_seconds, sent_at=100.0)
    assert 0 < margin_seconds(lease_seconds) <= 3
    assert term.ends_at == 100.0 + lease_seconds - margin_seconds(lease_seconds)
    assert term.ends_at > 100.0 + 2 * renew_every_seconds(lease_seconds)


def test_a_renewal_counts_from_when_it_was_sent_and_is_told() -> None:
    term = Term(lease_seconds=60, sent_at=100.0)
    told: list[float] = []
    unfollow = term.follow(told.append)
    term.renew(sent_at=120.0, now=125.0)
    term.renew(sent_at=110.0, now=126.0)
    assert told == [term.ends_at] == [177.0]
    unfollow()
    term.renew(sent_at=140.0, now=140.0)
    assert told == [177.0]
    assert term.ends_at == 197.0


def test_a_term_that_is_over_is_not_renewed_by_a_late_answer() -> None:
    term = Term(lease_seconds=60, sent_at=100.0)
    term.renew(sent_at=156.0, now=157.0)
    assert term.ends_at == 157.0


def test_an_overdue_renewal_is_due_now() -> None:
    assert renewal_wait_seconds(last_renewed=-float("inf"), every=20.0, now=5.0) == 0


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
