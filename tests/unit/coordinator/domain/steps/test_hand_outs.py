"""Until when a hand-out is its holder's: pair by pair, event by event, with a clock of our own."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from coordinator.domain.steps.hand_outs import (
    HAND_OUT_TABLE,
    Expiry,
    HandOut,
    HandOutEvent,
    HandOuts,
    HandOutState,
    advance_hand_out,
)

ACCEPT, TERM, LEASE = 5.0, 60.0, 20.0
AGENT, OTHER = "agent:a", "agent:b"


def hand_outs() -> HandOuts:
    return HandOuts(accept_seconds=ACCEPT)


def hand_out(
    step: str = "s",
    epoch: int = 1,
    *,
    holder: str = AGENT,
    build: str = "b",
    running: bool = True,
    instance: str | None = None,
) -> HandOut:
    return HandOut(
        step_id=step,
        build_id=build,
        epoch=epoch,
        holder=holder,
        state=HandOutState.RUNNING if running else HandOutState.OFFERED,
        deadline=0.0,
        term_seconds=TERM,
        lease_seconds=LEASE,
        instance=instance,
    )


def due(held: HandOuts, now: float) -> list[str]:
    return [one.step_id for one in held.due(now)]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(HandOutState, HandOutEvent)))
def test_each_event_in_each_state_is_in_the_table(state: HandOutState, event: HandOutEvent) -> None:
    """An event can meet a hand-out in whatever state it is: the two sides race."""
    assert (state, event) in HAND_OUT_TABLE
    after = advance_hand_out(state, event)
    if event in (HandOutEvent.EXPIRE, HandOutEvent.COMPLETE):
        assert after is None
    if state is HandOutState.CANCELLING:
        assert after in (HandOutState.CANCELLING, None), "a cancel is not taken back"


def test_an_offer_is_over_when_it_was_not_accepted_in_time() -> None:
    held = hand_outs()
    held.offer(hand_out(running=False), now=0)
    assert (due(held, ACCEPT - 1), due(held, ACCEPT)) == ([], ["s"])


def test_a_renewal_keeps_no_offer_open() -> None:
    held = hand_outs()
    held.offer(hand_out(running=False), now=0)
    assert held.renew(AGENT, [("s", 1)], now=4) == []
    assert due(held, ACCEPT) == ["s"]


def test_an_accept_begins_a_term_and_each_renewal_another() -> None:
    held = hand_outs()
    held.offer(hand_out(running=False), now=0)
    held.begin(hand_out(), now=3)
    assert held.renew(AGENT, [("s", 1)], now=50) == []
    assert (due(held, 109), due(held, 110)) == ([], ["s"])


@pytest.mark.parametrize(
    ("holder", "lease"), [(OTHER, ("s", 2)), (AGENT, ("s", 1)), (AGENT, ("t", 2))]
)
def test_only_the_holder_of_this_epoch_renews(holder: str, lease: tuple[str, int]) -> None:
    """A holder of an older epoch that could renew would keep the new one alive."""
    held = hand_outs()
    held.begin(hand_out(epoch=2), now=0)
    assert held.renew(holder, [lease], now=50) == [lease]
    assert due(held, TERM) == ["s"]


def test_a_renewal_takes_an_expiry_away_that_has_not_begun_to_be_written() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    [over] = held.due(TERM)
    assert held.renew(AGENT, [("s", 1)], now=TERM) == []
    assert over.expiry is not None
    assert not over.expiry.carry_out(), "the writer must find that it was taken away"
    assert due(held, TERM + 1) == []


def test_a_transaction_that_is_run_again_has_its_expiry_still() -> None:
    """Else the hand-out would be nobody's: it is not due again, and was not ended."""
    expiry = Expiry()
    assert expiry.carry_out()
    assert expiry.carry_out()
    assert not expiry.withdraw()
    withdrawn = Expiry()
    assert withdrawn.withdraw()
    assert not withdrawn.carry_out()
    assert not withdrawn.carry_out()


def test_a_renewal_that_comes_while_the_expiry_is_written_is_told_that_it_is_lost() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    [over] = held.due(TERM)
    assert over.expiry is not None
    assert over.expiry.carry_out()
    assert held.renew(AGENT, [("s", 1)], now=TERM) == [("s", 1)]


def test_what_is_over_is_told_once_until_it_is_tried_later() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    [over] = held.due(TERM)
    assert (due(held, TERM + 9), held.next_deadline()) == ([], None)
    held.try_later(over, TERM + 10)
    assert (held.next_deadline(), due(held, TERM + 10)) == (TERM + 10, ["s"])


def test_a_cancel_ends_offers_and_tells_the_agents_of_what_runs() -> None:
    held = hand_outs()
    held.offer(hand_out("offered", running=False), now=0)
    held.begin(hand_out("runs"), now=0)
    held.begin(hand_out("else", build="c", holder=OTHER), now=0)
    assert held.cancel("b", now=1) == {AGENT}
    assert held.find("offered") is None
    assert [one.step_id for one in held.cancels_of(AGENT)] == ["runs"]
    assert held.cancels_of(OTHER) == []


def test_a_cancel_leaves_what_it_spares() -> None:
    held = hand_outs()
    held.offer(hand_out("offered", running=False), now=0)
    held.begin(hand_out("cleans", holder=OTHER), now=0)
    held.begin(hand_out("runs"), now=0)
    assert held.cancel("b", now=1, spared={"offered", "cleans"}) == {AGENT}
    assert held.find("offered") is not None
    assert held.cancels_of(OTHER) == []
    assert held.cancel("b", now=2) == {OTHER}


def test_a_cancelled_step_is_waited_for_no_longer_than_a_lease() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    held.cancel("b", now=1)
    assert held.next_deadline() == 1 + LEASE
    held.renew(AGENT, [("s", 1)], now=10)
    assert held.next_deadline() == 10 + LEASE


def test_a_cancelled_worker_that_can_not_be_told_is_let_go_at_once() -> None:
    held = hand_outs()
    held.begin(hand_out(holder="token:t"), now=0)
    held.cancel("b", now=1)
    assert due(held, 1) == ["s"]


def test_a_second_cancel_counts_up_and_a_repeated_one_does_not() -> None:
    held = HandOuts(accept_seconds=ACCEPT, cancel_sequence=7)
    held.begin(hand_out("s"), now=0)
    held.begin(hand_out("t", build="c"), now=0)
    for build in ("b", "b", "c"):
        held.cancel(build, now=1)
    assert [one.cancel_sequence for one in held.cancels_of(AGENT)] == [8, 9]


def test_an_accept_repeated_after_a_cancel_does_not_take_it_back() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    held.cancel("b", now=1)
    held.begin(hand_out(), now=2)
    assert [one.step_id for one in held.cancels_of(AGENT)] == ["s"]


def test_a_released_epoch_is_not_the_next_one() -> None:
    held = hand_outs()
    held.begin(hand_out(epoch=2), now=0)
    held.release("s", 1)
    assert held.find("s") is not None
    held.release("s", 2)
    assert (held.find("s"), held.held_by(AGENT)) == (None, ())


def test_a_hand_out_that_goes_to_another_is_no_longer_the_first_ones() -> None:
    held = hand_outs()
    held.begin(hand_out(epoch=1), now=0)
    held.offer(hand_out(epoch=2, holder=OTHER, running=False), now=1)
    assert held.held_by(AGENT) == ()
    assert (held.unheard_by(OTHER), held.unheard_by(AGENT)) == (1, 0)


def test_a_process_that_starts_anew_loses_what_it_does_not_name() -> None:
    held = hand_outs()
    for step in ("named", "forgotten"):
        held.begin(hand_out(step, instance="old"), now=0)
    held.begin(hand_out("unknown"), now=0)
    held.take_over(AGENT, "new", [("named", 1)], now=1)
    assert due(held, 1) == ["forgotten"]
    # And what it has named is its own from now on.
    held.take_over(AGENT, "newer", [], now=2)
    assert due(held, 2) == ["named"]


def test_what_a_restart_remembers_is_waited_for_a_lease_once_its_agent_speaks_without_it() -> None:
    """However long a step that may not run again is waited for while its agent is silent."""
    held = hand_outs()
    for step in ("nobody's", "named later", "silent"):
        of = OTHER if step == "silent" else AGENT
        held.begin(replace(hand_out(step, holder=of), term_seconds=100 * LEASE), now=0)
    held.take_over(AGENT, "one", [], now=1)
    held.take_over(AGENT, "one", [("named later", 1)], now=2)
    assert held.renew(AGENT, [("named later", 1)], now=2) == []
    # Saying so again is no further delay.
    held.take_over(AGENT, "one", [("named later", 1)], now=LEASE)
    assert due(held, LEASE) == []
    assert due(held, 1 + LEASE) == ["nobody's"]
    assert due(held, 100 * LEASE) == ["silent"]


def test_a_process_that_polls_again_loses_nothing_it_has_just_accepted() -> None:
    """The poll may have been sent before."""
    held = hand_outs()
    held.begin(hand_out(instance="one"), now=0)
    held.take_over(AGENT, "one", [], now=1)
    assert due(held, 1) == []


def begun_with_a_poll(held: HandOuts, step: str = "s", instance: str = "one") -> None:
    of = replace(hand_out(step, instance=instance), confirmed=False, with_polls=True)
    held.begin(of, now=0)


def told(held: HandOuts, instance: str = "one", now: float = 0) -> list[str]:
    return [one.step_id for one in held.to_be_told(AGENT, instance, now)]


def test_what_began_with_a_poll_is_told_until_it_is_named_and_takes_a_slot_till_then() -> None:
    held = hand_outs()
    begun_with_a_poll(held)
    assert (told(held), told(held, "another")) == (["s"], [])
    assert held.unheard_by(AGENT) == 1
    assert held.tell_again(("s", 1), "one", now=TERM - 1)
    assert due(held, TERM) == []
    assert held.renew(AGENT, [("s", 1)], now=TERM) == []
    assert (told(held), held.unheard_by(AGENT)) == ([], 0)


def test_what_is_never_named_is_not_told_for_ever() -> None:
    """Each answer gives it a new term, which the agent may count on: the last one ends."""
    held = hand_outs()
    begun_with_a_poll(held)
    assert told(held, now=LEASE - 1) == ["s"]
    assert held.tell_again(("s", 1), "one", now=LEASE - 1)
    assert told(held, now=LEASE) == []
    assert due(held, LEASE - 2 + TERM) == []
    # While the coordinator was away nobody could be told.
    held.begin_new_terms(LEASE)
    assert told(held, now=2 * LEASE - 1) == ["s"]
    [over] = held.due(LEASE + TERM)
    assert not over.disowned


def test_what_is_declined_is_over_at_once_and_nobody_ever_had_it() -> None:
    held = hand_outs()
    begun_with_a_poll(held)
    held.decline(AGENT, "another", [("s", 1)], now=1)
    held.decline(OTHER, "one", [("s", 1)], now=1)
    held.decline(AGENT, "one", [("s", 2)], now=1)
    assert held.due(1) == []
    held.decline(AGENT, "one", [("s", 1)], now=1)
    assert told(held) == []
    assert not held.tell_again(("s", 1), "one", now=1)
    [over] = held.due(1)
    assert over.disowned
    held.offer(hand_out("offered", instance="one", running=False), now=1)
    held.decline(AGENT, "one", [("offered", 1)], now=2)
    assert due(held, 2) == ["offered"]


def test_what_is_named_after_all_is_its_agents() -> None:
    held = hand_outs()
    begun_with_a_poll(held)
    held.take_over(AGENT, "two", [], now=1)
    assert held.renew(AGENT, [("s", 1)], now=1) == []
    [over] = held.due(1 + TERM)
    assert not over.disowned


def test_what_was_named_can_t_be_declined() -> None:
    held = hand_outs()
    begun_with_a_poll(held)
    held.renew(AGENT, [("s", 1)], now=1)
    held.decline(AGENT, "one", [("s", 1)], now=1)
    assert held.due(1) == []


def test_what_is_being_ended_is_not_told_again() -> None:
    held = hand_outs()
    begun_with_a_poll(held)
    [over] = held.due(TERM)
    assert over.expiry is not None
    assert over.expiry.carry_out()
    assert not held.tell_again(("s", 1), "one", now=TERM)
    held.release("s", 1)
    assert not held.tell_again(("s", 1), "one", now=TERM)


def test_a_restart_knows_not_what_a_process_was_given_until_it_is_told() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    assert [one.step_id for one in held.of_unknown_processes(AGENT, [])] == ["s"]
    assert held.of_unknown_processes(AGENT, [("s", 1)]) == []
    assert told(held) == []
    assert held.tell_again(("s", 1), "one", now=1)
    assert told(held) == ["s"]
    # It may have run: a later process that does not know it has lost it.
    held.take_over(AGENT, "two", [], now=2)
    [over] = held.due(2)
    assert not over.disowned


def test_a_goodbye_ends_all_that_is_not_reported_later() -> None:
    held = hand_outs()
    held.begin(hand_out("kept", instance="one"), now=0)
    held.begin(hand_out("given up", instance="one"), now=0)
    held.offer(hand_out("offered", instance="one", running=False), now=0)
    held.begin(hand_out("of another process", instance="two"), now=0)
    held.leave(AGENT, "one", [("kept", 1)], now=1)
    assert due(held, 1) == ["given up", "offered"]


def test_after_an_absence_everything_has_a_new_term() -> None:
    held = hand_outs()
    held.begin(hand_out("runs"), now=0)
    held.offer(hand_out("offered", running=False), now=0)
    held.begin(hand_out("over"), now=0)
    held.due(TERM)
    held.begin_new_terms(now=100)
    assert due(held, 100 + ACCEPT) == ["offered"]
    assert sorted(due(held, 100 + TERM)) == ["over", "runs"]


def test_an_absence_takes_nothing_back_that_is_being_written() -> None:
    held = hand_outs()
    held.begin(hand_out(), now=0)
    [over] = held.due(TERM)
    assert over.expiry is not None
    over.expiry.carry_out()
    held.begin_new_terms(now=100)
    assert held.find("s") is over


def test_a_late_report_takes_back_an_offer_made_since_but_nothing_that_runs() -> None:
    held = hand_outs()
    held.offer(hand_out("offered", 2, running=False), now=0)
    held.begin(hand_out("runs", 2), now=0)
    held.begin(hand_out("its own", 1), now=0)
    for step in ("offered", "runs", "its own"):
        held.complete(step, 1)
    assert [held.find(step) is None for step in ("offered", "runs", "its own")] == [
        True, False, True,
    ]  # fmt: skip
