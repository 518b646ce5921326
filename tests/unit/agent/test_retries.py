"""Calls that are made again until they succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.coordinator_errors import CallRefusedError, CoordinatorUnavailableError
from agent.retries import keep_trying

AWAY = CoordinatorUnavailableError("away")


class Script:
    """Answers with each outcome in turn, and keeps what was said and how long was waited."""

    def __init__(self, *outcomes: Exception | str) -> None:
        self._outcomes: Iterator[Exception | str] = iter(outcomes)
        self.told: list[Exception] = []
        self.pauses: list[float] = []

    async def work(self) -> str:
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def tried(
        self,
        failed: Callable[[Exception], None] | None = None,
        *,
        longest_seconds: float = 5.0,
        chance: float = 0.5,
        on: type[Exception] | tuple[type[Exception], ...] = CoordinatorUnavailableError,
    ) -> str:
        return await keep_trying(
            self.work,
            failed or self.told.append,
            on=on,
            longest_seconds=longest_seconds,
            pause=self.pause,
            chance=lambda: chance,
        )


async def test_what_succeeds_at_once_is_called_once_and_says_nothing() -> None:
    script = Script("done", "again")
    assert await script.tried() == "done"
    assert (script.told, script.pauses) == ([], [])


async def test_each_failure_is_told_before_a_pause_that_doubles_up_to_the_longest() -> None:
    script = Script(*[AWAY] * 6, "done")
    assert await script.tried(chance=0.0, longest_seconds=1.6) == "done"
    assert script.told == [AWAY] * 6
    assert script.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.8, 0.8])


async def test_half_of_a_pause_is_left_to_chance() -> None:
    pauses = []
    for chance in (0.0, 0.999):
        script = Script(AWAY, "done")
        await script.tried(chance=chance)
        pauses += script.pauses
    assert pauses == pytest.approx([0.1, 0.2], rel=0.01)


async def test_whoever_is_told_may_end_the_trying_before_the_pause() -> None:
    script = Script(*[AWAY] * 3)

    def failed(error: Exception) -> None:
        script.told.append(error)
        if len(script.told) == 2:
            raise TimeoutError from error

    with pytest.raises(TimeoutError):
        await script.tried(failed)
    assert len(script.pauses) == 1


async def test_any_other_failure_is_raised_at_once() -> None:
    script = Script(AWAY, CallRefusedError(403, "no"), "done")
    with pytest.raises(CallRefusedError):
        await script.tried()
    assert script.told == [AWAY]


async def test_several_kinds_of_failure_may_be_tried_again() -> None:
    script = Script(AWAY, KeyError("x"), "done")
    assert await script.tried(on=(CoordinatorUnavailableError, KeyError)) == "done"
    assert len(script.told) == 2
