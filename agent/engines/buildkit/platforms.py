"""Platforms between a workflow's words and BuildKit's messages, and which a build's programs are
of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.engines.buildkit.client import Client
from agent.engines.buildkit.pb import ops_pb2
from pipelines_schema.platforms import plain_platform


def platform_message(written: str) -> ops_pb2.Platform:
    """`linux/arm/v7` as BuildKit has it."""
    system, _, rest = plain_platform(written).partition("/")
    architecture, _, variant = rest.partition("/")
    return ops_pb2.Platform(OS=system, Architecture=architecture, Variant=variant)


def platform_words(platform: ops_pb2.Platform) -> str:
    """As a workflow writes it."""
    parts = (platform.OS, platform.Architecture, platform.Variant)
    return plain_platform("/".join(filter(None, parts)))


async def platforms_run(client: Client) -> Sequence[str]:
    """Whose programs the engine runs, by itself or by emulation. Raises grpc.aio.AioRpcError."""
    workers = await client.workers()
    named = (platform_words(one) for worker in workers.record for one in worker.platforms)
    return list(dict.fromkeys(named))


def platforms_of_programs(graphs: Iterable[ops_pb2.Definition]) -> Sequence[str]:
    """Of which platforms the graphs run programs; none where they only copy."""
    found: dict[str, None] = {}
    for graph in graphs:
        for content in getattr(graph, "def"):
            operation = ops_pb2.Op.FromString(content)
            if operation.HasField("exec") and operation.HasField("platform"):
                found[platform_words(operation.platform)] = None
    return list(found)
