"""Which images a build fetches by a tag, as its graph and its reports name them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.engines.buildkit.pb import control_pb2, ops_pb2
from pipelines_schema.image_references import tag_problem

SCHEME = "docker-image://"
_FETCHED = re.compile(rf"{SCHEME}([^@]+)@(sha256:[0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedImage:
    tag: str
    """A complete reference, without the digest."""
    digest: str
    """What the build fetches: found under the tag, or written beside it in the Dockerfile."""
    platform: ops_pb2.Platform | None = None
    """For which one it is fetched; None for the engine's own."""


def images_of(definition: ops_pb2.Definition) -> Iterator[FetchedImage]:
    """What a graph fetches from registries by tags; what has no digest is the engine's own."""
    for content in getattr(definition, "def"):
        operation = ops_pb2.Op.FromString(content)
        platform = operation.platform if operation.HasField("platform") else None
        image = _image(operation.source.identifier, platform)
        if image is not None:
            yield image


def images_reported(report: control_pb2.StatusResponse) -> Iterable[FetchedImage]:
    """What was fetched to read the Dockerfile: the frontend that its `# syntax=` line names.

    It is no part of the graph that it makes; its vertex is named after its source.
    """
    found = (_image(vertex.name, None) for vertex in report.vertexes)
    return [image for image in found if image is not None]


def _image(source: str, platform: ops_pb2.Platform | None) -> FetchedImage | None:
    found = _FETCHED.fullmatch(source)
    if found is None or tag_problem(found[1]) is not None:
        return None
    return FetchedImage(tag=found[1], digest=found[2], platform=platform)
