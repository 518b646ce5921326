"""One image by one tag, also where a Dockerfile names it, on a real engine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from agent.engines.protocol import Outcome, SettleTag
from pipelines_schema.own_registries import OwnRegistries

from .image_bench import BuiltOnce, ImageBench
from .registries import OWN, Registry

pytestmark = pytest.mark.engine


@dataclass(slots=True)
class OneBuild:
    """What a coordinator keeps of a build: the first digest that was found for a tag."""

    digests: dict[str, str] = field(default_factory=dict)

    async def settle(self, tag: str, digest: str) -> str:
        return self.digests.setdefault(tag, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingTag:
    tag: str
    images: ImageBench
    registry: Registry

    async def move(self, text: str) -> str:
        """Push another image to the tag; its digest."""
        built = await self.images.build(text, tags=[self.tag], push=True)
        assert built.message == ""
        return str(self.registry.digest(self.tag))

    async def use(
        self,
        text: str,
        settle: SettleTag | None,
        *,
        known: Mapping[str, str] | None = None,
        own_registries: OwnRegistries | None = None,
    ) -> BuiltOnce:
        """Build with it; TAG stands for it in the Dockerfile, MARK for a word never used."""
        return await self.images.build(
            text.replace("TAG", self.tag).replace("MARK", secrets.token_hex(6)),
            settled_images=known or {},
            settle_tag=settle,
            own_registries=own_registries,
        )


@pytest.fixture
def moving(images: ImageBench, own: Registry) -> MovingTag:
    return MovingTag(tag=f"{own.new_name()}:1", images=images, registry=own)


def who(word: str) -> str:
    return f"FROM BASE\nRUN echo of-{word} > /who\n"


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM TAG\nRUN NEW cat /who\n",
        "  from   --platform=$BUILDPLATFORM TAG AS base\nFROM base\nRUN NEW cat /who\n",
        "ARG NAME=TAG\nFROM ${NAME:-scratch}\nRUN NEW cat /who\n",
        "# escape=`\nFROM `\n  TAG\nRUN NEW cat /who\n",
        "FROM BASE\nCOPY --from=TAG /who /who\nRUN NEW cat /who\n",
        "FROM BASE\nRUN --mount=from=TAG,target=/mnt : MARK; cat /mnt/who\n",
        "FROM nowhere.invalid/unused:1 AS unused\nFROM TAG\nRUN NEW cat /who\n",
        "FROM BASE\nRUN <<END\necho '\nFROM nowhere.invalid/text:1\n'\nEND\n"
        "COPY --from=TAG /who /who\nRUN NEW cat /who\n",
    ],
)
async def test_a_tag_that_moves_means_one_image_in_a_build(
    moving: MovingTag, dockerfile: str
) -> None:
    build, another = OneBuild(), OneBuild()
    first = await moving.move(who("first"))
    before = await moving.use(dockerfile, build.settle)
    second = await moving.move(who("second"))
    after = await moving.use(dockerfile, build.settle)
    in_another = await moving.use(dockerfile, another.settle)

    assert [one.message for one in (before, after, in_another)] == ["", "", ""]
    assert "of-first\n" in before.text
    assert "of-first\n" in after.text
    assert "of-second\n" in in_another.text
    assert (build.digests, another.digests) == ({moving.tag: first}, {moving.tag: second})
    assert [one.result.notes for one in (before, after)] == [[], []]


async def test_the_frontend_that_a_dockerfile_names_is_settled_too(moving: MovingTag) -> None:
    build, text = OneBuild(), "# syntax=TAG\nFROM scratch\n"
    entry = 'FROM BASE\nENTRYPOINT ["bash", "-c", "exit {}"]\n'
    first = await moving.move(entry.format(21))
    await moving.use(text, build.settle)
    await moving.move(entry.format(22))
    after = await moving.use(text, build.settle)

    assert build.digests == {moving.tag: first}
    assert after.message.endswith("exit code: 21")


async def test_what_is_known_of_a_tag_is_used_without_asking(moving: MovingTag) -> None:
    first = await moving.move(who("first"))
    gone = f"{moving.tag.rpartition(':')[0]}:gone"
    text = f"FROM TAG\nCOPY --from={gone} /who /other\nRUN NEW cat /who /other\n"
    build = OneBuild()
    await moving.move(who("second"))
    built = await moving.use(text, build.settle, known={moving.tag: first, gone: first})

    assert built.message == ""
    assert built.text.count("of-first\n") == 2
    assert build.digests == {}


async def test_a_digest_beside_a_tag_is_not_what_the_tag_means(moving: MovingTag) -> None:
    build = OneBuild()
    first = await moving.move(who("first"))
    second = await moving.move(who("second"))
    text = f"FROM TAG@{first}\nRUN NEW cat /who\n"
    built = await moving.use(text, build.settle)
    known = await moving.use(text, build.settle, known={moving.tag: second})

    assert "of-first\n" in built.text
    assert "of-first\n" in known.text
    assert build.digests == {moving.tag: second}


async def test_stages_and_images_without_a_registry_are_not_settled(images: ImageBench) -> None:
    build = OneBuild()
    built = await images.build(
        "FROM scratch AS busybox\nFROM BASE\nCOPY --from=busybox / /none\n",
        settled_images={},
        settle_tag=build.settle,
    )

    assert built.message == ""
    assert set(build.digests) <= {images.image}


async def test_anothers_image_is_neither_settled_nor_read(moving: MovingTag) -> None:
    build, rule = OneBuild(), OwnRegistries(registries=[OWN], account="alpha")
    first = await moving.move(who("first"))
    text = "FROM TAG\nRUN NEW cat /who\n"
    built = await moving.use(text, build.settle, own_registries=rule)
    told = await moving.use(text, build.settle, own_registries=rule, known={moving.tag: first})

    for one in (built, told):
        assert one.result.outcome is Outcome.IMAGE_FAILED
        assert "not this account's to read" in one.message
        assert "of-first" not in one.text
    assert build.digests == {}


async def test_a_registry_that_asks_is_told_the_login(
    images: ImageBench, guarded: Registry
) -> None:
    tag, build = f"{guarded.new_name()}:1", OneBuild()
    await images.build(who("first"), tags=[tag], push=True, registries=[guarded.login])
    built = await images.build(
        f"FROM {tag}\n", registries=[guarded.login], settled_images={}, settle_tag=build.settle
    )

    assert built.message == ""
    assert build.digests == {tag: guarded.digest(tag)}


async def test_a_broken_dockerfile_fails_with_what_its_build_says(images: ImageBench) -> None:
    build, text = OneBuild(), "FROM BASE\nNONSENSE\n"
    plain = await images.build(text)
    settled = await images.build(text, settled_images={}, settle_tag=build.settle)

    assert settled.result == plain.result
    assert settled.result.outcome is Outcome.IMAGE_FAILED
