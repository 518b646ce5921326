"""What happens to several coordinators, their agents, their links and their database, by dice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from tests.integration.small_disks import filled
from tests.torture.crowd import AGENTS, COORDINATORS, Crowd

KILLS = {"coordinator": 5, "agent": 3, "database": 1, "store": 1}
"""How often each is chosen, beside the others."""
OTHERS = {
    "restart": 1,
    "pause": 3,
    "pause agent": 1,
    "pause store": 1,
    "cut": 4,
    "refuse": 2,
    "delay": 2,
    "fill": 3,
}
ROOM_BYTES = 20_000
"""Left on a disk that is filled, so that some things fit."""
START_TRIES = 30


@dataclass
class Chaos:
    """`rage` from one thread; what was done is undone in it, too, but for starts, which take
    others."""

    crowd: Crowd
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    full: list[tuple[str, float, float]] = field(default_factory=list)
    """Whose disk was filled, from when to when, as `time.time` has it."""
    _undo: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)
    """When, of whom, and what."""
    _starts: dict[str, Future[None]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def rage(self, kills: int, stop: threading.Event) -> None:
        """Until so many were killed, or `stop` is set; then all is up again."""
        weights = KILLS | OTHERS
        while sum(self.counts[f"killed: {what}"] for what in (*KILLS, "leader")) < kills:
            if stop.is_set():
                break
            what = self.dice.choices(list(weights), list(weights.values()))[0]
            getattr(self, f"_{what.replace(' ', '_')}")()
            self._go_on(until=time.monotonic() + self.dice.uniform(0.3, 2.5))
        self._go_on(until=float("inf"))
        for name in list(self._starts):
            self._started(name)
        for number in COORDINATORS:
            self._has_lived(number)

    def _has_lived(self, number: int) -> None:
        """Whatever its database and its store do, none ends by itself."""
        process = self.crowd.running[number]
        assert not process.has_ended, f"coordinator {number}: {process.tail()}"

    def _go_on(self, until: float) -> None:
        """Undo what is over by then, each in its time."""
        while self._undo and min(self._undo)[0] <= until:
            one = min(self._undo, key=lambda undo: undo[0])
            time.sleep(max(0.0, one[0] - time.monotonic()))
            self._undo.remove(one)
            one[2]()
        if until < float("inf"):
            time.sleep(max(0.0, until - time.monotonic()))

    def _later(self, name: str, most: float, undo: Callable[[], None]) -> None:
        at = time.monotonic() + self.dice.uniform(0.2, most)
        self._undo.append((at, name, undo))

    def _is_busy(self, name: str) -> bool:
        """Something is done to it already."""
        start = self._starts.get(name)
        if start is not None and start.done():
            self._started(name)
            start = None
        return start is not None or any(name == other for _, other, _ in self._undo)

    def _started(self, name: str) -> None:
        self._starts.pop(name).result()

    def _start(self, name: str, start: Callable[[], object]) -> None:
        self._starts[name] = self._threads.submit(lambda: (start(), None)[1])

    def _coordinator(self) -> None:
        leader = self._leader()
        # The leader as often as both others.
        number = leader if leader and self.dice.random() < 0.5 else self.dice.choice(COORDINATORS)
        name = f"coordinator {number}"
        if self._is_busy(name):
            return
        self._has_lived(number)
        self.counts["killed: leader" if number == leader else "killed: coordinator"] += 1
        self.crowd.kill(number)
        self._begin_later(name, 4.0, partial(self.crowd.begin, number))

    def _agent(self) -> None:
        agent = self.dice.choice(AGENTS)
        name = f"agent {agent}"
        if self._is_busy(name):
            return
        self.counts["killed: agent"] += 1
        self.crowd.agents.pop(agent).kill()
        self._begin_later(name, 3.0, partial(self.crowd.begin_agent, agent))

    def _begin_later(self, name: str, most: float, begin: Callable[[], object]) -> None:
        self._later(name, most, lambda: self._start(name, lambda: self._begin(name, begin)))

    def _begin(self, name: str, begin: Callable[[], object]) -> None:
        """Again where it was refused, as a service manager does it."""
        for _ in range(START_TRIES):
            try:
                begin()
                return
            except AssertionError:
                self.counts[f"did not start: {name.partition(' ')[0]}"] += 1
                time.sleep(1.0)
        begin()

    def _database(self) -> None:
        if self._is_busy("database"):
            return
        self.counts["killed: database"] += 1
        # Its first process alone, or all of them at once.
        self.crowd.postgres.stop(self.dice.choice((signal.SIGKILL, signal.SIGQUIT)))
        self._later("database", 2.0, self.crowd.postgres.start)

    def _restart(self) -> None:
        """The database, as its administrator does it."""
        if self._is_busy("database"):
            return
        self.counts["restarted: database"] += 1
        self.crowd.postgres.stop(signal.SIGINT)
        self._later("database", 2.0, self.crowd.postgres.start)

    def _store(self) -> None:
        if self._is_busy("store"):
            return
        self.counts["killed: store"] += 1
        self.crowd.s3.stop()
        self._later("store", 2.0, lambda: self._start("store", self.crowd.s3.start))

    def _pause_store(self) -> None:
        if self._is_busy("store"):
            return
        self.counts["paused: store"] += 1
        self.crowd.s3.pause()
        self._later("store", 10.0, self.crowd.s3.resume)

    def _fill(self) -> None:
        if not self.crowd.disks:
            return
        name = self.dice.choice(list(self.crowd.disks))
        busy, began, disk = f"disk of {name}", time.time(), ExitStack()
        if self._is_busy(busy):
            return
        self.counts[f"filled: disk of {name.partition(' ')[0]}"] += 1
        disk.enter_context(filled(self.crowd.disks[name], but=self.dice.choice((0, ROOM_BYTES))))

        def free() -> None:
            disk.close()
            self.full.append((name, began, time.time()))

        self._later(busy, 6.0, free)

    def _pause(self) -> None:
        number = self._leader() if self.dice.random() < 0.5 else self.dice.choice(COORDINATORS)
        if number is None or self._is_busy(f"coordinator {number}"):
            return
        self.counts["paused: coordinator"] += 1
        self.crowd.pause(number)
        self._later(f"coordinator {number}", 10.0, lambda: self.crowd.resume(number))

    def _pause_agent(self) -> None:
        agent = self.dice.choice(AGENTS)
        if self._is_busy(f"agent {agent}"):
            return
        self.counts["paused: agent"] += 1
        process = self.crowd.agents[agent].pid
        os.kill(process, signal.SIGSTOP)
        self._later(f"agent {agent}", 20.0, lambda: os.kill(process, signal.SIGCONT))

    def _cut(self) -> None:
        self._link("cut", lambda name: self.crowd.links[name].cut())

    def _refuse(self) -> None:
        self._link("refused", lambda name: self.crowd.links[name].refuse())

    def _delay(self) -> None:
        seconds = self.dice.uniform(0.01, 0.3)
        self._link("delayed", lambda name: self.crowd.links[name].delay(seconds))

    def _link(self, how: str, do: Callable[[str], None]) -> None:
        name = self.dice.choice(list(self.crowd.links))
        if self._is_busy(name):
            return
        self.counts[f"{how}: {name.rpartition(' of ')[0] or name.partition(' ')[0]}"] += 1
        do(name)
        self._later(name, 8.0, self.crowd.links[name].mend)

    def _leader(self) -> int | None:
        with suppress(Exception):  # the database may be down
            return self.crowd.leader()
        return None
