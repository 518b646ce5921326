"""A build's whole log: that of every step, in order, each below a heading."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.errors import NotFound
from coordinator.domain.model import Attempt, Build, Step
from coordinator.domain.people.permissions import Principal
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from pipelines_schema import Problem

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeLog:
    """What there is to read, as it was when it was opened."""

    build: Build
    steps: Sequence[Step]
    attempts: Mapping[str, Sequence[Attempt]]
    """By step, in the order they were tried."""

    def parts(self) -> Iterator[tuple[str, Attempt | None, str]]:
        """Heading, the attempt whose log stands below it, and what is said after that."""
        if not self.steps:
            yield f"build {self.build.state.value}", None, _why(self.build)
        for step in self.steps:
            yield from _parts_of(step, self.attempts.get(step.id, ()))


@dataclass(frozen=True, slots=True)
class WholeLogs:
    core: Core

    async def open(self, principal: Principal, build_id: str) -> WholeLog:
        """Raises NotFound, also for another account's build."""

        async def read(connection: AsyncConnection) -> WholeLog | None:
            build = await stored.find_build(connection, build_id)
            if build is None or not principal.sees(build.account_id):
                return None
            return WholeLog(
                build=build,
                steps=await stored.steps_of_build(connection, build_id),
                attempts=await stored.attempts_of_build(connection, build_id),
            )

        found = await self.core.database.read(read)
        if found is None:
            raise NotFound("build not found")
        return found

    async def text(self, log: WholeLog) -> AsyncIterator[bytes]:
        """In pieces of bounded size, whatever the logs hold; of a running attempt what there is."""
        for heading, attempt, after in log.parts():
            yield f"=== {heading} ===\n".encode()
            ending = b"\n"
            if attempt is not None:
                async for data in self._log(attempt):
                    ending = data[-1:]
                    yield data
            if ending != b"\n":
                yield b"\n"
            if after:
                yield "".join(f"=== {line}\n" for line in after.splitlines()).encode()

    async def _log(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """Up to where it reached when its turn came, so that a busy script can't go on forever."""
        offset, size = 0, await self.core.logs.size(attempt.id)
        while offset < size:
            data = await self.core.logs.read(attempt.id, offset, min(READ_BYTES, size - offset))
            if not data:
                return
            offset += len(data)
            yield data


def _parts_of(step: Step, attempts: Sequence[Attempt]) -> Iterator[tuple[str, Attempt | None, str]]:
    if not attempts:
        reason = f" ({step.reason})" if step.reason else ""
        yield f"step {step.name}: {step.state.value}{reason}", None, step.message or ""
    for attempt in attempts:
        number = f", attempt {attempt.number}" if len(attempts) > 1 else ""
        last = attempt is attempts[-1]
        yield (
            f"step {step.name}{number}: {attempt.state.value}{_how(attempt)}",
            attempt,
            step.message or "" if last else "",
        )


def _how(attempt: Attempt) -> str:
    if attempt.reason is not None:
        return f" ({attempt.reason})"
    return f" (exit code {attempt.exit_code})" if attempt.exit_code else ""


def _why(build: Build) -> str:
    """A build without steps failed before it had any: that is all that there is to read."""
    problems: Sequence[Mapping[str, Any]] = build.problems
    lines = [build.reason or "", *(str(Problem.from_json(dict(one))) for one in problems)]
    return "\n".join(filter(None, lines))
