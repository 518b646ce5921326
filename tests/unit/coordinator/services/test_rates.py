"""Fixed windows: so many in so long, for each key."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

from coordinator.services.people.rates import MAX_KEYS, Rates

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_so_many_and_no_more_until_the_window_ends() -> None:
    rates = Rates(3, MINUTE)
    taken = [rates.take("a", NOW) for _ in range(5)]
    assert [one.exceeded for one in taken] == [False, False, False, True, True]
    assert [one.remaining for one in taken] == [2, 1, 0, 0, 0]
    assert not rates.take("b", NOW).exceeded, "another key is another's"
    assert rates.take("a", NOW + MINUTE - timedelta(microseconds=1)).exceeded
    again = rates.take("a", NOW + MINUTE)
    assert (again.exceeded, again.remaining, again.resets_at) == (False, 2, NOW + 2 * MINUTE)


def test_what_is_given_back_can_be_taken_again() -> None:
    rates = Rates(1, MINUTE)
    rates.give_back("a", NOW)
    assert not rates.take("a", NOW).exceeded
    rates.give_back("a", NOW)
    assert not rates.take("a", NOW).exceeded
    assert rates.take("a", NOW).exceeded


def test_long_keys_take_no_more_memory_than_short_ones() -> None:
    rates = Rates(1, MINUTE)
    tracemalloc.start()
    try:
        for n in range(500):
            rates.take("x" * 20_000 + str(n), NOW)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 1_000_000
    assert rates.take("x" * 20_000 + "0", NOW).exceeded


def test_windows_that_ended_and_too_many_of_them_are_forgotten() -> None:
    rates = Rates(1, MINUTE)
    for n in range(MAX_KEYS + 10):
        rates.take(str(n), NOW)
    assert len(rates) == MAX_KEYS
    rates.take("later", NOW + MINUTE)
    assert len(rates) == 1
