"""Images of another account at a registry that all share, asked for by a real engine."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import Outcome
from pipelines_schema.own_registries import OwnRegistries

from .image_bench import ImageBench
from .registries import OWN, Registry

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine
ALPHA = OwnRegistries(registries=[OWN], account="alpha")


@pytest.fixture
async def anothers(images: ImageBench) -> str:
    tag = f"{OWN}/beta/{secrets.token_hex(6)}:1"
    built = await images.build(
        "FROM BASE\nRUN echo of-beta > /who\nCMD cat /who\n", tags=[tag], push=True
    )
    assert built.message == ""
    return tag


async def test_an_image_is_pushed_below_the_accounts_own_folder_alone(
    images: ImageBench, own: Registry, anothers: str
) -> None:
    before = own.digest(anothers)
    mine = f"{OWN}/alpha/{secrets.token_hex(6)}:1"

    pushed = await images.build("FROM BASE\n", tags=[mine], push=True, own_registries=ALPHA)
    refused = [
        await images.build("FROM BASE\nRUN id\n", tags=[tag], push=True, own_registries=ALPHA)
        for tag in (anothers, anothers.replace("127.0.0.1", "localhost"), f"{OWN}/pushrod/base:1")
    ]

    assert pushed.message == ""
    assert [one.result.outcome for one in refused] == [Outcome.IMAGE_FAILED] * 3
    assert refused[0].message.startswith(f"the tag `{anothers}` is not your account's to push to")
    assert own.digest(anothers) == before


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM ANOTHERS\nRUN NEW cat /who\n",
        "ARG FROM=ANOTHERS\nFROM $FROM\nRUN NEW cat /who\n",
        "FROM BASE\nCOPY --from=ANOTHERS /who /who\nRUN NEW cat /who\n",
        "FROM BASE\nRUN --mount=from=ANOTHERS,target=/mnt cat /mnt/who\n",
        "# syntax=ANOTHERS\nFROM BASE\n",
        "FROM BASE\nADD http://OWN/v2/PATH/manifests/1 /who\nRUN NEW cat /who\n",
    ],
)
@pytest.mark.parametrize("host", [OWN, "localhost:5000"])
async def test_a_dockerfile_reads_no_image_of_another_account(
    images: ImageBench, anothers: str, dockerfile: str, host: str
) -> None:
    reference = anothers.replace(OWN, host)
    path = anothers.removeprefix(f"{OWN}/").partition(":")[0]
    text = dockerfile.replace("ANOTHERS", reference).replace("PATH", path).replace("OWN", host)

    built = await images.build(text, own_registries=ALPHA)

    assert built.result.outcome is Outcome.IMAGE_FAILED, built.text
    assert "not this account's to read" in built.message
    assert "of-beta" not in built.text


async def test_an_image_made_public_is_read_by_all(images: ImageBench, anothers: str) -> None:
    rule = OwnRegistries(registries=[OWN], account="alpha", public=[anothers])

    built = await images.build(f"FROM {anothers}\nRUN NEW cat /who\n", own_registries=rule)

    assert built.message == ""
    assert "of-beta\n" in built.text


async def test_a_script_runs_in_no_image_of_another_account(
    one_bench: Bench, anothers: str
) -> None:
    for image in (anothers, anothers.replace("127.0.0.1", "localhost")):
        ran = await one_bench.run("cat /who", image=image, own_registries=ALPHA)

        assert ran.result.outcome is Outcome.ENGINE_FAILED
        assert f"the image `{image}` is not your account's to read" in (ran.result.message or "")
        assert b"of-beta" not in ran.log.stdout


async def test_a_step_runs_in_the_image_that_its_build_settled_on(
    images: ImageBench, own: Registry, one_bench: Bench
) -> None:
    tag = f"{own.new_name()}:1"
    for word in ("first", "second"):
        await images.build(f"FROM BASE\nRUN echo {word} > /who\n", tags=[tag], push=True)
        if word == "first":
            first = own.digest(tag)
    assert first is not None
    found: list[str] = []

    async def settle(digest: str) -> str:
        found.append(digest)
        return str(first)

    told = await one_bench.run("cat /who", image=tag, image_digest=first)
    answered = await one_bench.run("cat /who", image=tag, settle_image=settle)

    assert told.log.stdout == b"first\n"
    assert answered.log.stdout == b"first\n"
    assert found == [own.digest(tag)]
