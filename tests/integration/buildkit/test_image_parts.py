"""An image of several platforms in parts, and what is made of them, on a real engine and registry.

There is one architecture here: an engine is told which platforms it runs (`platforms`), and what is
built for the other one copies only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.engines.protocol import Outcome

from .conftest import TestEngine
from .image_bench import BuiltOnce, ImageBench, image_bench
from .registries import Registry, own_registry, registry_with_password

pytestmark = pytest.mark.engine

AMD, ARM = PLATFORMS = ["linux/amd64", "linux/arm64"]
# A program is run for one platform alone.
TEXT = """
FROM BASE AS amd64
RUN NEW echo made > /made
ENV OF=amd64
FROM scratch AS arm64
COPY f /f
ENV OF=arm64
FROM ${TARGETARCH}
CMD ["/made"]
"""


@pytest.fixture
async def of_arm(with_containerd: TestEngine, tmp_path: Path) -> AsyncIterator[ImageBench]:
    """On an engine that is said to run programs of arm64 alone."""
    async with image_bench(with_containerd, tmp_path, platforms=[ARM]) as bench:
        bench.write({"f": "content"})
        yield bench


@pytest.fixture
def registry(with_containerd: TestEngine) -> Registry:
    return own_registry(with_containerd.record)


async def settle(tag: str, digest: str) -> str:
    return digest


async def part(bench: ImageBench, tag: str, platform: str, **more: object) -> BuiltOnce:
    built = await bench.build(tags=[tag], push=True, platforms=[platform], part=True, **more)
    assert built.message == ""
    return built


async def test_what_an_engine_says_that_it_runs_is_known_once_it_was_checked(
    containerd_images: ImageBench, of_arm: ImageBench, images: ImageBench
) -> None:
    for bench in (containerd_images, of_arm, images):
        await bench.engine.check()
    assert AMD in containerd_images.engine.platforms
    assert of_arm.engine.platforms == [ARM]
    assert images.engine.platforms == ()  # its own store can't hold parts


async def test_an_engine_asks_for_parts_where_it_does_not_run_what_the_dockerfile_runs(
    of_arm: ImageBench, registry: Registry
) -> None:
    tag = f"{registry.new_name()}:1"
    wanted = {"tags": [tag], "push": True, "platforms": PLATFORMS, "settled_images": {}}

    split = await of_arm.build(TEXT, **wanted, may_split=True, settle_tag=settle)
    copied = await of_arm.build(
        "FROM scratch\nCOPY f /f\n", **wanted, may_split=True, settle_tag=settle
    )

    assert (split.result.outcome, split.result.parts) == (Outcome.IMAGE_FAILED, tuple(PLATFORMS))
    assert split.message == (
        "the engine of this agent runs no programs of linux/amd64: the image is built in parts, by "
        "agents of linux/amd64, linux/arm64"
    )
    assert "pushed" not in split.text
    assert copied.message == ""  # for which nothing has to be run
    assert len(registry.manifest(tag)["manifests"]) == 2


async def test_parts_are_under_no_tag_and_what_is_made_of_them_is_one_index(
    of_arm: ImageBench, registry: Registry
) -> None:
    name = registry.new_name()
    of_arm.write({"Dockerfile": TEXT})
    built = [await part(of_arm, f"{name}:1", platform, provenance=True) for platform in PLATFORMS]
    references = [one.result.images[0].reference for one in built]
    assert registry.tags(name) is None or registry.tags(name) == []
    assert all(registry.digest(one) == one.partition("@")[2] for one in references)

    tags = [f"{name}:1", f"{registry.new_name()}:latest"]
    joined = await of_arm.build(
        "FROM nowhere.example/never:1\n",  # the Dockerfile is no matter any more
        tags=tags,
        push=True,
        platforms=PLATFORMS,
        parts=dict(zip(PLATFORMS, references, strict=True)),
        provenance=True,
    )

    assert joined.message == ""
    assert "the image is made of its parts for linux/amd64, linux/arm64" in joined.text
    assert registry.tags(name) == ["1"]
    index = registry.manifest(tags[0])
    images = {
        one["platform"]["architecture"]: f"{name}@{one['digest']}" for one in index["manifests"]
    }
    for architecture in ("amd64", "arm64"):
        configuration = registry.configuration(images[architecture])
        assert configuration["architecture"] == architecture
        assert f"OF={architecture}" in configuration["config"]["Env"]
        assert configuration["config"]["Cmd"] == ["/made"]
    assert "unknown" in images  # what is said of how they were made
    assert {one.digest for one in joined.result.images} == {
        registry.digest(tags[0]),
        registry.digest(tags[1]),
    }
    # The first part's program was run for it.
    ran = await of_arm.build(f"FROM --platform={AMD} {tags[0]}\nRUN NEW cat /made\n")
    assert "made\n" in ran.text


async def test_parts_of_other_registries_are_joined_with_their_logins(
    of_arm: ImageBench, with_containerd: TestEngine, tmp_path: Path
) -> None:
    of_arm.write({"Dockerfile": "FROM scratch\nCOPY f /f\n"})
    with registry_with_password(tmp_path, with_containerd.record) as guarded:
        tag = f"{guarded.new_name()}:1"
        given = {"registries": [guarded.login]}
        built = [await part(of_arm, tag, platform, **given) for platform in PLATFORMS]
        parts = {
            platform: one.result.images[0].reference
            for platform, one in zip(PLATFORMS, built, strict=True)
        }
        wanted = {"tags": [tag], "push": True, "platforms": PLATFORMS, "parts": parts}

        refused = await of_arm.build(**wanted)
        joined = await of_arm.build(**wanted, **given)

        assert refused.result.outcome is Outcome.IMAGE_FAILED
        assert (joined.message, joined.result.images[0].digest) == ("", guarded.digest(tag))


async def test_each_part_keeps_its_layers_for_itself(
    of_arm: ImageBench, registry: Registry
) -> None:
    name, cache = registry.new_name(), registry.new_name()
    of_arm.write({"Dockerfile": TEXT})
    for platform in PLATFORMS:
        await part(of_arm, f"{name}:1", platform, cache_to=f"{cache}:kept")
    assert sorted(registry.tags(cache) or []) == ["kept-linux-amd64", "kept-linux-arm64"]
    taken = await part(of_arm, f"{name}:1", AMD, cache_from=f"{cache}:kept")
    assert f"{cache}:kept-linux-amd64" in taken.text


async def test_what_is_not_pushed_is_built_in_parts_and_not_joined(of_arm: ImageBench) -> None:
    of_arm.write({"Dockerfile": "FROM scratch\nCOPY f /f\n"})
    built = await of_arm.build(tags=["r.example/a:1"], platforms=[ARM], part=True)
    why = "The image was not pushed: a pull request from a fork only builds it."
    joined = await of_arm.build(
        tags=["r.example/a:1"],
        platforms=PLATFORMS,
        parts=dict.fromkeys(PLATFORMS, ""),
        not_pushed_because=why,
    )
    assert (built.result.exit_code, built.result.images) == (0, [])
    assert (joined.result.exit_code, joined.result.images) == (0, [])
    assert joined.result.notes == [why]


async def test_a_part_that_is_not_there_any_more_is_told(
    of_arm: ImageBench, registry: Registry
) -> None:
    tag = f"{registry.new_name()}:1"
    gone = f"{registry.new_name()}@sha256:{'a' * 64}"
    wanted = {"tags": [tag], "push": True, "platforms": PLATFORMS}

    lost = await of_arm.build(**wanted, parts=dict.fromkeys(PLATFORMS, gone))
    lacking = await of_arm.build(**wanted, parts={AMD: gone})

    assert lost.result.outcome is Outcome.IMAGE_FAILED
    assert gone in lost.message
    assert lacking.message == "the image's parts for linux/arm64 are not there: retry the step"
    assert registry.digest(tag) is None


async def test_an_image_of_another_platform_alone_is_asked_back_for_that(
    of_arm: ImageBench, registry: Registry
) -> None:
    text, tag = "FROM scratch\nCOPY f /f\n", f"{registry.new_name()}:1"
    built = await of_arm.build(text, tags=[tag], push=True, platforms=[ARM], provenance=True)
    assert (built.message, built.result.images[0].digest) == ("", registry.digest(tag))
