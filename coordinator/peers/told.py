"""What a coordinator beside the leader only tells: who counts it and who waits for it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from coordinator.domain.lifecycle import BuildState
from coordinator.services.announcements import Announcements
from coordinator.services.core import Core
from coordinator.services.meter import Meter
from coordinator.services.news import News, log_topic
from coordinator.services.others import Hear, LeftToTheLeader, Others, Word


class ToldMeter(Meter):
    """Of what becomes of steps and builds; what this process alone can count it counts."""

    def __init__(self, others: Others) -> None:
        super().__init__()
        self._others = others

    def step_waited(self, seconds: float) -> None:
        self._others.tell(Word.WAITED, round(seconds, 4))

    def attempts_ended(self, outcome: str, times: int) -> None:
        self._others.tell(Word.ATTEMPT, outcome, times=times)

    def build_ended(self, build_id: str, project_id: str, state: BuildState) -> None:
        self._others.tell(Word.BUILD, build_id, project_id, state.value)


class ToldNews(News):
    def __init__(self, others: Others) -> None:
        super().__init__()
        self._others = others

    def publish(self, topic: str) -> None:
        super().publish(topic)
        self._others.tell(Word.TOPIC, topic)


def told_announcements(others: Others) -> Announcements:
    """What is part of a transaction is the leader's: it is not run here."""
    return Announcements(
        resolving=lambda: others.tell(Word.RESOLVING),
        begun=lambda: others.tell(Word.CLOCK),
        succeeded=_left_to_the_leader,
        moved=_left_to_the_leader,
        gates_wait=_left_to_the_leader,
        steps_added=_left_to_the_leader,
        step_moved=_left_to_the_leader,
    )


async def _left_to_the_leader(*_: object) -> None:
    raise LeftToTheLeader


def heard_by_the_leader(core: Core) -> Mapping[Word, Hear]:
    """What to do upon these words."""
    meter, announcements = core.meter, core.announcements

    def build_ended(_: int, build_id: str, project_id: str, state: str) -> None:
        meter.build_ended(build_id, project_id, BuildState(state))
        announcements.ended(build_id)

    def log_grew(size: int, attempt_id: str) -> None:
        meter.log_stored(size)
        core.news.publish(log_topic(attempt_id))

    def waited(times: int, seconds: float) -> None:
        for _ in range(times):
            meter.step_waited(seconds)

    return {
        Word.LOG: log_grew,
        Word.TOPIC: lambda _, topic: core.news.publish(topic),
        Word.RESOLVING: lambda _: announcements.resolving(),
        Word.CLOCK: lambda _: announcements.begun(),
        Word.BUILD: build_ended,
        Word.ATTEMPT: lambda times, outcome: meter.attempts_ended(outcome, times),
        Word.WAITED: waited,
    }


def missed_by_the_leader(core: Core, wake: Callable[[], None]) -> Callable[[], None]:
    """What to do where words may have been lost: whoever waits looks."""

    def look() -> None:
        core.news.stir()
        core.announcements.resolving()
        core.announcements.begun()
        wake()

    return look
