"""Why a step waits, as a sentence for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.steps.gates import approval_by, approver_of
from coordinator.domain.steps.scheduling import QueueClass, WaitingAgent, has_labels, serves, suits
from pipelines_schema import Gate
from pipelines_schema.contract import Capability
from pipelines_schema.platforms import needed_platform

FOR_APPROVAL = "waits for a maintainer to approve the build"
FOR_START = "waits for the build to be started"
RESOLVING = "waits until the outputs that it names are looked up"
NO_AGENT = "no agent is connected: start one with `pushrod agent`"
_SINCE_LATELY = {
    Capability.USERS.value: "`user`",
    Capability.SHELLS.value: "`workdir` or `shell`",
    Capability.INPUTS.value: "`inputs`",
    Capability.SERVICES.value: "`services`",
    Capability.HEALTH_CHECKS.value: "`health_check`",
    Capability.IMAGE_OPTIONS.value: "`build` with all that it says",
}
"""What older agents don't know of a step, by what it needs."""
NO_CAPABLE_AGENT = (
    "no connected agent can build images: start one with `pushrod agent --engine buildkit`"
)

NO_AGENT_FOR_PROGRAMS = (
    "no connected agent can run images, which the host engine can't: start one with "
    "`pushrod agent --engine buildkit --label deploy=true`"
)
NOT_ALLOWED = (
    "the step is `privileged`, which no connected agent allows: start one on a machine of its own "
    "with `pushrod agent --allow-privileged`"
)
FOR_PLATFORM = (
    "waits for an agent of {platform}: start one there with `pushrod agent --engine buildkit`, or "
    "install QEMU's binfmt handlers on an agent's machine and start its engine again; its engine "
    "must be a buildkitd, or a Docker Engine with containerd's image store"
)
FOR_JOINING = (
    "waits for an agent that joins the parts of an image: its engine must be a buildkitd, or a "
    "Docker Engine with containerd's image store"
)
MAX_HOLDERS = 5
"""Of a group, told by name."""
PAUSED = "all agents that fit are paused: let one go on with `pushrod agent resume`"
BUSY = "all agents that fit are busy"
FREE = "waits for its turn: an agent that fits has a free slot"
BUSY_WITH_PROGRAMS = (
    f"{BUSY}: each running deployment keeps a slot, so stop one, or start an agent with more "
    "--slots"
)


def why_it_waits(
    step: Step,
    build: Build | None,
    unfinished: Sequence[str],
    online: Sequence[WaitingAgent],
    most_of_a_project: int | None = None,
    holders: Sequence[str] = (),
    free: Sequence[WaitingAgent] = (),
    *,
    now: datetime,
) -> str | None:
    """None for a step that doesn't wait. `unfinished` are the steps it depends on; the build is
    needed where there are none. `holders` have the places in its group; the agents that are
    `free` have a slot for which nothing was offered yet."""
    match step.state:
        case StepState.BLOCKED if not unfinished:
            return why_it_is_held(build) if build else None
        case StepState.BLOCKED:
            return f"waits for {', '.join(unfinished)}"
        case StepState.IN_LINE:
            return for_a_place(step, holders)
        case StepState.WAITING:
            return f"waits for {_approval(step, build)}"
        case StepState.RESOLVING:
            return RESOLVING
        case StepState.DELAYED:
            return until_tried_again(step, now)
        case StepState.OFFERED:
            return "is offered to an agent"
        case StepState.READY if any(_fits(agent, step) for agent in free):
            limit = f", but its project may run {most_of_a_project} at once"
            return FREE if most_of_a_project is None else FREE + limit
        case StepState.READY:
            return why_nobody_takes_it(step, online, most_of_a_project)
        case _:
            return None


def _fits(agent: WaitingAgent, step: Step) -> bool:
    wanted = QueueClass(id="", account_id=step.account_id, labels=step.labels, needs=step.needs)
    return suits(wanted, agent)


def why_it_is_held(build: Build) -> str:
    """One in line waits for its turn, what outsiders wrote for approval; any other was made to be
    started later."""
    if build.in_line:
        return f"waits for the build that is on its way in the group `{build.concurrency_group}`"
    return FOR_APPROVAL if build.of_fork else FOR_START


def not_taken(
    step: Step,
    seconds: float,
    online: Sequence[WaitingAgent],
    most_of_a_project: int | None = None,
    build: Build | None = None,
) -> str:
    """The reason of a step that waited too long, for an agent or, for which its build is needed,
    for an answer."""
    if step.state is StepState.WAITING:
        return f"no answer within {duration(seconds)}: it waited for {_approval(step, build)}"
    why = why_nobody_takes_it(step, online, most_of_a_project)
    return f"no agent took it within {duration(seconds)}: {why}"


def for_a_place(step: Step, holders: Sequence[str] = ()) -> str:
    why = f"waits for a place in the group `{step.concurrency_group}`"
    if not holders:
        return why
    more = len(holders) - MAX_HOLDERS
    named = ", ".join(holders[:MAX_HOLDERS]) + (f" and {more} more" if more > 0 else "")
    return f"{why}, taken by {named}"


def until_tried_again(step: Step, now: datetime) -> str:
    left = 0.0 if step.queue_until is None else (step.queue_until - now).total_seconds()
    seconds = max(math.ceil(left), 0)
    if seconds < 120:
        return f"tried again in {seconds} s"
    return f"tried again in {math.ceil(seconds / 60)} min"


def _approval(step: Step, build: Build | None) -> str:
    gate = step.written.approve or Gate()
    return approval_by(approver_of(gate, of_fork=build is not None and build.of_fork))


def duration(seconds: float) -> str:
    """As a workflow says it: `90s`, `10m`, `24h`, `7d`."""
    days = (("d", 86400),) if seconds > 86400 else ()
    for unit, size in (*days, ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def why_nobody_takes_it(
    step: Step, online: Sequence[WaitingAgent], most_of_a_project: int | None = None
) -> str:
    serving = [agent for agent in online if serves(agent, step.account_id)]
    if not serving:
        return NO_AGENT
    capable = [agent for agent in serving if agent.capabilities.issuperset(step.needs)]
    if not capable:
        return _why_none_can(step, serving)
    fitting = [agent for agent in capable if has_labels(agent, step.labels)]
    if not fitting:
        wanted = ", ".join(f"{key}={value}" for key, value in step.labels.items())
        options = " ".join(f"--label {key}={value}" for key, value in step.labels.items())
        return (
            f"no connected agent has the labels {wanted}: start one with `pushrod agent {options}`"
        )
    if all(agent.paused for agent in fitting):
        return PAUSED
    taking = [agent for agent in fitting if not agent.paused]
    if all(agent.disk and agent.disk.is_short for agent in taking):
        return _short_of_disk(taking)
    busy = BUSY_WITH_PROGRAMS if step.definition.program else BUSY
    if most_of_a_project is None:
        return busy
    return f"{busy}, or its project runs {most_of_a_project} steps, as many as it may"


def _short_of_disk(agents: Sequence[WaitingAgent]) -> str:
    """Of agents of which each is."""
    said = ", ".join(
        f"{agent.name} has {_size(agent.disk.free)} free and takes work from "
        f"{_size(agent.disk.floor or 0)} on"
        for agent in agents[:MAX_HOLDERS]
        if agent.disk
    )
    more = f", and {len(agents) - MAX_HOLDERS} more" if len(agents) > MAX_HOLDERS else ""
    return f"all agents that fit are short of disk: {said}{more}"


def _size(count: int) -> str:
    """`1.2 GiB`, or whole MiB below one."""
    gibibytes = count / 1024**3
    return f"{gibibytes:.1f} GiB" if gibibytes >= 1 else f"{count // 1024**2} MiB"


def _why_none_can(step: Step, serving: Sequence[WaitingAgent]) -> str:
    runs_images = Capability.OWN_COMMANDS.value
    if step.definition.program and not any(runs_images in one.capabilities for one in serving):
        return NO_AGENT_FOR_PROGRAMS
    platform = next(filter(None, map(needed_platform, step.needs)), None)
    if platform is not None:
        return FOR_PLATFORM.format(platform=platform)
    if step.definition.parts:
        return FOR_JOINING
    privileged = Capability.PRIVILEGED.value
    if privileged in step.needs and not any(privileged in one.capabilities for one in serving):
        return NOT_ALLOWED
    builds_images = Capability.IMAGE_BUILDS.value
    if builds_images in step.needs and not any(
        builds_images in agent.capabilities for agent in serving
    ):
        return NO_CAPABLE_AGENT
    unknown = " and ".join(words for need, words in _SINCE_LATELY.items() if need in step.needs)
    return f"no connected agent knows the step's {unknown}: update the agents"
