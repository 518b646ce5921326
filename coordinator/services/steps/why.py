"""Why a step was run: what differed from its nearest success; or what it was taken from."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.errors import NotFound
from coordinator.domain.lifecycle import FINISHED_STEP, StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.steps.reuse import never_reused
from coordinator.domain.steps.reuse_differences import differences
from coordinator.domain.steps.reuse_scopes import described, readable_from
from coordinator.services.core import Core
from coordinator.storage.builds.builds import find_build, ids_of_numbers
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import step_inputs as stored
from coordinator.storage.steps.step_inputs import StepInputs
from coordinator.storage.steps.steps import find_step

NOT_YET = "its turn has not come yet: it is looked at once all it depends on has succeeded"
NEVER_WAS = "it never came to be run"
NOT_ASKED = "its image's digest was not known from the last 24 hours"
AT_THE_TIME = "nothing differs: the earlier one had not succeeded yet when this one's turn came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    answer: str
    """A sentence."""
    taken_from: int | None = None
    """Number of the build that ran it, where its result was taken."""
    laptop_of: str | None = None
    """Who sent that result, where no agent has run it."""
    compared_with: int | None = None
    """Number of the build of the nearest success that it might have been taken from."""
    other_build_id: str | None = None
    """Id of the build of one of these numbers, as long as it is there."""
    differences: Sequence[str] = ()
    """From that."""
    never: str | None = None
    """Why no earlier result was looked for."""
    not_kept: str | None = None
    """Why no later build takes its result."""


@dataclass(frozen=True, slots=True)
class WhySteps:
    core: Core

    async def why(self, principal: Principal, step_id: str) -> Why:
        """Raises NotFound."""
        principal.require(Right.READ)

        async def read(connection: AsyncConnection) -> Why:
            step = await find_step(connection, step_id)
            if step is None or not principal.sees(step.account_id):
                raise NotFound("step not found")
            build = await find_build(connection, step.build_id)
            if build is None:
                raise NotFound("step not found")
            return await _with_id(connection, build, await _why(connection, build, step))

        return await self.core.database.read(read)


async def _with_id(connection: AsyncConnection, build: Build, why: Why) -> Why:
    number = why.taken_from or why.compared_with
    if number is None:
        return why
    ids = await ids_of_numbers(connection, build.project_id, [number])
    return replace(why, other_build_id=ids.get(number))


async def _why(connection: AsyncConnection, build: Build, step: Step) -> Why:
    inputs = await stored.find_inputs(connection, step.id)
    if inputs is not None and inputs.taken_from is not None:
        return Why(
            answer=f"it was not run: its result is that of {_place(inputs)}, which had equal "
            "inputs",
            taken_from=inputs.taken_from,
            laptop_of=inputs.laptop_of,
        )
    if inputs is not None and inputs.laptop_of is not None:
        return Why(
            answer=f"it ran on the laptop of {inputs.laptop_of}, who sent its result",
            laptop_of=inputs.laptop_of,
        )
    never = never_reused(step, build)
    if never is not None:
        return Why(answer=f"it was not looked for an earlier result: {never}", never=never)
    if inputs is None:
        return Why(answer=_without_inputs(step))
    return await _compared(connection, inputs)


def _place(inputs: StepInputs) -> str:
    number = f"#{inputs.taken_from}"
    return (
        number
        if inputs.laptop_of is None
        else f"{number}, sent from the laptop of {inputs.laptop_of}"
    )


def _without_inputs(step: Step) -> str:
    if step.state is StepState.BLOCKED or step.state not in FINISHED_STEP:
        return NOT_YET
    return f"{NEVER_WAS} ({step.reason})" if step.reason else NEVER_WAS


async def _compared(connection: AsyncConnection, inputs: StepInputs) -> Why:
    scopes = readable_from(inputs.scope)
    before = await stored.nearest_success(connection, inputs, scopes)
    if before is None:
        return Why(
            answer="it ran, for no earlier build has a success of it that could be taken (looked "
            f"for among {described(inputs.scope)})",
            not_kept=inputs.never,
        )
    files = await _files(connection, inputs, before)
    found = differences(
        inputs.parts, before.parts, files.get(inputs.files or ""), files.get(before.files or "")
    )
    if inputs.parts.get("image") is None:
        found = [one for one in found if one != "image digest changed"]
    if not found:
        found = [NOT_ASKED if inputs.asked else AT_THE_TIME]
    return Why(
        answer=f"it ran, for it differs from #{before.build_number}: {', '.join(found)}",
        compared_with=before.build_number,
        differences=found,
        not_kept=inputs.never,
    )


async def _files(connection: AsyncConnection, *rows: StepInputs) -> Mapping[str, Mapping[str, str]]:
    digests = list(dict.fromkeys(row.files for row in rows if row.files))
    packed = await stored.find_lists(connection, rows[0].project_id, digests)
    return {digest: json.loads(zlib.decompress(one)) for digest, one in packed.items()}
