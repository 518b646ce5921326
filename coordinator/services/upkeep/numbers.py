"""What operators look at, as Prometheus reads it: the meter's counts, and how things stand now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import AgentRecord
from coordinator.domain.steps.demand import Demand
from coordinator.services.core import Core
from coordinator.services.steps.demand import demand_of
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.upkeep.disks import disks_of, free_bytes
from coordinator.services.upkeep.health import OK, Health
from coordinator.storage.builds.deletions import count_doomed
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox.messages import waiting_messages
from coordinator.storage.people.accounts import list_agents
from coordinator.storage.projects.projects import project_names
from coordinator.storage.steps.queue import handed_out_per_project

MAX_GROUPS = 100
"""Of waiting steps, told apart by what they want; the smaller ones are counted together."""
MAX_AGENTS = 100
"""Whose disks are told, those with the least room first."""
OTHER = "other"
Values = Mapping[tuple[str, ...], float]
"""By the labels' values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    agents: Sequence[AgentRecord]
    running: int
    names: Mapping[str, str]
    messages: int
    doomed: int


async def numbers(core: Core, dispatch: Dispatch, health: Health) -> bytes:
    """In Prometheus' text format. Costs a few statements, and a row per waiting step."""
    counted = dict(core.meter.builds)

    async def read(connection: AsyncConnection) -> _Read:
        return _Read(
            agents=await list_agents(connection, None),
            running=sum((await handed_out_per_project(connection)).values()),
            names=await project_names(connection, {one for one, _ in counted if one is not None}),
            messages=await waiting_messages(connection),
            doomed=await count_doomed(connection),
        )

    found, demand = await core.database.read(read), await demand_of(core, dispatch, None)
    registry = CollectorRegistry()
    registry.register(
        _Families(
            [
                _version(),
                *_of_health(await health.checks()),
                await asyncio.to_thread(_free_bytes, core),
                *_of_agents_disks(dispatch),
                _gauge(
                    "retention_waiting_objects",
                    "Of deleted things, still to be deleted from the store.",
                    found.doomed,
                ),
                *_of_steps(core, demand, found.running),
                *_of_agents(dispatch, found.agents),
                _of_builds(counted, found.names),
                _gauge(
                    "messages_waiting",
                    "Messages to others that were not taken yet.",
                    found.messages,
                ),
            ]
        )
    )
    return generate_latest(core.meter.registry) + generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pushrod_{name}", meaning, value=value)


def _gauges(name: str, meaning: str, labels: Sequence[str], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"pushrod_{name}", meaning, labels=labels)
    for its, value in values.items():
        family.add_metric(its, value)
    return family


def _version() -> GaugeMetricFamily:
    return _gauges("info", "Always 1.", ["version"], {(version("pushrod"),): 1})


def _of_health(checks: Mapping[str, str]) -> Iterator[GaugeMetricFamily]:
    answers: Values = {(name,): words == OK for name, words in checks.items()}
    yield _gauges("ready", "Whether what /readyz looks at is in order.", ["check"], answers)


def _free_bytes(core: Core) -> GaugeMetricFamily:
    """Blocking."""
    disks = disks_of(core.settings).items()
    rooms: Values = {(place,): free_bytes(folder) for place, folder in disks}
    meaning = "By what lies there, once for each disk; objects and repositories may be with data."
    return _gauges("disk_free_bytes", meaning, ["place"], rooms)


def _of_agents_disks(dispatch: Dispatch) -> Iterator[GaugeMetricFamily]:
    """Of the agents with the least room above their floor: of its data, or of its engine."""
    disks = [(one.disk, one.name) for one in dispatch.online() if one.disk is not None]
    disks.sort(key=lambda one: one[0].free - (one[0].floor or 0))
    rooms: dict[tuple[str, ...], float] = {}
    for disk, name in disks[:MAX_AGENTS]:
        rooms.setdefault((name,), disk.free)
    meaning = "Of an agent's data or engine, whichever has less."
    yield _gauges("agent_disk_free_bytes", meaning, ["agent"], rooms)
    short = sum(disk.is_short for disk, _ in disks)
    yield _gauge("agents_short_of_disk", "Agents that take no work because of that.", short)


def _of_steps(core: Core, demand: Sequence[Demand], running: int) -> Iterator[GaugeMetricFamily]:
    now = core.now()
    counts: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for number, one in enumerate(demand):
        group = (_wanted(one) if number < MAX_GROUPS else OTHER,)
        counts[group] = counts.get(group, 0) + one.waiting
        age = max((now - one.oldest).total_seconds(), 0.0)
        ages[group] = max(ages.get(group, 0.0), age)
    meaning = "Steps that a further agent would take, by the labels and capabilities they want."
    yield _gauges("steps_waiting", meaning, ["wants"], counts)
    yield _gauges("steps_waiting_oldest_seconds", "Of the first of them.", ["wants"], ages)
    yield _gauge("steps_running", "Steps that are handed out to agents.", running)


def _wanted(demand: Demand) -> str:
    """`os=debian imageBuilds`, or nothing for steps that any agent takes."""
    labels = (f"{key}={value}" for key, value in sorted(demand.labels.items()))
    return " ".join([*labels, *sorted(demand.needs)])


def _of_agents(dispatch: Dispatch, agents: Sequence[AgentRecord]) -> Iterator[GaugeMetricFamily]:
    online = [one for one in agents if dispatch.is_online(one.id)]
    states: Values = {
        ("online",): len(online),
        ("offline",): len(agents) - len(online),
        ("paused",): sum(one.paused for one in online),
        ("drained",): sum(one.drained for one in online),
    }
    yield _gauges("agents", "Agents; paused and drained ones are online, too.", ["state"], states)
    yield _gauge("slots", "Of the agents that are online.", sum(one.slots for one in online))
    free = sum(one.free for one in dispatch.online() if not one.paused)
    yield _gauge("slots_free", "Of the agents that are online and take steps.", free)


def _of_builds(
    counted: Mapping[tuple[str | None, BuildState], int], names: Mapping[str, str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "pushrod_builds", "Builds that ended, by project and how.", labels=["project", "state"]
    )
    told: dict[tuple[str, str], int] = {}
    for (project_id, state), count in counted.items():
        key = (names.get(project_id or "", OTHER), state.value)
        told[key] = told.get(key, 0) + count
    for labels, count in told.items():
        family.add_metric(labels, count)
    return family
