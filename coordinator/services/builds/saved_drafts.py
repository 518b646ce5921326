"""A draft becomes a build: where the project has room for it, and every secret it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from coordinator.domain.builds.quotas import refusal
from coordinator.domain.errors import Conflict, TooMany
from coordinator.domain.lifecycle import FINISHED_STEP, StepState
from coordinator.domain.model import Build, Project, Step
from coordinator.domain.steps.step_words import label_fault, labelled, privilege_fault
from coordinator.services.builds.concurrency import joined
from coordinator.services.builds.drafted_steps import settled
from coordinator.services.builds.drafts import Draft, blocked
from coordinator.services.builds.whole_build import in_its_group, told_of
from coordinator.services.core import Core
from coordinator.services.images.own_images import image_problems
from coordinator.services.projects.archived import check_takes_builds
from coordinator.services.projects.secrets import Wanting, wanting_secrets
from coordinator.services.steps import advance, reuse, told
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.builds import keyed_requests as stored_requests
from coordinator.storage.builds import quotas as stored_quotas
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps.step_inputs import keep_lists
from coordinator.storage.steps.taken_over import take_over
from pipelines_schema import Problem

TRY_AGAIN_SECONDS = 60
_ITS_TURN = frozenset({StepState.READY, StepState.IN_LINE})
"""Of a new build's step, which waits for no other."""


async def save_asked_for(
    core: Core, connection: AsyncConnection, project: Project, wanted: Draft
) -> Build:
    """For one who waits for the answer. Raises TooMany, which says what is full."""
    why = await _refusal(core, connection, project, wanted)
    if why is not None:
        raise TooMany(why, retry_after=TRY_AGAIN_SECONDS)
    build = await _save(core, connection, project, wanted)
    if wanted.keyed is not None:
        await stored_requests.keep_answer(connection, wanted.keyed, build, core.now())
    return build


async def save_pushed(
    core: Core, connection: AsyncConnection, project: Project, wanted: Draft
) -> Build:
    """For what was pushed: where there is no room, a failed build says so, and can be retried."""
    why = await _refusal(core, connection, project, wanted)
    if why is not None:
        wanted = replace(wanted, steps=(), problems=[Problem(message=why)], reason=why, held=False)
    return await _save(core, connection, project, wanted)


async def _refusal(
    core: Core, connection: AsyncConnection, project: Project, wanted: Draft
) -> str | None:
    """A build that has failed already takes no room."""
    if wanted.problems or wanted.reason is not None:
        return None
    quotas = core.settings.quotas
    usage = await stored_quotas.usage_of(
        connection, project.account_id, project.id, quotas.waiting_steps
    )
    waiting = sum(step.state not in FINISHED_STEP for step in wanted.steps)
    return refusal(usage, quotas, new_steps=waiting, held=wanted.held)


async def _save(core: Core, connection: AsyncConnection, project: Project, wanted: Draft) -> Build:
    """Give a draft its number and save it with its steps; failed where a secret is missing, an
    image is another account's, or no agent can have a label. Raises Conflict for an archived
    project."""
    wanting: Sequence[Wanting] = ()
    to_run = [step for step in wanted.steps if not step.attempt]
    if not wanted.origin.of_fork:  # which gets none, and is not told which there are
        wanting = await wanting_secrets(connection, project, to_run, wanted.origin)
    if wanting:
        problems = [_secret_problem(project, wanted, one) for one in wanting]
        reason = _secrets_reason(wanting)
        wanted = replace(wanted, steps=(), problems=problems, reason=reason)
    number = await stored_projects.next_build_number(connection, project.id)
    if number is None:
        check_takes_builds(await stored_projects.find_project(connection, project.id))
        raise Conflict("this project was deleted")
    build = wanted.build(project, number, core.now())
    wanted = replace(wanted, steps=[labelled(step, build) for step in wanted.steps])
    refused = [
        *await image_problems(core, connection, project, to_run, build, wanted.file),
        *(Problem(message=fault) for fault in map(label_fault, wanted.steps) if fault),
        *_privilege_problems(project, build, to_run),
    ]
    if refused:
        wanted = replace(wanted, steps=(), problems=[*wanted.problems, *refused])
        build = wanted.build(project, number, core.now())
    build = await joined(core, connection, build)
    if build.in_line:
        wanted = blocked(wanted)
    grouped = [_as_saved(step, build, project) for step in wanted.steps]
    looked = await reuse.look(core, connection, build, grouped, at=_ITS_TURN)
    if looked.steps:
        grouped = settled([looked.steps.get(step.id, step) for step in grouped], core.now())
        build = _begun_by(build, grouped, core.now())
    steps = [advance.queued(core, step) for step in grouped]
    await stored_builds.insert_build(connection, build, steps)
    if wanted.input_lists:
        await keep_lists(connection, project.id, wanted.input_lists, core.now())
    await looked.save(core, connection, build)
    for group in dict.fromkeys(_groups_in_line(steps)):
        await advance.fill_places(core, connection, project.account_id, group)
    await told.tell_new(core, connection, build, steps)
    if any(step.state is StepState.RESOLVING for step in steps):  # of a retry
        after_commit(connection, core.announcements.resolving)
    if wanted.taken_over_from is not None and steps:
        await take_over(
            connection, project.id, old_build=wanted.taken_over_from, new_build=build.id
        )
    if looked.steps and build.open_gates == 0 and _all_ended(steps):
        await advance.settle_build(core, connection, build.id)
        return await stored_builds.find_build(connection, build.id) or build
    return build


def _privilege_problems(project: Project, build: Build, steps: Sequence[Step]) -> Iterator[Problem]:
    for step in steps:
        if fault := privilege_fault(step, build, project):
            yield Problem(message=fault)


def _as_saved(step: Step, build: Build, project: Project) -> Step:
    step = told_of(step, told=project.tells and project.status_per_step)
    return in_its_group(step, build, project)


def _begun_by(build: Build, steps: Sequence[Step], now: datetime) -> Build:
    """After some steps have succeeded already: with the gates that this has opened."""
    gates = sum(step.state is StepState.WAITING for step in steps)
    over = _all_ended(steps)
    return replace(build, open_gates=gates, started_at=now if over else build.started_at)


def _all_ended(steps: Sequence[Step]) -> bool:
    return all(step.state in FINISHED_STEP for step in steps)


def _groups_in_line(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        if step.state is StepState.IN_LINE and step.concurrency_group is not None:
            yield step.concurrency_group


def _secrets_reason(wanting: Sequence[Wanting]) -> str:
    missing = [one.name for one in wanting if one.missing]
    refused = [one.name for one in wanting if not one.missing]
    said = []
    if missing:
        said.append(f"missing {_secrets(missing)}: {', '.join(missing)}")
    if refused:
        said.append(f"{_secrets(refused)} for other branches: {', '.join(refused)}")
    return "; ".join(said)


def _secrets(names: Sequence[str]) -> str:
    return "secret" if len(names) == 1 else "secrets"


def _secret_problem(project: Project, wanted: Draft, one: Wanting) -> Problem:
    file, place = wanted.secret_places.get(one.name, (None, None))
    remedy = f": `pushrod secret set {project.account_slug}/{project.slug} {one.name}`"
    return Problem(
        message=f"step `{one.step}` needs the secret {one.name}, {one.why}"
        + (remedy if one.missing else ""),
        file=file,
        line=place.line if place else None,
        column=place.column if place else None,
    )
