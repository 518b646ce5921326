"""Hand-outs: until when each is its holder's, and what its holder must be told. No I/O, no clock.

Which of two memories is the truth: *who holds which step under which epoch* is what the database
says, and every change of it is a transaction that looks again. What stands here is only *until
when*, and *what was told*: a restart loses it, and each hand-out of the database begins a new term.
A hand-out here that the database no longer has is dropped when its time is over.

Times are seconds of one clock that never goes back and counts while the machine sleeps.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from coordinator.domain.lifecycle import IllegalTransition


class HandOutState(StrEnum):
    OFFERED = "offered"
    RUNNING = "running"
    CANCELLING = "cancelling"
    """It runs, and its agent is to be told, or was, that its build was cancelled."""


class HandOutEvent(StrEnum):
    ACCEPT = "accept"
    RENEW = "renew"
    CANCEL = "cancel"
    EXPIRE = "expire"
    """Its term is over, or its agent is known to be gone, and the database has that."""
    COMPLETE = "complete"


HAND_OUT_TABLE: Mapping[tuple[HandOutState, HandOutEvent], HandOutState | None] = {
    # A renewal keeps no offer open: its agent has accepted or it has not.
    (HandOutState.OFFERED, HandOutEvent.ACCEPT): HandOutState.RUNNING,
    (HandOutState.OFFERED, HandOutEvent.RENEW): HandOutState.OFFERED,
    (HandOutState.OFFERED, HandOutEvent.CANCEL): None,
    (HandOutState.OFFERED, HandOutEvent.EXPIRE): None,
    # The result of an earlier epoch came late, while this one was only offered.
    (HandOutState.OFFERED, HandOutEvent.COMPLETE): None,
    (HandOutState.RUNNING, HandOutEvent.ACCEPT): HandOutState.RUNNING,
    (HandOutState.RUNNING, HandOutEvent.RENEW): HandOutState.RUNNING,
    (HandOutState.RUNNING, HandOutEvent.CANCEL): HandOutState.CANCELLING,
    (HandOutState.RUNNING, HandOutEvent.EXPIRE): None,
    (HandOutState.RUNNING, HandOutEvent.COMPLETE): None,
    (HandOutState.CANCELLING, HandOutEvent.ACCEPT): HandOutState.CANCELLING,
    (HandOutState.CANCELLING, HandOutEvent.RENEW): HandOutState.CANCELLING,
    (HandOutState.CANCELLING, HandOutEvent.CANCEL): HandOutState.CANCELLING,
    (HandOutState.CANCELLING, HandOutEvent.EXPIRE): None,
    (HandOutState.CANCELLING, HandOutEvent.COMPLETE): None,
}
"""None: the hand-out is over."""


def advance_hand_out(state: HandOutState, event: HandOutEvent) -> HandOutState | None:
    """Raises IllegalTransition."""
    try:
        return HAND_OUT_TABLE[state, event]
    except KeyError:
        raise IllegalTransition("hand-out", state, event) from None


class Expiry:
    """Whoever is first has it: the event loop, which withdraws an expiry because its agent was
    heard, or the writer's thread, which carries it out. Neither may see the other half done."""

    def __init__(self) -> None:
        self._taken = threading.Lock()
        self._is_carried_out = False

    def withdraw(self) -> bool:
        """False: it is being carried out."""
        return self._taken.acquire(blocking=False)

    def carry_out(self) -> bool:
        """False: it was withdrawn. Once more by the transaction that is run again."""
        if not self._is_carried_out:
            self._is_carried_out = self._taken.acquire(blocking=False)
        return self._is_carried_out


Lease = tuple[str, int]
"""Step id and epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOut:
    step_id: str
    build_id: str
    epoch: int
    holder: str
    state: HandOutState
    deadline: float
    term_seconds: float
    """What each sign of its holder gives it once it runs."""
    lease_seconds: float
    """The same once it is cancelled: then no result is waited for."""
    instance: str | None = None
    """The process of the agent that has it; None where that is not known."""
    cancel_sequence: int | None = None
    """Set once its cancel was asked for; counts up over all cancels."""
    expiry: Expiry | None = None
    """Set while the database is told that it is over."""
    confirmed: bool = True
    """False for one that was handed over with an answer, until its holder has named it: the answer
    may never have arrived, or its reader have died before it wrote it down."""
    with_polls: bool = False
    """It runs since a poll was to be answered with it, and is told with each further poll of that
    process until that names it: the answer may never have arrived."""
    told_until: float = 0.0
    """By then an agent that polls has had it, or never will: it is left to the term that the last
    answer gave it."""
    disowned: bool = False
    """Its holder speaks and does not know it, unconfirmed as it is: nobody ever had it. One that
    falls silent instead may have begun it."""

    @property
    def lease(self) -> Lease:
        return self.step_id, self.epoch

    @property
    def runs(self) -> bool:
        return self.state is not HandOutState.OFFERED


class HandOuts:
    """All hand-outs of one coordinator. Used on the event loop alone."""

    def __init__(self, *, accept_seconds: float, cancel_sequence: int = 0) -> None:
        self._accept_seconds = accept_seconds
        self._cancel_sequence = cancel_sequence
        self._by_step: dict[str, HandOut] = {}
        self._by_holder: dict[str, dict[str, HandOut]] = {}

    # Looking

    def find(self, step_id: str) -> HandOut | None:
        return self._by_step.get(step_id)

    def held_by(self, holder: str) -> Sequence[HandOut]:
        return tuple(self._by_holder.get(holder, {}).values())

    def unheard_by(self, holder: str) -> int:
        """How many of its slots it may not know to be taken."""
        its = self._by_holder.get(holder, {}).values()
        return sum(1 for held in its if not held.runs or held.with_polls)

    def to_be_told(self, holder: str, instance: str, now: float) -> Sequence[HandOut]:
        """Of that process, with the answer to its poll, once what that names was renewed."""
        its = [one for one in self.held_by(holder) if one.with_polls and not one.disowned]
        return [one for one in its if one.instance == instance and now < one.told_until]

    def of_unknown_processes(self, holder: str, named: Collection[Lease]) -> Sequence[HandOut]:
        """What runs of before this coordinator knew it, and is not named."""
        its = self.held_by(holder)
        return [one for one in its if one.runs and one.instance is None and one.lease not in named]

    def cancels_of(self, holder: str) -> Sequence[HandOut]:
        return [held for held in self.held_by(holder) if held.cancel_sequence is not None]

    def next_deadline(self) -> float | None:
        """Of those that nobody is ending already."""
        return min(
            (held.deadline for held in self._by_step.values() if held.expiry is None), default=None
        )

    # Coming and going

    def offer(self, hand_out: HandOut, now: float) -> None:
        self._keep(
            replace(hand_out, state=HandOutState.OFFERED, deadline=now + self._accept_seconds)
        )

    def begin(self, hand_out: HandOut, now: float) -> None:
        """It runs: its term begins. Repeated, it keeps a cancel that its agent may not know of."""
        known = self._by_step.get(hand_out.step_id)
        hand_out = replace(hand_out, told_until=now + hand_out.lease_seconds)
        if known is not None and known.epoch == hand_out.epoch:
            state = advance_hand_out(known.state, HandOutEvent.ACCEPT)
            hand_out = replace(
                hand_out,
                state=state or HandOutState.RUNNING,
                instance=hand_out.instance or known.instance,
                confirmed=known.confirmed,
                with_polls=known.with_polls,
                cancel_sequence=known.cancel_sequence,
            )
        self._keep(replace(hand_out, deadline=now + _term(hand_out)))

    def complete(self, step_id: str, epoch: int) -> None:
        """The attempt of that epoch was reported on; an offer made since is taken back, for the
        report may have come late."""
        held = self._by_step.get(step_id)
        if held is not None and (held.epoch == epoch or (held.epoch > epoch and not held.runs)):
            self._drop(held)

    def release(self, step_id: str, epoch: int) -> None:
        """The hand-out of that epoch is over."""
        held = self._by_step.get(step_id)
        if held is not None and held.epoch == epoch:
            self._drop(held)

    # What holders say

    def renew(self, holder: str, leases: Iterable[Lease], now: float) -> list[Lease]:
        """A new term for each of them that runs. Those that are not the holder's (any more)."""
        lost = []
        for lease in leases:
            held = self._by_step.get(lease[0])
            if held is None or held.lease != lease or held.holder != holder:
                lost.append(lease)
            elif held.expiry is not None and not held.expiry.withdraw():
                lost.append(lease)  # too late: the database is being told
            elif held.runs:
                renewed = replace(held, deadline=now + _term(held), expiry=None)
                self._keep(replace(renewed, confirmed=True, with_polls=False, disowned=False))
        return lost

    def tell_again(self, lease: Lease, instance: str, now: float) -> bool:
        """A poll of that process is answered with it, maybe once more: its term begins. False where
        it is over by then."""
        held = self._by_step.get(lease[0])
        if held is None or held.lease != lease or not held.runs or held.disowned:
            return False
        if held.expiry is not None and not held.expiry.withdraw():
            return False
        term = now + _term(held)
        self._keep(replace(held, instance=instance, with_polls=True, deadline=term, expiry=None))
        return True

    def decline(self, holder: str, instance: str, leases: Iterable[Lease], now: float) -> None:
        """The process has not begun what it was given, and will not."""
        for lease in leases:
            held = self._by_step.get(lease[0])
            if held is None or (held.lease, held.holder) != (lease, holder):
                continue
            unnamed = not held.runs or held.with_polls or not held.confirmed
            if held.instance == instance and held.expiry is None and unnamed:
                self._keep(replace(held, deadline=now, disowned=held.runs))

    def cancel(self, build_id: str, now: float, *, spared: Collection[str] = ()) -> Collection[str]:
        """Open offers of the build end; holders of what runs are to be told. Those holders. Steps
        that are spared are left alone.

        A worker that can't be told is let go.
        """
        told = set()
        for held in [held for held in self._by_step.values() if held.build_id == build_id]:
            if held.cancel_sequence is not None or held.step_id in spared:
                continue
            if advance_hand_out(held.state, HandOutEvent.CANCEL) is None:
                self._drop(held)
            else:
                self._keep(self._cancelled(held, now))
                told.add(held.holder)
        return told

    def cancel_one(self, step_id: str, now: float) -> None:
        """One that was cancelled before it was known here."""
        held = self._by_step[step_id]
        if held.cancel_sequence is None:
            self._keep(self._cancelled(held, now))

    def _cancelled(self, held: HandOut, now: float) -> HandOut:
        self._cancel_sequence += 1
        left = held.lease_seconds if held.holder.startswith("agent:") else 0.0
        return replace(
            held,
            state=HandOutState.CANCELLING,
            deadline=min(held.deadline, now + left),
            cancel_sequence=self._cancel_sequence,
        )

    def take_over(self, holder: str, instance: str, leases: Collection[Lease], now: float) -> None:
        """A process of the agent speaks: what an earlier one held and this one does not is lost."""
        for held in self.held_by(holder):
            if held.lease in leases:
                self._keep(replace(held, instance=instance))
            elif held.instance not in (None, instance):
                self._disown(held, now)
            elif held.instance is None and held.expiry is None:
                # Of before we began. If nobody dies, this process repeats what brings it, or has
                # it on the way, and names it soon: else nobody has it, and a step that may not
                # run again is not waited for until its timeout.
                by = min(held.deadline, now + held.lease_seconds)
                self._keep(replace(held, deadline=by))

    def leave(self, holder: str, instance: str, leases: Collection[Lease], now: float) -> None:
        """The agent's process ends: only what it names is reported by its next one."""
        for held in self.held_by(holder):
            if held.lease not in leases and held.instance in (None, instance):
                self._disown(held, now)

    def _disown(self, held: HandOut, now: float) -> None:
        if held.expiry is None:
            self._keep(replace(held, deadline=now, disowned=not held.confirmed))

    # The passing of time

    def end_soon(self, lease: Lease, now: float) -> None:
        """Its holder is known to be gone, or was never told of it."""
        held = self._by_step.get(lease[0])
        if held is not None and held.lease == lease and held.expiry is None:
            self._keep(replace(held, deadline=now))

    def begin_new_terms(self, now: float) -> None:
        """The coordinator itself was away: nobody could be heard, so nobody was silent."""
        for held in tuple(self._by_step.values()):
            if held.expiry is None or held.expiry.withdraw():
                term = _term(held) if held.runs else self._accept_seconds
                deadline, told = max(held.deadline, now + term), now + held.lease_seconds
                self._keep(replace(held, deadline=deadline, told_until=told, expiry=None))

    def due(self, now: float) -> Sequence[HandOut]:
        """Those whose time is over, each with its expiry begun: the database is to be told."""
        over = [
            replace(held, expiry=Expiry())
            for held in self._by_step.values()
            if held.expiry is None and held.deadline <= now
        ]
        for held in over:
            self._keep(held)
        return over

    def try_later(self, due: HandOut, when: float) -> None:
        """The database could not be told."""
        if self._by_step.get(due.step_id) is due:
            self._keep(replace(due, expiry=None, deadline=when))

    def _keep(self, hand_out: HandOut) -> None:
        old = self._by_step.get(hand_out.step_id)
        if old is not None and old.holder != hand_out.holder:
            self._drop(old)
        self._by_step[hand_out.step_id] = hand_out
        self._by_holder.setdefault(hand_out.holder, {})[hand_out.step_id] = hand_out

    def _drop(self, hand_out: HandOut) -> None:
        del self._by_step[hand_out.step_id]
        its = self._by_holder[hand_out.holder]
        del its[hand_out.step_id]
        if not its:
            del self._by_holder[hand_out.holder]


def _term(hand_out: HandOut) -> float:
    cancelled = hand_out.state is HandOutState.CANCELLING
    return hand_out.lease_seconds if cancelled else hand_out.term_seconds
