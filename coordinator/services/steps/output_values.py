"""What a worker with bash and curl alone says that its script hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Invalid
from coordinator.domain.model import Step
from coordinator.domain.people.permissions import Principal
from coordinator.domain.steps.late_reports import may_be_reported_on
from coordinator.services.projects.secrets import open_secrets
from coordinator.services.steps.runner import Runner
from coordinator.storage.builds.builds import find_build
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.output_values import mark_build
from coordinator.storage.steps.attempts import set_outputs
from pipelines_schema.step_outputs import OutputsError, read_outputs

MIN_SECRET_CHARACTERS = 3
"""Shorter ones are in nearly every text."""


@dataclass(frozen=True, slots=True)
class OutputValues:
    runner: Runner

    async def store(
        self, principal: Principal, step_id: str, epoch: int | None, written: bytes
    ) -> None:
        """Keep what the script wrote to `$PUSHROD_OUTPUT`, instead of what was sent before.

        Raises Invalid for mistakes in it, and for a value that holds a secret of the step as it is;
        Conflict for an attempt that has ended.
        """
        try:
            values = read_outputs(written)
        except OutputsError as error:
            raise Invalid(str(error)) from error

        async def save(connection: AsyncConnection) -> None:
            step, attempt = await self.runner.attempt_in(connection, principal, step_id, epoch)
            if not may_be_reported_on(step, attempt):
                raise Conflict("this attempt has ended", stale=True)
            secrets = await self._secrets(connection, step)
            for key, value in values.items():
                if any(_holds(f"{key}\n{value}", secret) for secret in secrets.values()):
                    raise Invalid(f"$PUSHROD_OUTPUT: `{key}` holds a secret of the step")
            await set_outputs(connection, attempt, values)
            await mark_build(connection, step.build_id)

        await self.runner.core.database.write(save)

    async def _secrets(self, connection: AsyncConnection, step: Step) -> Mapping[str, str]:
        """None of outsiders' code, which is not given any: it must not find out by guessing."""
        build = await find_build(connection, step.build_id)
        if build is None or build.of_fork:
            return {}
        core, names = self.runner.core, step.written.secrets
        return await open_secrets(core, connection, step, names, build)


def _holds(text: str, secret: str) -> bool:
    return len(secret) >= MIN_SECRET_CHARACTERS and secret in text
