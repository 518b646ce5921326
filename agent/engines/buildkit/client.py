"""BuildKit's two services over one channel, for both families of engines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import urlsplit

import grpc
import grpc.aio

from agent.engines.buildkit.pb import control_pb2, gateway_pb2
from agent.engines.buildkit.transport import DockerBridge, speaks_docker
from agent.engines.protocol import EngineUnavailable

CONTROL = "/moby.buildkit.v1.Control/"
GATEWAY = "/moby.buildkit.v1.frontend.LLBBridge/"
BUILD_ID = "buildkit-controlapi-buildid"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_DETAILS_BYTES = 8 * 1024 * 1024
QUICK_SECONDS = 20.0
"""For calls that only ask the daemon something."""

Metadata = Sequence[tuple[str, str]]
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The details of a failure carry the whole Dockerfile, in base64.
    ("grpc.max_metadata_size", MAX_DETAILS_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_DETAILS_BYTES),
    # A daemon that was restarted is to be found again at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


async def connect(address: str) -> Client:
    """A client of the engine at `address`; nothing is asked of the engine but who it is.

    `docker:///path` is a Docker API socket, `tcp://host:port` a buildkitd; of a path or
    `unix:///path` it is found out. Raises EngineUnavailable.
    """
    scheme, path = split_address(address)
    stack = AsyncExitStack()
    docker = None
    try:
        if scheme == "tcp":
            target = f"dns:///{path}"
        elif scheme == "docker" or await speaks_docker(path):
            docker = path
            bridge = await stack.enter_async_context(DockerBridge(path))
            target = f"unix:{bridge.path}"
        else:
            target = f"unix:{path}"
    except OSError as error:
        raise EngineUnavailable(
            f"no engine answers at {address}: {error.strerror or error}: "
            "start one with `pushrod engine up`, or name another with --engine"
        ) from error
    return Client(address, target, stack, docker_socket=docker)


def split_address(address: str) -> tuple[str, str]:
    """(`unix` | `docker` | `tcp`, path or host:port). Raises EngineUnavailable."""
    if address.startswith("/"):
        return "unix", address
    parts = urlsplit(address)
    if parts.scheme in ("unix", "docker") and parts.path and not parts.netloc:
        return parts.scheme, parts.path
    if parts.scheme == "tcp" and parts.netloc and not parts.path:
        return "tcp", parts.netloc
    raise EngineUnavailable(
        f"{address!r} is not an engine's address: "
        "write unix:///path/to.sock, docker:///path/to.sock or tcp://host:port"
    )


class Client:
    """The calls that a step needs. All raise grpc.aio.AioRpcError."""

    def __init__(
        self,
        address: str,
        target: str,
        resources: AsyncExitStack,
        *,
        docker_socket: str | None = None,
    ) -> None:
        self.address = address
        self.docker_socket = docker_socket
        self._resources = resources
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        try:
            await self._channel.close()
        finally:  # also when we are cancelled while we wait
            await self._resources.aclose()

    async def workers(self, *, timeout: float = QUICK_SECONDS) -> control_pb2.ListWorkersResponse:
        answer: control_pb2.ListWorkersResponse = await self._unary(
            CONTROL + "ListWorkers",
            control_pb2.ListWorkersRequest(),
            control_pb2.ListWorkersResponse,
            timeout=timeout,
        )
        return answer

    async def info(self) -> control_pb2.InfoResponse:
        answer: control_pb2.InfoResponse = await self._unary(
            CONTROL + "Info",
            control_pb2.InfoRequest(),
            control_pb2.InfoResponse,
            timeout=QUICK_SECONDS,
        )
        return answer

    def build(self, request: control_pb2.SolveRequest) -> Any:
        """Open a build; the call lasts as long as the build."""
        return self._unary(CONTROL + "Solve", request, control_pb2.SolveResponse)

    def status(self, build: str) -> Any:
        """The stream of the build's reports, from its beginning."""
        method = self._channel.unary_stream(
            CONTROL + "Status",
            request_serializer=control_pb2.StatusRequest.SerializeToString,
            response_deserializer=control_pb2.StatusResponse.FromString,
        )
        return method(control_pb2.StatusRequest(Ref=build))

    def session(self, metadata: Metadata) -> Any:
        """A tunnel through which the engine calls us."""
        method = self._channel.stream_stream(
            CONTROL + "Session",
            request_serializer=control_pb2.BytesMessage.SerializeToString,
            response_deserializer=control_pb2.BytesMessage.FromString,
        )
        return method(metadata=metadata)

    def processes(self, build: str) -> Any:
        """The stream of one program in a container of an open build."""
        method = self._channel.stream_stream(
            GATEWAY + "ExecProcess",
            request_serializer=gateway_pb2.ExecMessage.SerializeToString,
            response_deserializer=gateway_pb2.ExecMessage.FromString,
        )
        return method(metadata=((BUILD_ID, build),))

    def gateway(
        self, build: str, name: str, request: Any, answer: Any, *, timeout: float | None = None
    ) -> Any:
        """One call of the gateway inside an open build."""
        return self._unary(
            GATEWAY + name, request, answer, metadata=((BUILD_ID, build),), timeout=timeout
        )

    def _unary(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        metadata: Metadata = (),
        timeout: float | None = None,
    ) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, metadata=metadata, timeout=timeout)
