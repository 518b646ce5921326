"""What is settled of what an engine would fetch, and what of it is told to people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import EngineError
from agent.engines.buildkit.fetched_images import images_of, images_reported
from agent.engines.buildkit.pb import control_pb2, ops_pb2
from agent.engines.buildkit.settled_tags import MAX_TAGS, TagSettler, TakeReport
from agent.engines.protocol import TagNotSettledError

OLD, NEW = (f"sha256:{letter * 64}" for letter in "ab")
APP, TOOL = "docker.io/library/app:1", "registry.example:5000/team/tool:2.0"
ARM = ops_pb2.Platform(OS="linux", Architecture="arm64")


def graph(*sources: str, platform: ops_pb2.Platform | None = None) -> ops_pb2.Definition:
    operations = [
        ops_pb2.Op(source=ops_pb2.SourceOp(identifier=source), platform=platform)
        for source in sources
    ]
    operations.append(ops_pb2.Op(file=ops_pb2.FileOp()))
    definition = ops_pb2.Definition()
    getattr(definition, "def").extend(one.SerializeToString() for one in operations)
    return definition


def source(tag: str, digest: str = OLD) -> str:
    return f"docker-image://{tag}@{digest}"


def report(*names: str) -> control_pb2.StatusResponse:
    return control_pb2.StatusResponse(vertexes=[control_pb2.Vertex(name=name) for name in names])


def failed(code: str, details: str) -> BuildFailedError:
    return BuildFailedError(EngineError(code=code, details=details))


def test_a_graph_names_the_images_that_it_fetches_by_tags() -> None:
    [app, tool] = images_of(graph(source(APP), "local://context", source(TOOL, NEW), platform=ARM))

    assert (app.tag, app.digest, app.platform) == (APP, OLD, ARM)
    assert (tool.tag, tool.digest) == (TOOL, NEW)


@pytest.mark.parametrize(
    "text",
    [
        f"docker-image://{APP}",  # of the engine's own store
        source("docker.io/library/app"),  # by its digest alone
        source(APP, "sha256:abc"),
        source("app:1"),
        f"oci-layout://{APP}@{OLD}",
        f"FROM {APP}@{OLD}",
        "",
    ],
)
def test_what_is_no_image_under_a_tag_with_a_digest_is_left_out(text: str) -> None:
    assert list(images_of(graph(text))) == []
    assert list(images_reported(report(text))) == []


def test_a_frontends_image_is_known_by_the_name_of_its_vertex() -> None:
    [image] = images_reported(report("[1/2] FROM scratch", source(TOOL), "docker-image://x"))

    assert (image.tag, image.digest, image.platform) == (TOOL, OLD, None)


@dataclass(slots=True)
class FakeBuild:
    """An engine: `read` says what it would fetch, when tags mean the digests given."""

    read: Callable[[Mapping[str, str]], Sequence[ops_pb2.Definition]]
    tags: Mapping[str, str]
    """What the registries have."""
    reported: control_pb2.StatusResponse = field(default_factory=report)
    digests: Mapping[str, str] = field(default_factory=dict)
    readings: int = 0
    platforms: list[ops_pb2.Platform | None] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, digests: Mapping[str, str], take_report: TakeReport
    ) -> AsyncIterator[Build]:
        self.digests = dict(digests)
        self.take_report = take_report
        yield cast(Build, self)

    take_report: TakeReport = lambda report: None

    async def graphs(self, frontend: str, attributes: object) -> Sequence[ops_pb2.Definition]:
        self.readings += 1
        return self.read(self.digests)

    async def finish(self, ref: str) -> None:
        self.take_report(self.reported)

    async def resolve_image(
        self, reference: str, *, timeout: float, platform: ops_pb2.Platform | None
    ) -> tuple[str, bytes]:
        self.platforms.append(platform)
        if reference not in self.tags:
            raise failed("UNKNOWN", f"{reference}: not found")
        return self.tags[reference], b""


async def settled(
    engine: FakeBuild, answers: Mapping[str, str] | None = None, **more: Any
) -> TagSettler:
    async def settle(tag: str, digest: str) -> str:
        return (answers or {}).get(tag, digest)

    settler = TagSettler(
        open=engine.open,
        frontend="any",
        attributes={},
        **{"settle": settle, "digests": {}, **more},
    )
    await settler.run()
    return settler


async def test_what_is_found_first_is_settled_by_one_reading() -> None:
    engine = FakeBuild(lambda _: [graph(source(APP), platform=ARM)], {APP: OLD, TOOL: NEW})
    engine.reported = report(source(TOOL, NEW))
    settler = await settled(engine)

    assert (settler.digests, settler.notes) == ({APP: OLD, TOOL: NEW}, [])
    assert engine.readings == 1
    assert sorted(map(bool, engine.platforms)) == [False, True]
    assert ARM in engine.platforms


async def test_another_image_than_was_read_is_read_in_its_place() -> None:
    def read(digests: Mapping[str, str]) -> Sequence[ops_pb2.Definition]:
        names_tool = digests.get(APP) == OLD
        return [
            graph(source(APP, digests.get(APP, NEW)), *([source(TOOL, NEW)] if names_tool else []))
        ]

    engine = FakeBuild(read, {APP: NEW, TOOL: NEW})
    settler = await settled(engine, {APP: OLD})

    assert (settler.digests, settler.notes) == ({APP: OLD, TOOL: NEW}, [])
    assert engine.readings == 2


async def test_images_that_name_others_without_end_are_read_a_few_times() -> None:
    def read(digests: Mapping[str, str]) -> Sequence[ops_pb2.Definition]:
        return [graph(source(f"docker.io/library/app:{len(digests)}", NEW))]

    tags = {f"docker.io/library/app:{number}": OLD for number in range(100)}
    engine = FakeBuild(read, tags)
    settler = await settled(engine)

    assert engine.readings == len(settler.digests) == 5
    [note] = settler.notes
    assert "ever more images" in note


async def test_known_tags_are_neither_looked_up_nor_settled() -> None:
    engine = FakeBuild(lambda _: [graph(source(APP, NEW))], {})
    settler = await settled(engine, digests={APP: NEW})

    assert (settler.digests, settler.notes, engine.platforms) == ({APP: NEW}, [], [])


async def test_only_so_many_images_are_settled() -> None:
    tags = {f"docker.io/library/app:{number}": OLD for number in range(MAX_TAGS + 5)}
    engine = FakeBuild(lambda _: [graph(*map(source, tags))], tags)
    settler = await settled(engine)

    assert len(settler.digests) == MAX_TAGS
    [note] = settler.notes
    assert "more than 100 images" in note


async def test_a_tag_that_is_gone_or_refused_is_noted_and_no_more() -> None:
    async def refuse(tag: str, digest: str) -> str:
        raise TagNotSettledError("too many")

    engine = FakeBuild(lambda _: [graph(source(APP), source(TOOL))], {APP: OLD})
    settler = await settled(engine, settle=refuse)

    assert settler.digests == {APP: OLD}, "the same for all that this attempt does"
    [gone, refused] = settler.notes
    assert gone.startswith(f"`{TOOL}` was not found")
    assert "too many" in refused


async def test_a_dockerfile_that_cant_be_read_is_left_to_its_build() -> None:
    def read(digests: Mapping[str, str]) -> Sequence[ops_pb2.Definition]:
        raise failed("UNKNOWN", "unknown instruction: NONSENSE")

    engine = FakeBuild(read, {TOOL: OLD}, report(source(TOOL)))
    settler = await settled(engine)

    assert settler.digests == {TOOL: OLD}, "the frontend's own image"
    [note] = settler.notes
    assert "NONSENSE" in note


@pytest.mark.parametrize("resolves", [False, True])
async def test_an_engine_that_is_gone_ends_it(resolves: bool) -> None:
    class Gone(FakeBuild):
        async def resolve_image(self, *_: object, **more: object) -> tuple[str, bytes]:
            raise failed("UNAVAILABLE", "gone")

    def read(digests: Mapping[str, str]) -> Sequence[ops_pb2.Definition]:
        if resolves:
            return [graph(source(APP))]
        raise failed("UNAVAILABLE", "gone")

    with pytest.raises(BuildFailedError):
        await settled(Gone(read, {}))
