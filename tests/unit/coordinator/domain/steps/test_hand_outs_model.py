"""Hand-outs against a model of the database, in arbitrary orders of events.

The model is what `storage` keeps of a step: its state, its epoch, its holder. Each rule is one
transaction followed by what the coordinator then tells the hand-outs, as the services do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coordinator.domain.lifecycle import FINISHED_STEP, StepEvent, StepState, advance_step
from coordinator.domain.steps.hand_outs import HandOut, HandOuts, HandOutState

STEPS = ("s", "t", "u")
AGENTS = ("agent:a", "agent:b")
DELAYED = ("t",)
ACCEPT, LEASE, DELAY = 5.0, 60.0, 30.0

steps, agents = st.sampled_from(STEPS), st.sampled_from(AGENTS)


@dataclass(slots=True)
class Row:
    state: StepState = StepState.READY
    epoch: int = 0
    holder: str = ""
    cancelled: bool = False
    delays: bool = False
    """It is not tried again at once."""
    due: float = 0.0
    """When it is queued again, while it is delayed."""
    given_to: int | None = None
    """The process that it began for with the answer to a poll."""

    def move(self, event: StepEvent) -> None:
        self.state = advance_step(self.state, event)


@dataclass(slots=True)
class Agent:
    """What it believes: the epochs that it was given and has not been told to be lost."""

    process: int = 1
    runs: dict[str, int] = field(default_factory=dict)
    on_the_way: list[tuple[str, int]] = field(default_factory=list)
    """What answers to its polls bring, if they arrive: in any order, once or twice."""
    polled: set[tuple[str, int]] = field(default_factory=set)
    """What they have brought: it came to its end, or runs."""
    declined: set[tuple[str, int]] = field(default_factory=set)


class HandOutsAndDatabase(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.rows = {step: Row(delays=step in DELAYED) for step in STEPS}
        self.agents = {agent: Agent() for agent in AGENTS}
        self.hand_outs = HandOuts(accept_seconds=ACCEPT)
        self.restarted = False
        self.taken_back: set[tuple[str, int]] = set()
        """As if nobody ever had them."""

    def hand_out(self, step: str, state: HandOutState, *, is_known: bool = True) -> HandOut:
        row = self.rows[step]
        return HandOut(
            step_id=step,
            build_id=step,
            epoch=row.epoch,
            holder=row.holder,
            state=state,
            deadline=0.0,
            term_seconds=LEASE,
            lease_seconds=LEASE,
            instance=str(self.agents[row.holder].process) if is_known else None,
        )

    def begin(self, step: str, *, is_known: bool = True) -> None:
        hand_out = self.hand_out(step, HandOutState.RUNNING, is_known=is_known)
        self.hand_outs.begin(hand_out, self.now)
        if self.rows[step].cancelled:
            self.hand_outs.cancel_one(step, self.now)

    @rule(step=steps, agent=agents)
    def offer(self, step: str, agent: str) -> None:
        row = self.rows[step]
        if row.state is StepState.READY:
            row.move(StepEvent.OFFER)
            row.epoch, row.holder, row.given_to = row.epoch + 1, agent, None
            self.hand_outs.offer(self.hand_out(step, HandOutState.OFFERED), self.now)

    @rule(step=steps, agent=agents, epoch=st.integers(1, 5))
    def accept(self, step: str, agent: str, epoch: int) -> None:
        row = self.rows[step]
        if (row.epoch, row.holder) != (epoch, agent):
            return
        if row.state is StepState.OFFERED:
            row.move(StepEvent.ACCEPT)
            self.agents[agent].runs[step] = epoch
        if row.state is StepState.RUNNING:
            self.begin(step)

    @rule(step=steps, agent=agents)
    def begin_with_a_poll(self, step: str, agent: str) -> None:
        row, its = self.rows[step], self.agents[agent]
        if row.state is not StepState.READY:
            return
        row.move(StepEvent.OFFER)
        row.move(StepEvent.ACCEPT)
        row.epoch, row.holder, row.given_to = row.epoch + 1, agent, its.process
        hand_out = self.hand_out(step, HandOutState.RUNNING)
        self.hand_outs.begin(replace(hand_out, confirmed=False, with_polls=True), self.now)
        its.on_the_way.append((step, row.epoch))

    @rule(agent=agents, newest=st.booleans())
    def an_answer_arrives(self, agent: str, newest: bool) -> None:
        its = self.agents[agent]
        if its.on_the_way:
            step, epoch = its.on_the_way.pop(-1 if newest else 0)
            if (step, epoch) not in its.polled:
                assert (step, epoch) not in self.taken_back
                its.polled.add((step, epoch))
                its.runs[step] = epoch

    @rule(agent=agents)
    def an_answer_is_lost(self, agent: str) -> None:
        if self.agents[agent].on_the_way:
            self.agents[agent].on_the_way.pop(0)

    @rule(agent=agents)
    def poll(self, agent: str) -> None:
        self.renew(agent)
        self.find_of_before(agent)
        its, process = self.agents[agent], str(self.agents[agent].process)
        for one in self.hand_outs.to_be_told(agent, process, self.now):
            assert self.hand_outs.tell_again(one.lease, process, self.now)
            its.on_the_way.append(one.lease)
            if one.lease in its.declined:
                assert self.restarted, "it was told that"
                self.hand_outs.decline(agent, process, [one.lease], self.now)

    def find_of_before(self, agent: str) -> None:
        its = self.agents[agent]
        for one in self.hand_outs.of_unknown_processes(agent, list(its.runs.items())):
            if self.rows[one.step_id].given_to == its.process:
                assert self.hand_outs.tell_again(one.lease, str(its.process), self.now)

    @rule(agent=agents)
    def decline(self, agent: str) -> None:
        """Whatever comes with the next answer, now and later."""
        its = self.agents[agent]
        self.find_of_before(agent)
        declined = [lease for lease in its.on_the_way if lease not in its.polled]
        its.polled.update(declined)
        its.declined.update(declined)
        self.hand_outs.decline(agent, str(its.process), declined, self.now)

    @rule(agent=agents)
    def renew(self, agent: str) -> None:
        its = self.agents[agent].runs
        for step, _ in self.hand_outs.renew(agent, list(its.items()), self.now):
            del its[step]

    @rule(seconds=st.sampled_from([1.0, ACCEPT, LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.expire()

    def expire(self) -> None:
        for due in self.hand_outs.due(self.now):
            assert due.expiry is not None
            assert due.expiry.carry_out()
            row = self.rows[due.step_id]
            if due.disowned:
                assert self.agents[due.holder].runs.get(due.step_id) != due.epoch, "it has it"
                self.taken_back.add(due.lease)
            if row.epoch == due.epoch and row.state is StepState.OFFERED:
                row.move(StepEvent.EXPIRE)
            elif row.epoch == due.epoch and row.state is StepState.RUNNING and due.runs:
                self.end_attempt(row)
            self.hand_outs.release(due.step_id, due.epoch)

    def end_attempt(self, row: Row) -> None:
        """Which has not succeeded."""
        row.due = self.now + DELAY
        again = StepEvent.DELAY if row.delays else StepEvent.RETRY
        row.move(StepEvent.CANCEL if row.cancelled else again)

    @rule()
    def delays_are_over(self) -> None:
        """Looked at from time to time: nothing in memory says when."""
        for row in self.rows.values():
            if row.state is StepState.DELAYED and row.due <= self.now:
                row.move(StepEvent.UNBLOCK)

    @rule(step=steps, agent=agents)
    def fail(self, step: str, agent: str) -> None:
        row, its = self.rows[step], self.agents[agent].runs
        epoch = its.pop(step, None)
        if row.state is StepState.RUNNING and (row.epoch, row.holder) == (epoch, agent):
            self.end_attempt(row)
            self.hand_outs.release(step, row.epoch)

    @rule(step=steps, agent=agents)
    def complete(self, step: str, agent: str) -> None:
        row, its = self.rows[step], self.agents[agent].runs
        epoch = its.pop(step, None)
        if row.state is StepState.RUNNING and (row.epoch, row.holder) == (epoch, agent):
            row.move(StepEvent.SUCCEED)
            self.hand_outs.release(step, row.epoch)

    @rule(step=steps)
    def cancel(self, step: str) -> None:
        row = self.rows[step]
        if row.state in FINISHED_STEP:
            return
        row.cancelled = True
        if row.state is not StepState.RUNNING:
            row.move(StepEvent.CANCEL)
        self.hand_outs.cancel(step, self.now)

    @rule()
    def the_coordinator_restarts(self) -> None:
        self.restarted = True
        self.hand_outs = HandOuts(accept_seconds=ACCEPT)
        for step, row in self.rows.items():
            if row.state is StepState.OFFERED:
                self.hand_outs.offer(self.hand_out(step, HandOutState.OFFERED), self.now)
            elif row.state is StepState.RUNNING:
                self.begin(step, is_known=False)

    @rule(seconds=st.floats(10, 1000))
    def the_coordinator_is_paused(self, seconds: float) -> None:
        before = {step: row.state for step, row in self.rows.items()}
        self.now += seconds
        self.hand_outs.begin_new_terms(self.now)
        self.expire()
        assert {step: row.state for step, row in self.rows.items()} == before

    @rule(agent=agents, remembers=st.booleans())
    def an_agent_restarts(self, agent: str, remembers: bool) -> None:
        its = self.agents[agent]
        its.process += 1
        its.on_the_way.clear()
        its.polled.clear()
        its.declined.clear()
        if not remembers:
            its.runs.clear()
        self.hand_outs.take_over(agent, str(its.process), list(its.runs.items()), self.now)
        self.expire()

    @rule(agent=agents)
    def an_agent_says_goodbye(self, agent: str) -> None:
        its = self.agents[agent]
        its.runs.clear()
        its.on_the_way.clear()
        self.hand_outs.leave(agent, str(its.process), [], self.now)
        self.expire()
        assert not [one for one in self.hand_outs.held_by(agent) if one.runs]

    @invariant()
    def each_hand_out_of_the_database_has_a_deadline(self) -> None:
        """No step is forgotten: what nobody reports comes to its end."""
        for step, row in self.rows.items():
            if row.state in (StepState.OFFERED, StepState.RUNNING):
                held = self.hand_outs.find(step)
                assert held is not None
                assert (held.epoch, held.holder) == (row.epoch, row.holder)
                assert held.runs == (row.state is StepState.RUNNING)
            elif row.state is StepState.DELAYED:
                assert self.hand_outs.find(step) is None, "nobody has it"

    @invariant()
    def at_most_one_epoch_of_a_step_is_renewed(self) -> None:
        for step, row in self.rows.items():
            held = self.hand_outs.find(step)
            if held is not None:
                assert held.epoch == row.epoch
                for agent in AGENTS:
                    for epoch in range(1, row.epoch):
                        assert self.hand_outs.renew(agent, [(step, epoch)], self.now)

    @precondition(lambda self: any(row.state not in FINISHED_STEP for row in self.rows.values()))
    @rule()
    def once_agents_answer_each_step_ends(self) -> None:
        """From here: everybody who was silent is given up, and then somebody works."""
        self.time_passes(LEASE + ACCEPT)
        self.time_passes(DELAY)
        self.delays_are_over()
        for step, row in self.rows.items():
            self.offer(step, AGENTS[0])
            self.accept(step, AGENTS[0], row.epoch)
            self.complete(step, AGENTS[0])
            assert row.state in FINISHED_STEP


TestHandOutsAndDatabase = HandOutsAndDatabase.TestCase
TestHandOutsAndDatabase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
