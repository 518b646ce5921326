"""From a `git push` to an image in a registry, by pushrod's own processes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.engines.private import engine_places
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, is_running, running, step_named
from tests.integration.buildkit.registries import (
    OWN,
    PASSWORD,
    USERNAME,
    Registry,
    registry_with_password,
)

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pushrod(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("images"), buildkit.address) as pushrod:
        yield pushrod


@pytest.fixture(scope="module")
def registry(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with registry_with_password(folder, engine_places().record) as registry:
        yield registry


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository")


def files_with(folder: Path, text: str) -> list[Path]:
    paths = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if text.encode() in path.read_bytes()]


def test_an_image_goes_to_a_registry_with_the_projects_login_and_no_secret_is_seen(
    pushrod: Pushrod,
    repository: Repository,
    registry: Registry,
    buildkit: TestEngine,
    tmp_path: Path,
) -> None:
    project, token = pushrod.create_project("shop"), f"token-{secrets.token_hex(8)}"
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    login = ("registry", "login", registry.host, "--project", "shop", "--username", USERNAME)
    ended = pushrod.command(*login, "--password-file", str(tmp_path / "password"))
    assert (ended.returncode, ended.stderr) == (0, f"logged in to {registry.host} as {USERNAME}\n")
    assert pushrod.command("secret", "set", "shop", "TOKEN", given=token).returncode == 0
    name = registry.new_name()
    workflow = f"""
steps:
  - name: make
    image: {buildkit.image}
    run: echo made > dist/program
    outputPaths: [dist/]
  - name: image
    dependsOn: [make]
    matrix: {{word: [one, two/three]}}
    secrets: [TOKEN]
    build:
      context: dist
      dockerfile: Dockerfile
      args: {{WORD: "${{{{ matrix.word }}}}"}}
      tags: ["{name}:${{{{ matrix.word }}}}-${{{{ build.number }}}}"]
  - name: use
    dependsOn: [image]
    image: {name}:one-1
    run: cat /program /word
"""
    # A secret's value is in no cache's key: without the mark a former run's layer would be taken.
    dockerfile = f"""FROM {buildkit.image}
ENV MARK={secrets.token_hex(8)}
COPY program /program
ARG WORD
RUN --mount=type=secret,id=TOKEN echo "$WORD" > /word; cat /run/secrets/TOKEN; echo
"""
    repository.write("dist/Dockerfile", dockerfile)
    build = pushrod.api.wait_finished(pushrod.push_workflow(repository, project, workflow)["id"])
    assert build["state"] == "succeeded", build

    images = [step_named(build, f"image ({word})")["images"] for word in ("one", "two-three")]
    assert [[image["reference"] for image in pushed] for pushed in images] == [
        [f"{name}:one-1"],
        [f"{name}:two-three-1"],
    ]
    for [image] in images:
        assert registry.digest(image["reference"]) == image["digest"]
    log = pushrod.api.log(step_named(build, "image (one)")["id"]).decode()
    assert token not in log
    assert "***\n" in log
    used = step_named(build, "use")
    assert pushrod.api.log(used["id"]) == b"made\none\n", "fetched with the project's login"
    for secret in (token, PASSWORD):
        assert files_with(pushrod.data / "pushrod.db", secret) == []
        assert files_with(pushrod.folder / "agent-agent1", secret) == []
        assert secret not in pushrod.api.request("GET", "/api/audit-logs")[1].decode()


def test_all_steps_of_a_build_begin_with_one_image_by_one_tag(
    pushrod: Pushrod, repository: Repository, buildkit: TestEngine
) -> None:
    project, name = pushrod.create_project("moved"), secrets.token_hex(6)
    tag = f"{OWN}/default/{name}:1"
    for word in ("old", "new"):
        repository.write(f"{word}.Dockerfile", f"FROM {buildkit.image}\nENV WORD={word}-{name}\n")
    repository.write("use.Dockerfile", f"FROM {tag}\n")
    push = "build: {{dockerfile: {}.Dockerfile, tags: ['{}']}}"
    use = "build: {dockerfile: use.Dockerfile}"
    before = pushrod.push_workflow(
        repository, project, f"steps: [{{name: old, {push.format('old', tag)}}}]\n"
    )
    old = step_named(pushrod.api.wait_finished(before["id"]), "old")["images"][0]["digest"]
    workflow = f"""
steps:
  - {{name: first, {use}}}
  - {{name: push, dependsOn: [first], {push.format("new", tag)}}}
  - {{name: after, dependsOn: [push], {use}}}
  - {{name: beside, dependsOn: [first], {use}, agents: {{late: "true"}}}}
"""
    build = pushrod.push_workflow(repository, project, workflow)
    pushrod.api.wait(
        build["id"], lambda shown: step_named(shown, "after")["status"] == "SUCCESS", seconds=90
    )
    pushrod.start_agent("late", labels=("late=true",))
    build = pushrod.api.wait_finished(build["id"])

    new = step_named(build, "push")["images"][0]["digest"]
    assert build["state"] == "succeeded", build
    assert new != old
    for step, digest in {"first": old, "after": new, "beside": old}.items():
        log = pushrod.api.log(step_named(build, step)["id"]).decode()
        assert f"FROM {tag}@{digest}" in log, step


def test_logins_are_listed_and_forgotten(pushrod: Pushrod) -> None:
    project = pushrod.create_project("logins")
    given = ("registry", "login", "registry.example", "--username", "anna")
    assert pushrod.command(*given, "--account", "default", given="a-password\n").returncode == 0
    nobody = pushrod.command(*given, given="x")
    assert (nobody.returncode, "--project PROJECT or --account" in nobody.stderr) == (1, True)
    wrong = pushrod.command(
        "registry", "login", "nonsense", *given[3:], "--project", "logins", given="x"
    )
    assert "is no registry" in wrong.stderr

    listed = pushrod.command("registry", "list", "--project", project["slug"])
    assert "registry.example" in listed.stdout
    assert "a-password" not in listed.stdout
    out = ("registry", "logout", "registry.example", "--account", "default")
    assert pushrod.command(*out).returncode == 0
    assert "there is no login" in pushrod.command(*out).stderr
    assert "no logins" in pushrod.command("registry", "list", "--project", "logins").stderr


def test_a_failed_image_says_which_line_of_which_file(
    pushrod: Pushrod, repository: Repository, buildkit: TestEngine
) -> None:
    project = pushrod.create_project("broken")
    repository.write("web/Dockerfile", f"FROM {buildkit.image}\n\nRUN exit 3\n")
    build = pushrod.push_workflow(
        repository, project, "steps: [{name: image, build: {context: web}}]\n"
    )

    [step] = pushrod.api.wait_finished(build["id"])["steps"]

    assert (step["status"], step["exitCode"]) == ("FAILED", 3)
    assert step["message"] == "web/Dockerfile:3: RUN exit 3: exit code 3"
    assert "images" not in step
    log = pushrod.api.log(step["id"]).decode()
    assert "[2/2] ERROR: process" in log


def test_an_agent_killed_under_a_build_costs_one_attempt(
    buildkit: TestEngine, repository: Repository, registry: Registry, tmp_path: Path
) -> None:
    with running(tmp_path / "pushrod", buildkit.address) as pushrod:
        project, mark = pushrod.create_project("killed"), secrets.token_hex(6)
        # The second attempt is quicker: what the first one left in the cache says so.
        script = (
            f"if [ -e /c/seen ]; then echo again; else touch /c/seen; echo up {mark}; sleep 60; fi"
        )
        repository.write(
            "Dockerfile",
            f"FROM {buildkit.image}\nRUN --mount=type=cache,target=/c,id={mark} {script}\n",
        )
        build = pushrod.push_workflow(repository, project, "steps: [{name: image, build: {}}]\n")
        step = pushrod.api.wait(build["id"], is_running("image"))["steps"][0]
        pushrod.api.wait_for_log(step["id"], f"up {mark}\n".encode())

        [name] = pushrod.agents
        pushrod.agents[name].kill()
        pushrod.start_agent(name)

        [step] = pushrod.api.wait_finished(build["id"])["steps"]
        assert (step["status"], step["attempt"]) == ("SUCCESS", 2)
        assert b"] again\n" in pushrod.api.log(step["id"])


def test_a_cancelled_build_ends_the_instruction(
    pushrod: Pushrod, repository: Repository, buildkit: TestEngine
) -> None:
    project, mark = pushrod.create_project("cancelled"), secrets.token_hex(6)
    repository.write("Dockerfile", f"FROM {buildkit.image}\nRUN echo up {mark}; sleep 60\n")
    build = pushrod.push_workflow(repository, project, "steps: [{name: image, build: {}}]\n")
    step = pushrod.api.wait(build["id"], is_running("image"))["steps"][0]
    pushrod.api.wait_for_log(step["id"], f"up {mark}\n".encode())

    pushrod.api.post(f"/api/projects/-/builds/{build['id']}/cancel", {})

    ended = pushrod.api.wait_finished(build["id"], seconds=10)
    assert (ended["state"], ended["steps"][0]["status"]) == ("cancelled", "CANCELLED")


def test_without_an_agent_that_can_build_images_the_step_says_what_it_waits_for(
    repository: Repository, tmp_path: Path
) -> None:
    with running(tmp_path / "pushrod", "host") as pushrod:
        project = pushrod.create_project("waiting")
        repository.write("Dockerfile", "FROM scratch\n")
        build = pushrod.push_workflow(repository, project, "steps: [{name: image, build: {}}]\n")

        def waits(shown: dict[str, Any]) -> bool:
            return "can build images" in shown["steps"][0].get("waitsFor", "")

        assert pushrod.api.wait(build["id"], waits)["steps"][0]["status"] == "READY"
