"""The limits of retention that somebody set, and builds that are pinned against them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.domain.errors import Conflict, Forbidden, NotFound
from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.upkeep.retention import TOTAL, Limits, Rules
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.news import build_topic
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.upkeep import retention as stored
from coordinator.storage.upkeep.retention import INSTALLATION, Given

__all__ = ["INSTALLATION", "NOT_OF_ALL", "Retention"]

GivenLimits = Mapping[str, Mapping[str, int]]
"""Kind → days, number, bytes."""
NOT_OF_ALL = "the installation's limits are of all accounts: a token of all accounts sets them"


@dataclass(slots=True)
class Retention:
    core: Core
    version: int = 0
    """Counted up with each change, in the writer's transactions, where it is read, too."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be more to delete than before."""

    async def is_enforced(self) -> bool:
        """Else it is only told what would be deleted."""
        return (await self._given(INSTALLATION)).enforced

    async def rules(self, project_id: str | None) -> Rules:
        """That hold for the project; for None those of projects which have none of their own."""
        rules = Rules().with_those((await self._given(INSTALLATION)).rules)
        if project_id is None:
            return rules
        return rules.with_those((await self._given(project_id)).rules).within(rules)

    async def total(self) -> Limits:
        """Of all projects together."""
        return Limits.from_json((await self._given(INSTALLATION)).rules.get(TOTAL, {}))

    async def own(self, scope_id: str) -> GivenLimits:
        """What was set for the project itself, or for the INSTALLATION."""
        return (await self._given(scope_id)).rules

    async def _given(self, scope_id: str) -> Given:
        found = await self.core.database.read(
            lambda connection: stored.given_for(connection, scope_id)
        )
        return found or Given(rules={}, enforced=False)

    async def set_rules(
        self,
        principal: Principal,
        project: Project | None,
        limits: Mapping[str, Mapping[str, int] | None],
        *,
        enforced: bool | None = None,
    ) -> None:
        """Kinds that are not named stay; None takes what was set back. `enforced` is for the
        installation alone. Raises Forbidden."""
        principal.require(Right.MANAGE if project else Right.ADMINISTER)
        if project is None and principal.account_id is not None:
            raise Forbidden(NOT_OF_ALL)
        scope_id = project.id if project else INSTALLATION

        async def save(connection: AsyncConnection) -> None:
            before = await stored.given_for(connection, scope_id)
            before = before or Given(rules={}, enforced=False)
            merged = {**before.rules, **limits}
            rules = {kind: its for kind, its in merged.items() if its is not None}
            given = Given(rules=rules, enforced=before.enforced if enforced is None else enforced)
            await stored.save_given(connection, scope_id, given, self.core.now())
            self.version += 1
            details = (
                {"rules": rules, "enforced": given.enforced} if not project else {"rules": rules}
            )
            deed = Deed(self.core, principal, project)
            await deed.record(connection, "retention.set", **details)

        await self.core.database.write(save, committed=lambda _: self.changed.set())

    async def pin(self, principal: Principal, build_id: str, *, pinned: bool) -> Build:
        """No limit reaches a pinned build; doing it twice is doing it once. Raises NotFound."""
        principal.require(Right.BUILD)

        async def save(connection: AsyncConnection) -> Build:
            build = await stored_builds.find_build(connection, build_id)
            if build is None or not principal.sees(build.account_id):
                raise NotFound("build not found")
            if pinned and build.artifacts_gone_at and build.logs_gone_at:
                raise Conflict("nothing is left of this build to keep: its logs and artifacts went")
            if pinned == (build.pinned_by is not None):
                return build
            await stored_builds.update_build(
                connection,
                build.id,
                now=self.core.now(),
                pinned_by=principal.name if pinned else None,
            )
            what = "build.pinned" if pinned else "build.unpinned"
            await Deed(self.core, principal, build).record(connection, what)
            return await stored_builds.find_build(connection, build_id) or build

        return await self.core.database.write(
            save, committed=lambda build: self.core.news.publish(build_topic(build.id))
        )
