"""Which outputs of a build go, where some say themselves how long they stay."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.model import GoneOutput, Step
from coordinator.domain.upkeep.keeps import Kept, KeptPaths
from coordinator.domain.upkeep.retention import BuildFacts, Kind
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.upkeep import kept_outputs as stored
from coordinator.storage.upkeep.kept_outputs import LeftOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    kind: Kind
    """ARTIFACTS: those that say nothing themselves; KEEP: those whose own time is over."""
    over: Collection[int]
    left: Sequence[LeftOutput]
    by_step: Mapping[str, Collection[Kept]]
    """Of the steps that lose something: by which words."""

    @property
    def size(self) -> int:
        return sum(one.size for one in self.left)

    async def mark(self, core: Core, connection: AsyncConnection, build_id: str) -> None:
        """Before the first of them is deleted."""
        now = core.now()
        if self.kind is Kind.ARTIFACTS:
            await stored.mark_build(connection, build_id, self.by_step, now)
            return
        gone = {
            step_id: [
                GoneOutput(path=kept.path, seconds=kept.seconds, gone_at=now)
                for kept in sorted(its, key=lambda one: one.path)
            ]
            for step_id, its in self.by_step.items()
        }
        await stored.mark_steps(connection, gone)

    async def settle(self, connection: AsyncConnection, build_id: str) -> None:
        """After the last."""
        if self.kind is Kind.KEEP:
            await stored.forget_keeps(connection, build_id, self.over)

    def portions(self, most: int) -> Iterator[Sequence[LeftOutput]]:
        """At least one, which may be empty."""
        for begin in range(0, max(len(self.left), 1), most):
            yield self.left[begin : begin + most]


async def chosen_outputs(
    core: Core, facts: BuildFacts, kind: Kind, over: Collection[int]
) -> Chosen:
    """`over`: of its `keeps`, those whose outputs go."""
    steps, left = await core.database.read(
        lambda connection: stored.outputs_of_build(connection, facts.id)
    )
    # There may be very many names.
    return await asyncio.to_thread(_choose, steps, left, kind, over)


def _choose(
    steps: Sequence[Step], left: Sequence[LeftOutput], kind: Kind, over: Collection[int]
) -> Chosen:
    links: dict[str, dict[str, str]] = defaultdict(dict)
    for one in left:
        if one.target is not None:
            links[one.step_id][one.name] = one.target
    paths = {step.id: KeptPaths(step.written.output_keeps, links[step.id]) for step in steps}
    going: list[LeftOutput] = []
    by_step: dict[str, set[Kept]] = defaultdict(set)
    for one in left:
        kept = paths[one.step_id].of(one.name)
        if kept is None and kind is Kind.ARTIFACTS:
            by_step[one.step_id].update()
        elif kept is not None and kind is Kind.KEEP and kept.seconds in over:
            by_step[one.step_id].add(kept)
        else:
            continue
        going.append(one)
    return Chosen(kind=kind, over=over, left=going, by_step=by_step)
