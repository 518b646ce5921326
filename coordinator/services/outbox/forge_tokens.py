"""The token with which a project's forge is told of its builds, encrypted at rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coordinator.domain.errors import Conflict, Invalid
from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import GIVE_UP_AFTER, checked_token
from coordinator.domain.outbox.forge_place import (
    AppKey,
    ForgePlace,
    Forges,
    checked_forge_url,
    forge_url_of,
    guessed_forge,
    repository_at,
)
from coordinator.domain.outbox.messages import RecipientKind
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import RefusedUrl, check_policy, parse_url
from coordinator.services.core import Core
from coordinator.services.outbox.app_tokens import signed_token
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox import recipients as stored
from coordinator.storage.outbox.messages import forget_recipient
from coordinator.storage.projects.sealed_things import RECIPIENTS

MAX_TOKEN_CHARACTERS = 4_000
GITHUB = "github"
MAX_KINDS = 100

_SEALED = SealedThings(
    table=RECIPIENTS,
    purpose="recipient {project_id} {kind} {address}",
    key=("kind",),
    most=MAX_KINDS,
    set_action="forge_token.set",
    remove_action="forge_token.removed",
    noted=("forge", "forge"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeAccess:
    """What somebody gives for their forge."""

    token: str | None
    """Or an App."""
    app: AppKey | None = None
    forge: str | None = None
    """None: as the project says, or by the name of the repository's host."""
    url: str | None = None
    """Of the forge; None: it is at the root of the repository's host."""


@dataclass(frozen=True, slots=True)
class ForgeTokens:
    core: Core
    forges: Forges
    released: Callable[[str], None]
    """A recipient may be tried again at once."""

    async def set(self, principal: Principal, project: Project, access: ForgeAccess) -> Recipient:
        """Keep the project's one. Raises Invalid, Conflict."""
        principal.require(Right.MANAGE)
        if project.repo_url is None:
            raise Conflict("this project has no repoUrl: its source is what is pushed here")
        forge = self._forge(access.forge, project.repo_url, project.forge)
        address = self._address(access.url, project.repo_url)
        plain = json.dumps(_checked(access, forge, self.core.now()))

        async def also(connection: AsyncConnection) -> None:
            now = self.core.now()
            await stored.count_tells(connection, project.id)
            await stored.revive(connection, project.id, now - GIVE_UP_AFTER, now)

        await _SEALED.set(
            self.core,
            principal,
            project,
            plain,
            also=also,
            id=project.id,
            kind=RecipientKind.STATUS.value,
            forge=forge,
            address=address,
        )
        self.released(project.id)
        recipient = await self.of(project)
        if recipient is None:
            raise Conflict("the token was removed meanwhile")
        return recipient

    async def remove(self, principal: Principal, project: Project) -> None:
        """Raises NotFound where there is none."""
        principal.require(Right.MANAGE)

        async def also(connection: AsyncConnection) -> None:
            await forget_recipient(connection, project.id, self.core.now())
            await stored.count_tells(connection, project.id)

        await _SEALED.remove(
            self.core,
            principal,
            project,
            "this project has no token for its forge",
            also=also,
            kind=RecipientKind.STATUS.value,
        )

    async def of(self, project: Project) -> Recipient | None:
        return await self.core.database.read(
            lambda connection: stored.find_recipient(connection, project.id)
        )

    async def of_all(self, projects: Sequence[Project]) -> Mapping[str, Recipient]:
        """By project: where its statuses go, if anywhere."""
        ids = [project.id for project in projects if project.tells]
        if not ids:
            return {}
        return await self.core.database.read(lambda connection: stored.forges_of(connection, ids))

    def _forge(self, named: str | None, repo_url: str, said: str | None) -> str:
        forge = named or guessed_forge(self.forges, repo_url, said)
        if forge is None:
            families = ", ".join(dict.fromkeys(one.family for one in self.forges.values()))
            raise Invalid(f"what kind of forge is at {repo_url}? Name it (--forge): {families}")
        if forge not in self.forges:
            known = ", ".join(self.forges)
            raise Invalid(f"there is no forge {forge[:50]!r}: known are {known}")
        return forge

    def _address(self, named: str | None, repo_url: str) -> str:
        address = checked_forge_url(named) if named else forge_url_of(repo_url)
        try:
            check_policy(parse_url(f"{address}/root"), self.core.settings.remote_policy)
        except RefusedUrl as error:
            raise Invalid(f"the forge's address {address}: {error}") from error
        return address


def _checked(access: ForgeAccess, forge: str, now: datetime) -> Mapping[str, Any]:
    """As it is sealed. Raises Invalid."""
    if (access.token is None) == (access.app is None):
        raise Invalid("give either a token, or an App's id and key")
    if access.app is None:
        return {"token": checked_token(access.token or "")}
    if forge != GITHUB:
        raise Invalid(f"an App's key is for GitHub alone, and the forge is {forge}: give a token")
    signed_token(access.app, now)
    return {"appId": access.app.id, "appKey": access.app.key}


def place_of(
    core: Core, recipient: Recipient, project: Project
) -> tuple[ForgePlace, AppKey | None]:
    """With the App that tells it, where there is one; the place's token is empty then. Raises
    NotSealedHere where the key file was changed."""
    row = {
        "project_id": recipient.project_id,
        "kind": recipient.kind.value,
        "address": recipient.address,
        "sealed": recipient.sealed,
    }
    opened = json.loads(_SEALED.open(core, row))
    repository = repository_at(project.repo_url or "", recipient.address)
    place = ForgePlace(url=recipient.address, repository=repository, token=opened.get("token", ""))
    if "appId" not in opened:
        return place, None
    return place, AppKey(id=opened["appId"], key=opened["appKey"])
