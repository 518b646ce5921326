"""The session's answer to a registry that asks who is there."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import grpc

from agent.engines.buildkit.client import Client
from agent.engines.buildkit.pb import auth_pb2
from agent.engines.buildkit.session import FETCH_TOKEN, GET_TOKEN_AUTHORITY, GIVE_CREDENTIALS
from agent.engines.buildkit.session_calls import Call, Handler
from agent.engines.protocol import ImageRequest, StepRequest
from agent.engines.registry_tokens import (
    PULL,
    PUSH,
    REGISTRY,
    TOKEN_SECONDS,
    TokenSigner,
    signer_beside,
)
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.image_references import DOCKER_HUB, registry_of
from pipelines_schema.own_registries import OwnRegistries

_NAMES_OF_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_RENEW_SECONDS = 300
"""How long before its end a token isn't used any more."""


@dataclass(frozen=True, slots=True)
class RegistryLogins:
    """Each login goes to its own host and to no other.

    For the private engine's registry tokens are made here, whatever login somebody keeps for it:
    for its one name alone, and for nothing but what the account may push and read. So neither
    another name for it nor a redirect to it gets more.
    """

    logins: Sequence[RegistryLogin] = field(repr=False)
    signer: TokenSigner | None = None
    rule: OwnRegistries | None = None

    def of(self, host: str) -> RegistryLogin | None:
        return next((one for one in self.logins if _canonical(one.host) == _canonical(host)), None)

    def handlers(self) -> dict[str, Handler]:
        """What the session answers, by method."""
        handlers: dict[str, Handler] = {}
        if self.logins:
            handlers[GIVE_CREDENTIALS] = self.serve
        if self.signer is not None:
            handlers[GET_TOKEN_AUTHORITY] = self._tell_authority
            handlers[FETCH_TOKEN] = partial(self._give_token, self.signer)
        return handlers

    async def serve(self, stream: Call) -> None:
        """Answer a Credentials call; empty names mean that there is no login."""
        asked = auth_pb2.CredentialsRequest.FromString(await stream.question())
        login = self.of(asked.Host)
        answer = auth_pb2.CredentialsResponse()
        if login is not None:
            answer.Username, answer.Secret = login.username, login.password
        await stream.write(answer.SerializeToString())

    async def _tell_authority(self, stream: Call) -> None:
        """Say that tokens for the host are made here.

        The engine would use them for another session as well that proves to have this key. None
        can: it is random, so each session asks for tokens of its own.
        """
        asked = auth_pb2.GetTokenAuthorityRequest.FromString(await stream.question())
        await _only_for_own(stream, asked.Host)
        answer = auth_pb2.GetTokenAuthorityResponse(PublicKey=secrets.token_bytes(32))
        await stream.write(answer.SerializeToString())

    async def _give_token(self, signer: TokenSigner, stream: Call) -> None:
        asked = auth_pb2.FetchTokenRequest.FromString(await stream.question())
        await _only_for_own(stream, asked.Host)
        answer = auth_pb2.FetchTokenResponse(
            Token=signer.sign_scopes(asked.Scopes, self.rule),
            ExpiresIn=TOKEN_SECONDS - _RENEW_SECONDS,
            IssuedAt=int(time.time()),
        )
        await stream.write(answer.SerializeToString())

    def docker_header(self, reference: str, origins: Iterable[str] = ()) -> str:
        """The same for the Docker API, to push a tag: the value of X-Registry-Auth.

        Layers of the images it came from need not be sent again where the registry has them.
        """
        host = registry_of(reference)
        login = self.of(host)
        known = {}
        if self.signer is not None and host == REGISTRY:
            scopes = [
                f"repository:{_repository(reference)}:{PULL},{PUSH}",
                *(
                    f"repository:{_repository(origin)}:{PULL}"
                    for origin in origins
                    if registry_of(origin) == REGISTRY
                ),
            ]
            known = {"registrytoken": self.signer.sign_scopes(scopes, self.rule)}
        elif login is not None:
            known = {
                "username": login.username,
                "password": login.password,
                "serveraddress": login.host,
            }
        return base64.urlsafe_b64encode(json.dumps(known).encode()).decode()


def logins_for(request: StepRequest | ImageRequest, client: Client) -> RegistryLogins:
    """All that the request's session may show to registries."""
    socket = client.docker_socket
    signer = signer_beside(socket) if socket is not None else None
    return RegistryLogins(request.registries, signer, request.own_registries)


async def _only_for_own(stream: Call, host: str) -> None:
    if host != REGISTRY:
        # By this code the engine knows that the host is to be asked as any other.
        await stream.abort(grpc.StatusCode.UNAVAILABLE, "no tokens are made for this host")


def _repository(reference: str) -> str:
    return reference.removeprefix(f"{REGISTRY}/").rpartition(":")[0]


def _canonical(host: str) -> str:
    return DOCKER_HUB if host in _NAMES_OF_DOCKER_HUB else host.lower()
