"""Images built from Dockerfiles by a real engine, and pushed to real registries."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import Outcome
from pipelines_schema.contract_images import RegistryLogin
from tests.quiet_time import quiet_seconds

from .conftest import Log
from .image_bench import BuiltOnce, ImageBench
from .registries import OWN, PASSWORD, Registry

if TYPE_CHECKING:
    from .conftest import Bench, Marker

pytestmark = pytest.mark.engine


async def test_an_image_is_built_and_pushed_to_every_tag(images: ImageBench, own: Registry) -> None:
    name = own.new_name()
    tags = [f"{name}:1", f"{name}:latest"]

    built = await images.build("FROM BASE\nRUN echo made > /made\n", tags=tags, push=True)

    assert (built.result.outcome, built.result.exit_code) == (Outcome.EXITED, 0), built.message
    digests = {image.reference: image.digest for image in built.result.images}
    assert digests == {tag: own.digest(tag) for tag in tags}
    assert None not in digests.values()
    assert f"pushed {name}:1 {digests[f'{name}:1']}\n" in built.text


async def test_a_pushed_image_is_the_image_of_a_later_step(
    images: ImageBench, own: Registry, one_bench: Bench
) -> None:
    tag = f"{own.new_name()}:1"
    for word in ("first", "second"):
        await images.build(f"FROM BASE\nRUN echo {word} > /made\n", tags=[tag], push=True)
        ran = await one_bench_run(images, one_bench, "cat /made", tag)

        assert ran == f"{word}\n".encode()


async def one_bench_run(images: ImageBench, bench: Bench, script: str, image: str) -> bytes:
    """By the same engine as built the image, which may remember what the tag meant."""
    bench.engine, kept = images.engine, bench.engine
    try:
        return (await bench.run(script, image=image)).log.stdout
    finally:
        bench.engine = kept


async def test_a_registry_with_a_password_takes_the_image_of_who_knows_it(
    images: ImageBench, guarded: Registry
) -> None:
    tag = f"{guarded.new_name()}:1"
    stranger = RegistryLogin(host="other.example", username="a", password="b")

    built = await images.build(
        "FROM BASE\nRUN env\n", tags=[tag], push=True, registries=[stranger, guarded.login]
    )

    assert built.message == ""
    assert [image.digest for image in built.result.images] == [guarded.digest(tag)]
    assert PASSWORD not in built.text


async def test_a_base_image_that_needs_a_password_is_fetched_with_it(
    images: ImageBench, guarded: Registry
) -> None:
    tag = f"{guarded.new_name()}:1"
    await images.build(
        "FROM BASE\nRUN echo private > /p\n", tags=[tag], push=True, registries=[guarded.login]
    )
    dockerfile = f"FROM {tag}\nRUN NEW cat /p\n"

    allowed = await images.build(dockerfile, registries=[guarded.login])
    refused = await images.build(dockerfile, registries=[])

    assert "[2/2] private\n" in allowed.text
    # An engine may have the layers already; what it must not do is fetch them for a stranger.
    assert refused.message.startswith("Dockerfile:1: FROM ") or "CACHED" in refused.text


@pytest.mark.parametrize("password", [None, "wrong-horse"])
async def test_a_push_that_the_registry_refuses_says_what_to_do(
    images: ImageBench, guarded: Registry, password: str | None
) -> None:
    tag = f"{guarded.new_name()}:1"
    logins = [guarded.login.model_copy(update={"password": password})] if password else []

    built = await images.build("FROM BASE\nRUN true\n", tags=[tag], push=True, registries=logins)

    assert (built.result.outcome, built.result.images) == (Outcome.IMAGE_FAILED, ())
    assert built.message.startswith(
        f"{tag} could not be pushed: {guarded.host} refuses it: give the project a login that may "
        f"push, by `pushrod registry login {guarded.host}`"
    )
    assert guarded.digest(tag) is None


async def test_a_push_to_a_registry_that_is_not_there_says_so(images: ImageBench) -> None:
    built = await images.build("FROM BASE\nRUN true\n", tags=["127.0.0.1:9/test/app:1"], push=True)

    assert built.result.outcome is Outcome.IMAGE_FAILED
    assert "127.0.0.1:9 can't be reached from the engine" in built.message


MISTAKES = {
    "an instruction that fails": (
        "FROM BASE\n\n# A comment\nRUN echo one && \\\n    sh -c 'exit 7'\n",
        "Dockerfile:4: RUN echo one && sh -c 'exit 7': exit code 7",
    ),
    "a word that is no instruction": (
        "FROM BASE\nRUNN true\n",
        "Dockerfile:2: unknown instruction: RUNN",
    ),
    "an unknown base image": (
        f"FROM {OWN}/no/such:1\n",
        f"Dockerfile:1: FROM {OWN}/no/such:1: there is none of this name: check the name and the "
        "tag, or push it first",
    ),
    "a base image at a host that isn't there": (
        "FROM registry.invalid/x:1\n",
        "Dockerfile:1: FROM registry.invalid/x:1: its registry can't be reached from the engine",
    ),
    "a file that isn't there": (
        "FROM BASE\nCOPY nothing /\n",
        'Dockerfile:2: COPY nothing /: "/nothing" is not in the context, or .dockerignore leaves '
        "it out",
    ),
    "a secret that the step doesn't name": (
        "FROM BASE\nRUN --mount=type=secret,id=TOKEN,required=true true\n",
        "Dockerfile:2: RUN --mount=type=secret,id=TOKEN,required=true true: there is no secret "
        "TOKEN: name it in the step's `secrets`",
    ),
    "an argument of an instruction": (
        "FROM BASE\nEXPOSE abc\n",
        "Dockerfile:2: EXPOSE abc: ",
    ),
    "an empty file": ("", "Dockerfile: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_failed_build_tells_its_cause_and_its_place(
    images: ImageBench, mistake: str
) -> None:
    dockerfile, message = MISTAKES[mistake]

    built = await images.build(dockerfile)

    assert built.message.startswith(message)
    assert "\n" not in built.message
    expected = Outcome.EXITED if "exit code" in message else Outcome.IMAGE_FAILED
    assert built.result.outcome is expected


async def test_the_exit_code_of_the_instruction_is_the_steps(images: ImageBench) -> None:
    built = await images.build("FROM BASE\nRUN exit 7\n")

    assert built.result.exit_code == 7


async def test_the_place_of_a_mistake_in_a_large_file_is_known(images: ImageBench) -> None:
    padding = "".join(f"# {number} {'x' * 80}\n" for number in range(1, 2001))

    built = await images.build(f"FROM BASE\n{padding}RUN exit 3\n")

    assert built.message == "Dockerfile:2002: RUN exit 3: exit code 3"


async def test_a_stage_that_isnt_there_is_named(images: ImageBench) -> None:
    built = await images.build("FROM BASE AS one\n", target="two")

    assert built.message.startswith("Dockerfile: it has no stage `two`")


async def test_a_missing_dockerfile_and_a_missing_context_are_named(images: ImageBench) -> None:
    images.write({"web/Dockerfile": "FROM BASE\n"})

    no_file = await images.build()
    no_folder = await images.build(context="api")
    other_file = await images.build(context="web", dockerfile="docker/Dockerfile.dev")

    assert no_file.message.startswith("there is no Dockerfile `Dockerfile` in the workspace")
    assert no_folder.message.startswith("the workspace has no folder `api`")
    assert other_file.message.startswith("there is no Dockerfile `web/docker/Dockerfile.dev`")
    for built in (no_file, no_folder, other_file):
        assert built.result.outcome is Outcome.IMAGE_FAILED


async def test_no_link_leads_out_of_the_workspace(images: ImageBench, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "outside" / "secret").write_text("secret\n")
    (images.folder / "out").symlink_to(tmp_path / "outside")
    (images.folder / "Dockerfile").symlink_to(tmp_path / "outside" / "Dockerfile")
    (images.folder / "leak").symlink_to(tmp_path / "outside" / "secret")
    images.write({"Dockerfile.copy": "FROM BASE\nCOPY leak /leak\nRUN cat /leak\n"})

    context = await images.build(context="out")
    dockerfile = await images.build()
    below = await images.build(dockerfile="out/Dockerfile")
    copied = await images.build(dockerfile="Dockerfile.copy")

    assert context.message.startswith("the workspace has no folder `out`")
    assert dockerfile.message == "`Dockerfile` is a symbolic link: name the Dockerfile itself"
    assert below.message.startswith("there is no Dockerfile `out/Dockerfile`")
    assert copied.result.outcome is not Outcome.EXITED or copied.result.exit_code != 0
    assert "secret\n" not in copied.text


async def test_what_dockerignore_names_is_not_sent(images: ImageBench) -> None:
    images.write(
        {
            ".dockerignore": "*.md\n!keep.md\n**/cache\ndocs\n!docs/a/keep\n# a comment\n"
            + "".join(f"generated/part-{number}/*.txt\n" for number in range(1_500)),
            "drop.md": "",
            "keep.md": "",
            "src/cache/file": "",
            "src/drop.md": "",
            "src/é.txt": "",
            "docs/a/keep": "",
            "docs/a/drop": "",
            "docs/b": "",
        }
    )

    built = await images.build("FROM BASE\nCOPY . /all\nRUN NEW cd /all && find . -type f | sort\n")

    found = [line.removeprefix("[3/3] ./") for line in built.text.splitlines() if "./" in line]
    assert found == [
        ".dockerignore",
        "Dockerfile",
        "docs/a/keep",
        "keep.md",
        "src/drop.md",
        "src/é.txt",
    ]


async def test_context_dockerfile_target_and_args_are_those_of_the_step(
    images: ImageBench,
) -> None:
    images.write(
        {
            "secret-of-the-rest": "x",
            "web/page": "hello",
            "web/docker/Dockerfile.web": (
                "FROM BASE AS early\nARG WORD=none\nCOPY page /page\n"
                "RUN NEW echo $WORD $(cat /page); ls /page\nFROM early AS late\nRUN exit 9\n"
            ),
        }
    )

    built = await images.build(
        context="web",
        dockerfile="docker/Dockerfile.web",
        target="early",
        args={"WORD": "$(touch /x) `id`; 'a' é"},
    )

    assert built.message == ""
    assert "[early 3/3] $(touch /x) `id`; 'a' é hello\n" in built.text
    images.write({"web/Dockerfile": "FROM BASE\nCOPY ../secret-of-the-rest /\n"})
    outside = await images.build(context="web")
    assert outside.message.startswith("web/Dockerfile:2: COPY ../secret-of-the-rest /: ")


async def test_artifacts_of_dependencies_lie_over_the_source(
    images: ImageBench, tmp_path: Path
) -> None:
    images.write({"dist/old": "source", "dist/both": "source"})
    for name in ("both", "new"):
        (tmp_path / "inputs" / "dist").mkdir(parents=True, exist_ok=True)
        (tmp_path / "inputs" / "dist" / name).write_text("artifact")

    built = await images.build(
        "FROM BASE\nCOPY dist /dist\nRUN NEW cd /dist && grep . *\n", inputs=tmp_path / "inputs"
    )

    for line in ("both:artifact", "new:artifact", "old:source"):
        assert f"[3/3] {line}\n" in built.text


async def test_what_has_not_changed_is_taken_from_the_cache_and_said_to_be(
    images: ImageBench,
) -> None:
    mark = secrets.token_hex(8)
    dockerfile = f"FROM BASE\nRUN echo {mark} > /mark\nCOPY file /file\nRUN cat /file\n"
    images.write({"file": "one"})

    await images.build(dockerfile)
    again = await images.build(dockerfile)
    images.write({"file": "two"})
    changed = await images.build(dockerfile)

    unchanged = "CACHED: neither the command nor anything before it has changed\n"
    assert f"[2/4] RUN echo {mark} > /mark: {unchanged}" in again.text
    assert (
        "[3/4] COPY file /file: CACHED: neither the files nor anything before them has changed\n"
        in again.text
    )
    assert f"[4/4] RUN cat /file: {unchanged}" in again.text
    assert f"[2/4] RUN echo {mark} > /mark: {unchanged}" in changed.text
    assert "[4/4] two\n" in changed.text


async def test_a_clean_build_takes_nothing_from_the_cache_and_what_it_makes_is_cached(
    images: ImageBench, own: Registry
) -> None:
    dockerfile = f"FROM BASE\nRUN : {secrets.token_hex(8)}; cat /proc/sys/kernel/random/uuid\n"
    name = own.new_name()

    def made(built: BuiltOnce) -> str:
        assert built.result.exit_code == 0, built.message
        return next((line for line in built.text.splitlines() if len(line.split()[-1]) == 36), "")

    first = made(await images.build(dockerfile))
    # Pushed to two repositories, which the engine may take for two builds.
    tags = [f"{name}:1", f"{own.new_name()}:1"]
    clean = await images.build(dockerfile, clean=True, tags=tags, push=True)

    assert first
    assert made(clean) not in ("", first)
    assert [built.digest for built in clean.result.images] == [own.digest(tag) for tag in tags]
    assert "CACHED" in (await images.build(dockerfile)).text


async def test_output_keeps_its_streams_and_its_instruction(images: ImageBench) -> None:
    mark = secrets.token_hex(4)
    built = await images.build(
        f"FROM BASE AS build\nRUN echo {mark} out; echo {mark} err >&2; printf {mark}-open\n"
        f"FROM build\nRUN printf '{mark}\\nnext' >&2\n"
    )

    assert f"[build 2/2] {mark} out\n".encode() in built.log.stdout
    assert f"[build 2/2] {mark}-open\n".encode() in built.log.stdout
    assert f"[build 2/2] {mark} err\n".encode() in built.log.stderr
    assert f"[stage-1 1/1] {mark}\n[stage-1 1/1] next\n".encode() in built.log.stderr
    assert b"\nRUN" not in built.log.stdout


async def test_a_secret_is_mounted_and_in_no_layer(
    images: ImageBench, own: Registry, one_bench: Bench
) -> None:
    tag = f"{own.new_name()}:1"
    built = await images.build(
        "FROM BASE\nRUN --mount=type=secret,id=TOKEN "
        "test \"$(cat /run/secrets/TOKEN)\" = 'hunter 2' && touch /known\n",
        tags=[tag],
        push=True,
        secrets_given={"TOKEN": "hunter 2"},
    )

    assert built.message == ""
    listed = await one_bench.run("ls /known; ls /run/secrets 2>&1 || true", image=tag)
    assert b"/known\n" in listed.log.stdout
    assert b"TOKEN" not in listed.log.stdout


async def test_without_network_an_instruction_has_loopback_alone(images: ImageBench) -> None:
    built = await images.build("FROM BASE\nRUN NEW ls /sys/class/net\n", offline=True)

    assert "[2/2] lo\n" in built.text
    assert "eth0" not in built.text


async def test_an_image_that_is_not_pushed_is_only_built(images: ImageBench, own: Registry) -> None:
    tag = f"{own.new_name()}:1"

    built = await images.build("FROM BASE\nRUN true\n", tags=[tag], push=False)

    assert (built.result.exit_code, built.result.images) == (0, [])
    assert own.digest(tag) is None


async def test_cache_mounts_are_kept_for_their_scope_alone(images: ImageBench) -> None:
    scope = secrets.token_hex(8)

    async def marks(cache_scope: str, word: str) -> str:
        dockerfile = f"FROM BASE\nRUN --mount=type=cache,target=/c cat /c/m; echo {word} >> /c/m\n"
        return (await images.build(dockerfile, cache_scope=cache_scope)).text

    await marks(scope, "first")
    assert "2/2] first\n" in await marks(scope, "second")
    assert "2/2] first\n" not in await marks(f"{scope}-other", "third")


async def test_two_attempts_push_one_tag_and_each_says_its_own_digest(
    images: ImageBench, own: Registry, tmp_path: Path
) -> None:
    name = own.new_name()
    folders = [tmp_path / word for word in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    benches = [ImageBench(engine=images.engine, image=images.image, folder=f) for f in folders]

    built = await asyncio.gather(
        *(
            bench.build(
                f"FROM BASE\nRUN echo {bench.folder.name} > /made\n",
                tags=[f"{name}:same", f"{name}:{bench.folder.name}"],
                push=True,
            )
            for bench in benches
        )
    )

    assert [one.message for one in built] == ["", "", ""]
    digests = [{image.digest for image in one.result.images} for one in built]
    assert digests == [{own.digest(f"{name}:{folder.name}")} for folder in folders]
    assert len(set.union(*digests)) == 3
    assert own.digest(f"{name}:same") in set.union(*digests)


async def test_a_tag_that_could_escape_is_refused_by_the_engine_too(images: ImageBench) -> None:
    for tag in ("app:1", "127.0.0.1:5000/a:b/../c", "127.0.0.1:5000/a:${{ x }}"):
        built = await images.build("FROM BASE\n", tags=[tag], push=True)

        assert built.result.outcome is Outcome.IMAGE_FAILED
        assert built.message.startswith(f"the tag `{tag}` ")


def long_dockerfile(marker: Marker) -> str:
    return f"FROM BASE\nRUN NEW trap '' TERM INT; echo up; sleep {marker.word}\n"


async def test_a_cancelled_build_is_gone_within_a_second(
    images: ImageBench, marker: Marker
) -> None:
    log = Log()
    building = asyncio.create_task(images.build(long_dockerfile(marker), log=log))
    await log.wait_for(b"[2/2] up\n")

    began = quiet_seconds()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    assert quiet_seconds() - began < 1
    assert marker.processes() == []


@pytest.mark.parametrize("delay", [0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3])
async def test_a_build_cancelled_at_any_moment_leaves_nothing(
    images: ImageBench, marker: Marker, delay: float
) -> None:
    building = asyncio.create_task(images.build(long_dockerfile(marker)))
    await asyncio.sleep(delay)

    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    assert marker.processes() == []


async def test_an_instruction_sees_no_variable_of_ours_where_it_uses_it_itself(
    images: ImageBench,
) -> None:
    script = "RUN NEW env | grep -i no.proxy || echo none\n"

    ours = await images.build(f"FROM BASE\n{script}")
    its_own = await images.build(f"FROM BASE\nARG NO_PROXY=mine\n{script}")
    given = await images.build(f"FROM BASE\n{script}", args={"no_proxy": "a.example"})

    assert ".pushrod.invalid\n" in ours.text
    for built in (its_own, given):
        assert "pushrod.invalid" not in built.text


async def test_a_build_ends_at_its_timeout(images: ImageBench, marker: Marker) -> None:
    built = await images.build(long_dockerfile(marker), timeout_seconds=3)

    assert built.result.outcome is Outcome.TIMED_OUT
    assert built.message == "the image's build was ended after its timeout of 3 seconds"
    assert "[2/2] up\n" in built.text
    assert marker.processes() == []
