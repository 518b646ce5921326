"""The session's answer to a registry that asks who is there."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.engines.buildkit.pb import auth_pb2
from agent.engines.buildkit.session import Stream
from pipelines_schema.contract import RegistryLogin
from pipelines_schema.image_references import DOCKER_HUB

_NAMES_OF_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class RegistryLogins:
    """Each login goes to its own host and to no other."""

    logins: Sequence[RegistryLogin] = field(repr=False)

    def of(self, host: str) -> RegistryLogin | None:
        return next((one for one in self.logins if _canonical(one.host) == _canonical(host)), None)

    async def serve(self, stream: Stream) -> None:
        """Answer a Credentials call; empty names mean that there is no login."""
        asked = auth_pb2.CredentialsRequest.FromString(await stream.read())
        login = self.of(asked.Host)
        answer = auth_pb2.CredentialsResponse()
        if login is not None:
            answer.Username, answer.Secret = login.username, login.password
        await stream.write(answer.SerializeToString())

    def docker_header(self, host: str) -> str:
        """The same for the Docker API: the value of X-Registry-Auth."""
        login = self.of(host)
        known = {}
        if login is not None:
            known = {
                "username": login.username,
                "password": login.password,
                "serveraddress": login.host,
            }
        return base64.urlsafe_b64encode(json.dumps(known).encode()).decode()


def _canonical(host: str) -> str:
    return DOCKER_HUB if host in _NAMES_OF_DOCKER_HUB else host.lower()
