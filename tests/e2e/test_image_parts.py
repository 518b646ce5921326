"""One image of two platforms, from a push to what the registry has: real agents, each of a platform
of its own, a real BuildKit, a real registry.

There is one architecture here: each agent is told its platform (`--platform`), and what is built
for the other one copies only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running, step_named
from tests.integration.buildkit.conftest import engine_with_containerd
from tests.integration.buildkit.registries import Registry, own_registry

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

AMD, ARM = "linux/amd64", "linux/arm64"
OF_AMD, OF_ARM = "image (linux-amd64)", "image (linux-arm64)"
DOCKERFILE = """
FROM BASE AS amd64
RUN test -z "$FAIL" && echo made > /made
FROM scratch AS arm64
COPY word /made
FROM ${TARGETARCH}
LABEL of=$TARGETARCH
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[TestEngine]:
    with engine_with_containerd() as engine:
        yield engine


@pytest.fixture
def registry(engine: TestEngine) -> Registry:
    return own_registry(engine.record)


@pytest.fixture
def pushrod(engine: TestEngine, tmp_path: Path) -> Iterator[Pushrod]:
    with running(tmp_path / "pushrod", engine.address, agents=0) as pushrod:
        yield pushrod


def pushed(pushrod: Pushrod, folder: Path, tag: str, dockerfile: str) -> dict[str, Any]:
    """A build of an image of two platforms."""
    repository = Repository.create(folder)
    repository.write("Dockerfile", dockerfile)
    repository.write("word", "content")
    workflow = f"""
on: {{push: {{}}}}
steps:
  - name: image
    build: {{tags: ["{tag}"], platforms: [{AMD}, {ARM}]}}
"""
    return pushrod.push_workflow(repository, pushrod.create_project(), workflow)


def new_tag() -> str:
    return f"127.0.0.1:5000/default/{secrets.token_hex(6)}:1"


def test_agents_of_two_platforms_make_one_image(
    pushrod: Pushrod, engine: TestEngine, registry: Registry, tmp_path: Path
) -> None:
    tag = new_tag()
    pushrod.start_agent("arm", platforms=(ARM,))
    text = DOCKERFILE.replace("BASE", engine.image)
    build = pushed(pushrod, tmp_path / "repository", tag, text)

    def of_arm_is_built(build: dict[str, Any]) -> bool:
        steps = {step["name"]: step for step in build["steps"]}
        return steps.get(OF_ARM, {}).get("status") == "SUCCESS"

    waiting = pushrod.api.wait(build["id"], of_arm_is_built)
    said = step_named(waiting, OF_AMD)["waitsFor"]
    assert said.startswith(f"waits for an agent of {AMD}:")
    assert registry.digest(tag) is None  # nothing is under the tag until all is there

    pushrod.start_agent("amd", platforms=(AMD,))
    ended = pushrod.api.wait_finished(build["id"])
    assert ended["state"] == "succeeded", ended
    image = step_named(ended, "image")
    assert image["images"] == [{"reference": tag, "digest": registry.digest(tag)}]
    index = registry.manifest(tag)
    kinds = [one["platform"]["architecture"] for one in index["manifests"]]
    assert sorted(kinds) == ["amd64", "arm64"]
    first = pushrod.api.log(image["id"], attempt=1).decode()
    assert "the image is built in parts, by agents of linux/amd64, linux/arm64" in first
    assert "RUN test -z" in pushrod.api.log(step_named(ended, OF_AMD)["id"]).decode()
    shown = pushrod.command("build", "show", ended["id"]).stdout
    assert OF_ARM in shown


def test_a_part_that_fails_leaves_nothing_under_the_tag_and_is_built_again(
    pushrod: Pushrod, engine: TestEngine, registry: Registry, tmp_path: Path
) -> None:
    tag = new_tag()
    pushrod.start_agent("arm", platforms=(ARM,))
    broken = DOCKERFILE.replace("BASE", engine.image).replace("RUN test -z", "RUN test -n")
    build = pushed(pushrod, tmp_path / "repository", tag, broken)
    pushrod.start_agent("amd", platforms=(AMD,))

    ended = pushrod.api.wait_finished(build["id"])
    assert ended["state"] == "failed"
    assert ended["reason"] == f"step {OF_AMD} failed: exit code 1"
    assert step_named(ended, "image")["reason"] == f"part {OF_AMD}"
    assert registry.digest(tag) is None

    again = pushrod.api.post(
        f"/api/projects/{ended['projectId']}/builds/{ended['id']}/retry", {"failed": True}
    )
    ended = pushrod.api.wait_finished(again["id"])
    assert ended["state"] == "failed"
    assert step_named(ended, OF_ARM)["reason"].startswith("taken over from #")
