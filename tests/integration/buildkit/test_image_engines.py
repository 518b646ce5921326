"""Images on engines of these tests' own, and what a killed agent leaves in an engine's store."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.buildkit.docker_images import DockerImages, docker_images
from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.buildkit.image_push import own_tag, pushing_tag
from agent.engines.protocol import Outcome

from .conftest import Log, OwnEngine, TestEngine
from .image_bench import ImageBench
from .registries import Registry, own_registry, registry_with_password

if TYPE_CHECKING:
    from .conftest import Bench, Marker

pytestmark = pytest.mark.engine


@pytest.fixture
async def store(engine_under_test: TestEngine) -> AsyncIterator[DockerImages]:
    """The shared engine's own store of images."""
    async with docker_images(engine_under_test.address.removeprefix("unix://")) as images:
        yield images


async def test_buildkit_pushes_by_itself_where_images_are_containerds(
    containerd_images: ImageBench, with_containerd: TestEngine, tmp_path: Path
) -> None:
    own = own_registry(with_containerd.record)
    with registry_with_password(tmp_path, with_containerd.record) as guarded:
        tags = [f"{own.new_name()}:1", f"{guarded.new_name()}:1"]
        dockerfile = "FROM BASE\nRUN echo made > /made\n"

        refused = await containerd_images.build(dockerfile, tags=tags, push=True)
        built = await containerd_images.build(
            dockerfile, tags=tags, push=True, registries=[guarded.login]
        )

        digests = {image.reference: image.digest for image in built.result.images}
        assert digests == {tags[0]: own.digest(tags[0]), tags[1]: guarded.digest(tags[1])}
    assert refused.result.outcome is Outcome.IMAGE_FAILED
    assert f"{tags[1]} could not be pushed: {guarded.host} refuses it" in refused.message
    async with docker_images(with_containerd.address.removeprefix("unix://")) as store:
        assert [await store.id_of(tag) for tag in tags] == [None, None]


async def test_several_platforms_and_what_is_said_of_them_are_one_image(
    containerd_images: ImageBench, with_containerd: TestEngine
) -> None:
    own = own_registry(with_containerd.record)
    tag = f"{own.new_name()}:1"
    containerd_images.write({"f": "content"})
    text = "FROM scratch\nCOPY f /f\n"

    platforms = ["linux/amd64", "linux/s390x"]

    built = await containerd_images.build(
        text, tags=[tag], push=True, platforms=platforms, provenance=True
    )
    foreign = await containerd_images.build("FROM BASE\nRUN true\n", platforms=platforms)

    assert built.message == ""
    index = own.manifest(tag)
    kinds = [(one["platform"]["os"], one["platform"]["architecture"]) for one in index["manifests"]]
    assert sorted(kinds) == [
        ("linux", "amd64"),
        ("linux", "s390x"),
        *[("unknown", "unknown")] * 2,  # what is said of each
    ]
    assert [image.digest for image in built.result.images] == [own.digest(tag)]
    if foreign.message:  # no QEMU here, which would run it
        assert "This engine runs no programs of linux/s390x" in foreign.message


async def test_a_registry_keeps_layers_for_other_engines(
    containerd_images: ImageBench, with_containerd: TestEngine
) -> None:
    own = own_registry(with_containerd.record)
    cache = f"{own.new_name()}:cache"
    text = "FROM BASE\nRUN echo made > /made\n"

    kept = await containerd_images.build(text, cache_to=cache)
    taken = await containerd_images.build(text, cache_from=cache)
    lacking = await containerd_images.build(text, cache_from=f"{own.new_name()}:none")

    assert (kept.message, taken.message, lacking.message) == ("", "", "")
    assert own.digest(cache).startswith("sha256:")
    assert cache in taken.text + kept.text


async def test_a_dockerfile_begins_with_the_settled_image_where_images_are_containerds(
    containerd_images: ImageBench, with_containerd: TestEngine
) -> None:
    own = own_registry(with_containerd.record)
    tag, first, settled = f"{own.new_name()}:1", "", {}
    for word in ("first", "second"):
        text = f"FROM BASE\nRUN echo of-{word} > /who\n"
        assert (await containerd_images.build(text, tags=[tag], push=True)).message == ""
        first = first or str(own.digest(tag))

    async def settle(tag: str, digest: str) -> str:
        settled[tag] = digest
        return first

    built = await containerd_images.build(
        f"FROM {tag}\nRUN NEW cat /who\n", settled_images={}, settle_tag=settle
    )

    assert settled[tag] == own.digest(tag) != first
    assert "of-first\n" in built.text


async def test_an_engine_that_cannot_do_what_is_asked_for_says_so(images: ImageBench) -> None:
    text = "FROM BASE\nRUN true\n"
    asked = {"cache_to": "registry.example/a:1", "provenance": True, "sbom": True}

    built = await images.build(text, platforms=["linux/amd64", "linux/386"], **asked)
    own = await images.build(text, platforms=["linux/amd64"])

    assert built.result.outcome is Outcome.IMAGE_FAILED
    assert "`platforms` and `provenance` and `sbom` and `cacheTo`" in built.message
    assert "containerd's image store" in built.message
    assert own.message == ""


async def test_a_push_leaves_nothing_in_the_engines_store_and_takes_nothing_from_it(
    images: ImageBench, own: Registry, store: DockerImages
) -> None:
    fresh, known = f"{own.new_name()}:1", f"{own.new_name()}:1"
    await store.tag(images.image, known)
    before = await store.id_of(known)
    attempt = secrets.token_hex(8)
    try:
        built = await images.build(
            "FROM BASE\nRUN true\n", tags=[fresh, known], push=True, attempt_id=attempt
        )

        assert built.message == ""
        assert [await store.id_of(tag) for tag in (fresh, known)] == [None, before]
        assert await store.id_of(own_tag(attempt)) is None
    finally:
        await store.forget(known)


async def test_what_a_killed_agent_left_is_removed_and_nothing_else(
    images: ImageBench, own: Registry, store: DockerImages
) -> None:
    attempt, left, other = secrets.token_hex(8), f"{own.new_name()}:1", f"{own.new_name()}:1"
    for tag in (own_tag(attempt), pushing_tag(attempt, left), left, other):
        await store.tag(images.image, tag)
    try:
        await images.engine.reap(attempt)
        await images.engine.reap(attempt)

        gone = [own_tag(attempt), pushing_tag(attempt, left), left]
        assert [await store.id_of(tag) for tag in gone] == [None, None, None]
        assert await store.id_of(other) is not None
        assert await store.id_of(images.image) is not None
    finally:
        await store.forget(other)


async def test_a_daemon_killed_under_a_build_is_the_engines_failure(
    own_bench: Bench, own_engine: OwnEngine, tmp_path: Path, marker: Marker
) -> None:
    folder, log = tmp_path / "context", Log()
    folder.mkdir()
    engine: BuildKitEngine = own_bench.engine
    bench = ImageBench(engine=engine, image=own_bench.image, folder=folder)
    building = asyncio.create_task(
        bench.build(f"FROM BASE\nRUN NEW echo up; sleep {marker.word}\n", log=log)
    )
    await log.wait_for(b"[2/2] up\n")

    own_engine.signal(signal.SIGKILL)
    async with asyncio.timeout(60):
        built = await building

    assert built.result.outcome is Outcome.ENGINE_LOST
    await own_engine.start()
    assert (await bench.build("FROM BASE\nRUN NEW true\n")).result.exit_code == 0
