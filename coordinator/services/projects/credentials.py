"""The credential with which a project's own repository is fetched, encrypted at rest."""

from __future__ import annotations

import json
from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Invalid
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import RemoteUrl, parse_url
from coordinator.ports import Credential, RemoteFailed
from coordinator.services.core import Core
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.services.sealing import NotSealedHere
from coordinator.storage.projects.sealed_things import CREDENTIALS

MAX_CREDENTIAL_CHARACTERS = 20_000


_SEALED = SealedThings(
    table=CREDENTIALS,
    purpose="credential {project_id} {kind} {host}",
    set_action="credential.set",
    remove_action="credential.removed",
    noted=("kind", "kind"),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    core: Core

    async def set(
        self, principal: Principal, project: Project, *, token: str | None, deploy_key: str | None
    ) -> None:
        """Keep the project's one credential; the token may be `user:token`. Raises Invalid."""
        principal.require(Right.MANAGE)
        credential, url = _checked(project, token, deploy_key)
        kind = "token" if credential.token else "deployKey"
        plain = json.dumps(
            {"user": credential.user, "token": credential.token, "key": credential.deploy_key}
        )
        await _SEALED.set(self.core, principal, project, plain, kind=kind, host=url.host)

    async def remove(self, principal: Principal, project: Project) -> None:
        """Raises NotFound where there is none."""
        principal.require(Right.MANAGE)
        await _SEALED.remove(self.core, principal, project, "this project has no credential")

    async def of(self, project: Project) -> Credential | None:
        """None where there is none for the host of the project's URL. Raises RemoteFailed."""
        host = parse_url(project.repo_url or "").host
        rows = await self.core.database.read(
            lambda connection: CREDENTIALS.rows(connection, [project.id], host=[host])
        )
        if not rows:
            return None
        try:
            values = json.loads(_SEALED.open(self.core, rows[0]))
        except NotSealedHere as error:
            raise RemoteFailed(
                "the project's credential was encrypted with another key: set it again",
                permanent=True,
            ) from error
        return Credential(user=values["user"], token=values["token"], deploy_key=values["key"])


def _checked(
    project: Project, token: str | None, deploy_key: str | None
) -> tuple[Credential, RemoteUrl]:
    if project.repo_url is None:
        raise Conflict("this project has no repoUrl: its source is what is pushed here")
    url = parse_url(project.repo_url)
    if (token is None) == (deploy_key is None):
        raise Invalid("give either a token or a deploy key")
    if token is not None:
        if url.scheme != "https" and url.scheme != "http":
            raise Invalid(f"a token is for https; {url.text} is fetched with a deploy key")
        user, mark, secret = token.strip().rpartition(":")
        if not _is_line(token.strip()) or not secret or (mark and not user):
            raise Invalid("the token must be one line: TOKEN or USER:TOKEN")
        return Credential(user=user, token=secret), url
    key = (deploy_key or "").replace("\r\n", "\n").strip()
    if url.scheme != "ssh":
        raise Conflict(f"a deploy key is for ssh; {url.text} is fetched with a token")
    if not key.startswith("-----BEGIN ") or "PRIVATE KEY-----" not in key or "\0" in key:
        raise Invalid("the deploy key must be a private key as ssh-keygen writes it")
    return Credential(deploy_key=key), url


def _is_line(text: str) -> bool:
    return text.isprintable() and " " not in text and text.isascii()
