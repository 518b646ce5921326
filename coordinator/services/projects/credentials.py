"""The credential with which a project's own repository is fetched, encrypted at rest."""

from __future__ import annotations

import json
from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Invalid, NotFound
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import RemoteUrl, parse_url
from coordinator.ports import Credential, RemoteFailed
from coordinator.services import audit
from coordinator.services.core import Core
from coordinator.services.sealing import NotSealedHere, seal, unseal
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pushes import deliveries as stored

MAX_CREDENTIAL_CHARACTERS = 20_000


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
        sealed = seal(self.core.keys.master, _purpose(project, kind, url.host), plain.encode())

        async def save(connection: AsyncConnection) -> None:
            await stored.save_credential(
                connection,
                project.id,
                kind=kind,
                host=url.host,
                sealed=sealed,
                now=self.core.now(),
            )
            await self._audit(connection, "credential.set", principal, project, kind)

        await self.core.database.write(save)

    async def remove(self, principal: Principal, project: Project) -> None:
        """Raises NotFound where there is none."""
        principal.require(Right.MANAGE)

        async def delete(connection: AsyncConnection) -> None:
            if not await stored.delete_credential(connection, project.id):
                raise NotFound("this project has no credential")
            await self._audit(connection, "credential.removed", principal, project, "")

        await self.core.database.write(delete)

    async def of(self, project: Project) -> Credential | None:
        """None where there is none for the host of the project's URL. Raises RemoteFailed."""
        row = await self.core.database.read(
            lambda connection: stored.find_credential(connection, project.id)
        )
        host = parse_url(project.repo_url or "").host
        if row is None or row["host"] != host:
            return None
        purpose = _purpose(project, row["kind"], host)
        try:
            values = json.loads(unseal(self.core.keys.master, purpose, row["sealed"]))
        except NotSealedHere as error:
            raise RemoteFailed(
                "the project's credential was encrypted with another key: set it again",
                permanent=True,
            ) from error
        return Credential(user=values["user"], token=values["token"], deploy_key=values["key"])

    async def _audit(
        self,
        connection: AsyncConnection,
        action: str,
        principal: Principal,
        project: Project,
        kind: str,
    ) -> None:
        await audit.record(
            self.core,
            connection,
            action,
            principal,
            account_id=project.account_id,
            project_id=project.id,
            kind=kind,
        )


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


def _purpose(project: Project, kind: str, host: str) -> str:
    return f"credential {project.id} {kind} {host}"
