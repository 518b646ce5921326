"""Nothing twice, from the push to the engines: results of steps with `inputs` are taken."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running, step_named
from tests.e2e.run_command import Place

EXAMPLE = Path(__file__).parents[2] / "examples" / "python-lib"
IMAGE = "127.0.0.1:5000/default/inputs:1"
WORKFLOW = """\
name: ci
steps:
  - name: make
    image: debian
    inputs: ["src/**", "!src/*.md"]
    outputPaths: [out/]
    secrets: [KEY]
    run: |
      find . -type f | sort
      test ! -e .git
      mkdir -p out; cat src/a/file > out/file
      echo "made=$(cat src/a/file)" >> "$PUSHROD_OUTPUT"
  - name: use
    image: debian
    dependsOn: [make]
    run: 'echo "$PUSHROD_OUTPUT_MAKE_MADE $(cat out/file) $PUSHROD_BUILD_NUMBER"'
"""


@pytest.fixture(scope="module")
def pushrod(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    base_image = asyncio.run(private.ensure_base_image(print))
    with running(tmp_path_factory.mktemp("inputs"), buildkit.address) as pushrod:
        # An image of a registry has a digest, as the base image of the tests' engine has not.
        repository = Repository.create(tmp_path_factory.mktemp("image") / "image")
        repository.write("Dockerfile", f"FROM {base_image}\nENV MADE=1\n")
        build = f"steps:\n  - {{name: image, build: {{tags: ['{IMAGE}'], push: true}}}}\n"
        repository.write(".pushrod.yml", build)
        project = pushrod.create_project("image")
        assert pushed(pushrod, repository, project)["state"] == "succeeded", pushrod.notes()
        pushrod.api.post("/api/docker-images", {"slug": "debian", "imageUrl": f"docker://{IMAGE}"})
        yield pushrod


@pytest.fixture
def engine_temporary() -> Iterator[Path]:
    """Its path is short: engines have sockets below it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def pushed(pushrod: Pushrod, repository: Repository, project: dict[str, str]) -> dict[str, object]:
    repository.commit("change")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    return pushrod.api.wait_finished(str(pushrod.api.builds(project["id"])[0]["id"]))


@pytest.mark.engine
def test_a_result_is_taken_until_something_that_counts_changes(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project, repository = pushrod.create_project("app"), Repository.create(tmp_path / "app")
    assert pushrod.command("secret", "set", "app", "KEY", given="sesame").returncode == 0
    for name, content in {".pushrod.yml": WORKFLOW, "src/a/file": "1", "src/b.md": "1"}.items():
        repository.write(name, content)
    first = pushed(pushrod, repository, project)
    assert first["state"] == "succeeded", pushrod.notes()
    assert pushrod.api.log(step_named(first, "make")["id"]) == b"./src/a/file\n"

    repository.write("src/b.md", "2")
    second = pushed(pushrod, repository, project)
    assert step_named(second, "make")["reason"] == "cached from #1"
    assert pushrod.api.log(step_named(second, "make")["id"]) == b"./src/a/file\n"
    assert pushrod.api.log(step_named(second, "use")["id"]) == b"1 1 2\n"
    assert pushrod.command("why", "app#2/make").stdout == (
        "step make: it was not run: its result is that of #1, which had equal inputs\n"
    )

    repository.write("src/a/file", "2")
    assert pushrod.command("secret", "set", "app", "KEY", given="open").returncode == 0
    third = pushed(pushrod, repository, project)
    assert pushrod.api.log(step_named(third, "use")["id"]) == b"2 2 3\n"
    assert pushrod.command("why", "app#3/make").stdout == (
        "step make: it ran, for it differs from #2:\n"
        "  src/a/file changed\n"
        "  secret KEY has another version\n"
    )
    assert "no `inputs`" in pushrod.command("why", "app#3/use").stdout


@pytest.mark.engine
def test_what_ran_on_a_laptop_is_green_at_once_on_a_branch_and_nowhere_else(
    pushrod: Pushrod, buildkit: TestEngine, tmp_path: Path, engine_temporary: Path
) -> None:
    project, repository = pushrod.create_project("sent"), Repository.create(tmp_path / "sent")
    own = WORKFLOW.replace("    secrets: [KEY]\n", "") + "    inputs: []\n"
    workflow = own.replace(" $PUSHROD_BUILD_NUMBER", "") + "on: {push: {}, tag: ['*']}\n"
    for name, content in {".pushrod.yml": workflow, "src/a/file": "1"}.items():
        repository.write(name, content)
    first = pushed(pushrod, repository, project)  # the default branch's
    assert first["state"] == "succeeded", pushrod.notes()
    place = Place(
        repository=repository,
        folder=tmp_path,
        temporary=engine_temporary,
        engine=buildkit.address,
        variables={"PUSHROD_URL": pushrod.api.url, "PUSHROD_TOKEN": pushrod.api.token},
    )
    repository.write("src/a/file", "2")  # and not committed
    for send in ("sent", project["pushUrl"]):
        done = place.run("--image", f"debian={IMAGE}", "--send", send)
        assert done.returncode == 0, done.stderr
    assert "-- known there already: make, use" in done.stderr
    sent = pushrod.api.wait_finished(str(pushrod.api.builds(project["id"])[0]["id"]))
    assert (sent["number"], sent["event"]) == (2, "laptop")

    repository.git("checkout", "-q", "-b", "topic")
    third = pushed(pushrod, repository, project)
    reasons = {step["name"]: step.get("reason") for step in third["steps"]}  # type: ignore[attr-defined]
    assert reasons == dict.fromkeys(["make", "use"], "cached from laptop of admin")
    assert pushrod.api.log(step_named(third, "use")["id"]) == b"2 2\n"
    assert pushrod.command("why", "sent#3/make").stdout == (
        "step make: it was not run: its result is that of #2, sent from the laptop of admin, "
        "which had equal inputs\n"
    )
    repository.git("checkout", "-q", "-B", "main")
    fourth = pushed(pushrod, repository, project)
    assert fourth["state"] == "succeeded", pushrod.notes()
    assert not any(step.get("reason") for step in fourth["steps"])  # type: ignore[attr-defined]


def test_a_run_that_can_not_be_sent_does_not_begin(tmp_path: Path, engine_temporary: Path) -> None:
    repository = Repository.create(tmp_path / "app")
    repository.write(".pushrod.yml", WORKFLOW.replace("    secrets: [KEY]\n", ""))
    repository.write("src/a/file", "1")
    with running(tmp_path / "pushrod") as pushrod:
        place = Place(
            repository=repository,
            folder=tmp_path,
            temporary=engine_temporary,
            engine="host",
            variables={"PUSHROD_URL": pushrod.api.url, "PUSHROD_TOKEN": pushrod.api.token},
        )
        project = pushrod.create_project("app")
        nowhere = place.run("--send", "elsewhere")
        assert (nowhere.returncode, nowhere.stdout) == (2, "")
        assert "there is no project 'elsewhere'; there are: app" in nowhere.stderr
        done = place.run("--send", f"{pushrod.api.url}")
        assert done.returncode == 0, done.stderr
        assert "-- make: not sent: it is not known which image it ran in" in done.stderr
        assert "-- nothing to send" in done.stderr
        assert pushrod.api.builds(project["id"]) == []


@pytest.mark.engine
def test_the_example_is_checked_once(pushrod: Pushrod, tmp_path: Path) -> None:
    project, repository = pushrod.create_project("lib"), Repository.create(tmp_path / "lib")
    shutil.copytree(EXAMPLE, repository.path, dirs_exist_ok=True)
    assert pushed(pushrod, repository, project)["state"] == "succeeded"
    repository.write("README.md", "another")
    second = pushed(pushrod, repository, project)
    reasons = {step["name"]: step.get("reason") for step in second["steps"]}  # type: ignore[attr-defined]
    assert second["state"] == "succeeded"
    cached = dict.fromkeys(["lint", "test (0)", "test (1)", "test (random)"], "cached from #1")
    assert reasons == {**cached, "wheel": None}


def test_the_host_engine_gives_a_step_its_inputs_alone_and_runs_it_each_time(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "pushrod") as pushrod:
        project, repository = pushrod.create_project("app"), Repository.create(tmp_path / "app")
        assert pushrod.command("secret", "set", "app", "KEY", given="sesame").returncode == 0
        for name, content in {".pushrod.yml": WORKFLOW, "src/a/file": "1", "src/b.md": "1"}.items():
            repository.write(name, content)
        first = pushed(pushrod, repository, project)
        assert first["state"] == "succeeded", pushrod.notes()
        assert pushrod.api.log(step_named(first, "make")["id"]) == b"./src/a/file\n"
        repository.write("src/b.md", "2")
        second = pushed(pushrod, repository, project)
        assert step_named(second, "make").get("reason") is None
        assert "host engine" in pushrod.command("why", "app#1/make").stdout
