"""The examples as a newcomer meets them: pushed for real, by every worker there is."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running, step_named

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXAMPLES_BASE = "127.0.0.1:5000/pushrod/debian:12"
WORKER = ROOT / "examples/curl-worker/worker.sh"


@pytest.fixture
def hello(tmp_path: Path) -> Repository:
    repository = Repository.create(tmp_path / "hello")
    shutil.copytree(
        ROOT / "examples/hello",
        repository.path,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return repository


@pytest.fixture
def coordinator_alone(tmp_path: Path) -> Iterator[Pushrod]:
    with running(tmp_path / "pushrod", agents=0) as pushrod:
        yield pushrod


def push(pushrod: Pushrod, repository: Repository, project: dict[str, str]) -> str:
    """Commit, push, and return the new build's id."""
    repository.commit("hello")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    return str(pushrod.api.builds(project["id"])[0]["id"])


def run_worker(pushrod: Pushrod, build_id: str) -> subprocess.CompletedProcess[str]:
    token_file = pushrod.data / "admin-token"
    return subprocess.run(
        [str(WORKER), pushrod.api.url, build_id, str(token_file)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.engine
def test_hello_fans_out_in_containers_and_is_warm_the_second_time(
    hello: Repository, buildkit: TestEngine, tmp_path: Path
) -> None:
    from agent.engines import private

    image = asyncio.run(private.ensure_base_image(lambda _: None))
    with running(tmp_path / "pushrod", buildkit.address) as pushrod:
        pushrod.api.post("/api/docker-images", {"slug": "debian", "imageUrl": image})
        project = pushrod.create_project("hello")
        first = pushrod.api.wait_finished(push(pushrod, hello, project))
        second = pushrod.api.wait_finished(push(pushrod, hello, project))
        assert (first["state"], second["state"]) == ("succeeded", "succeeded")
        assert [step["dependsOn"] for step in first["steps"]] == [
            [],
            ["prepare"],
            ["prepare"],
            ["prepare", "lint", "test"],
        ]
        cache_lines = [
            pushrod.api.log(step_named(build, "prepare")["id"]).splitlines()[0]
            for build in (first, second)
        ]
        assert cache_lines == [b"cache: cold", b"cache: warm (built by build 1)"]
        package = step_named(second, "package")
        assert pushrod.api.log(package["id"]) == b"hello, 2310 = 2 x 3 x 5 x 7 x 11\n"
        artifacts = pushrod.api.get(f"/api/steps/{package['id']}/artifacts")
        assert [artifact["name"] for artifact in artifacts] == ["dist/hello.pyz"]


def test_the_curl_worker_is_a_worker_in_less_than_forty_lines() -> None:
    assert len(WORKER.read_text().splitlines()) < 40


def test_curl_and_bash_alone_complete_a_build(
    coordinator_alone: Pushrod, hello: Repository
) -> None:
    pushrod = coordinator_alone
    build_id = push(pushrod, hello, pushrod.create_project("hello"))
    ended = run_worker(pushrod, build_id)
    assert ended.returncode == 0, ended.stderr
    build = pushrod.api.build(build_id)
    assert build["state"] == "succeeded"
    package = step_named(build, "package")
    assert pushrod.api.log(package["id"]) == b"hello, 2310 = 2 x 3 x 5 x 7 x 11\n"
    artifacts = pushrod.api.get(f"/api/steps/{package['id']}/artifacts")
    assert [artifact["name"] for artifact in artifacts] == ["dist/hello.pyz"]


def test_the_curl_worker_reports_a_failure_and_a_log_longer_than_one_request(
    coordinator_alone: Pushrod, tmp_path: Path
) -> None:
    pushrod = coordinator_alone
    script = "seq 1 400000; exit 3"
    build = pushrod.push_workflow(
        Repository.create(tmp_path / "repository"),
        pushrod.create_project("long"),
        f"name: ci\nsteps: [{{name: count, image: any, run: '{script}'}}]\n",
    )
    ended = run_worker(pushrod, build["id"])
    assert ended.returncode == 1
    (step,) = pushrod.api.build(build["id"])["steps"]
    assert (step["status"], step["exitCode"]) == ("FAILED", 3)
    expected = b"".join(b"%d\n" % number for number in range(1, 400001))
    assert len(expected) > 2 * 1024 * 1024
    assert pushrod.api.log(step["id"]) == expected


def test_the_curl_worker_says_how_to_call_it() -> None:
    ended = subprocess.run([str(WORKER)], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "URL BUILD_ID TOKEN_FILE" in ended.stderr


@pytest.fixture(scope="module")
def with_base_image(
    buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pushrod]:
    """A pushrod whose image `debian` is the base image."""
    base_image = asyncio.run(private.ensure_base_image(print))
    with running(tmp_path_factory.mktemp("examples"), buildkit.address) as pushrod:
        pushrod.api.post(
            "/api/docker-images", {"slug": "debian", "imageUrl": f"docker://{base_image}"}
        )
        yield pushrod


def checkout(name: str, folder: Path) -> Repository:
    repository = Repository.create(folder / name)
    shutil.copytree(EXAMPLES / name, repository.path, dirs_exist_ok=True)
    return repository


@pytest.mark.engine
def test_python_lib_is_tested_by_its_matrix_and_leaves_a_wheel(
    with_base_image: Pushrod, tmp_path: Path
) -> None:
    pushrod = with_base_image
    project, repository = pushrod.create_project("lib"), checkout("python-lib", tmp_path)
    repository.commit("the library")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    assert build["state"] == "succeeded", build
    names = [step["name"] for step in build["steps"]]
    assert names == ["lint", "test (0)", "test (1)", "test (random)", "wheel"]
    wheel = build["steps"][-1]
    assert pushrod.api.log(wheel["id"]).endswith(b"(1, ['a', 'b'])\n")
    artifacts = pushrod.api.get(f"/api/steps/{wheel['id']}/artifacts")
    assert [artifact["name"] for artifact in artifacts] == ["dist/shortest-1.0.0-py3-none-any.whl"]


@pytest.mark.engine
def test_with_postgres_finds_its_database(with_base_image: Pushrod, tmp_path: Path) -> None:
    pushrod = with_base_image
    image = asyncio.run(private.ensure_service_images(print))["postgres"]
    pushrod.api.post("/api/docker-images", {"slug": "postgres", "imageUrl": f"docker://{image}"})
    project, repository = pushrod.create_project("shop"), checkout("with-postgres", tmp_path)
    repository.commit("the shop")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    (step,) = build["steps"]
    log = pushrod.api.log(step["id"])
    assert build["state"] == "succeeded", (step, log)
    own = [line for line in log.splitlines() if not line.startswith(b"[db] ")]
    assert own == [b"stock: 42"]
    assert b"database system is ready to accept connections" in log


@pytest.mark.engine
def test_monorepo_builds_only_what_a_push_changes(with_base_image: Pushrod, tmp_path: Path) -> None:
    pushrod = with_base_image
    project, repository = pushrod.create_project("mono"), checkout("monorepo", tmp_path)

    def built_by_push(message: str) -> list[str]:
        """The workflows with a filter, and the steps with a condition, that ran."""
        before = len(pushrod.api.builds(project["id"]))
        repository.commit(message)
        repository.push(project["pushUrl"], pushrod.api.token, check=True)
        builds = pushrod.api.builds(project["id"])
        new = [pushrod.api.wait_finished(build["id"]) for build in builds[: len(builds) - before]]
        assert {build["state"] for build in new} <= {"succeeded"}, new
        [parts] = [build for build in new if build["workflow"] == "parts"]
        ran = [step["name"] for step in parts["steps"] if step["status"] == "SUCCESS"]
        assert ran.pop() == "summary"
        return sorted(build["workflow"] for build in new if build is not parts) + ran

    assert built_by_push("all") == ["api", "web", "greeting", "links"]
    repository.write("api/notes.txt", "changed")
    assert built_by_push("api's notes") == ["api"]
    repository.write("api/more.py", "")
    assert built_by_push("api") == ["api", "greeting"]
    repository.write("web/about.html", '<a href="index.html">Home</a>')
    assert built_by_push("web") == ["web", "links"]
    repository.write("README.md", "changed")
    assert built_by_push("neither") == []


@pytest.mark.engine
def test_image_build_pushes_an_image_that_the_next_step_runs_in(
    with_base_image: Pushrod, tmp_path: Path
) -> None:
    pushrod = with_base_image
    project, repository = pushrod.create_project("image"), checkout("image-build", tmp_path)
    # Named after this machine's distribution.
    base_image = asyncio.run(private.ensure_base_image(lambda _: None))
    dockerfile = repository.path / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace(EXAMPLES_BASE, base_image))
    repository.commit("a service")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    assert build["state"] == "succeeded", build
    image, smoke = step_named(build, "image"), step_named(build, "smoke")
    name = "127.0.0.1:5000/default/greet"
    assert [pushed["reference"] for pushed in image["images"]] == [f"{name}:1", f"{name}:latest"]
    engine = asyncio.run(private.up(reuse=False))
    for pushed in image["images"]:
        asked = private.image_digest(pushed["reference"], address=engine)
        assert asyncio.run(asked) == pushed["digest"]
    log = pushrod.api.log(image["id"]).decode()
    assert f"pushed {name}:1 {image['images'][0]['digest']}\n" in log
    assert pushrod.api.log(smoke["id"]) == b"Hello, Ada! (greet 1.1)\n"


@pytest.mark.engine
def test_toolchains_are_tried_out_before_their_tag_moves(
    with_base_image: Pushrod, tmp_path: Path
) -> None:
    pushrod = with_base_image
    project, repository = pushrod.create_project("toolchains"), checkout("toolchains", tmp_path)
    base_image = asyncio.run(private.ensure_base_image(lambda _: None))
    dockerfile = repository.path / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace(EXAMPLES_BASE, base_image))
    repository.commit("toolchains")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    assert build["state"] == "succeeded", build
    for name in ("lint", "docs"):
        [built] = step_named(build, f"build ({name})")["images"]
        [published] = step_named(build, f"publish ({name})")["images"]
        assert built["reference"] == f"127.0.0.1:5000/default/{name}:{build['commitHash'][:7]}"
        assert published["reference"] == f"127.0.0.1:5000/default/{name}:latest"
        assert built["digest"] == published["digest"]


def test_release_is_published_where_a_maintainer_says(tmp_path: Path) -> None:
    repository = checkout("release", tmp_path)
    with running(tmp_path / "pushrod") as pushrod:
        project = pushrod.create_project("release")
        repository.commit("an app")
        repository.push(project["pushUrl"], pushrod.api.token, check=True)
        pushrod.api.wait_for_builds(1)
        build_id = str(pushrod.api.builds(project["id"])[0]["id"])
        deadline = time.monotonic() + 90
        while pushrod.api.build(build_id).get("waitsFor") != "waiting for approval":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        refused = pushrod.command("build", "approve", "release#1/release", "--param", "channel=x")
        assert refused.returncode != 0
        assert "`channel` must be one of `beta`, `stable`" in refused.stderr
        approve = ("build", "approve", "release#1/release", "--param", "channel=stable")
        assert pushrod.command(*approve).returncode == 0
        build = pushrod.api.wait_finished(build_id)
        assert build["state"] == "succeeded", build
        publish = step_named(build, "publish")
        assert pushrod.api.log(publish["id"]) == b"published app.tgz to stable\n"
        artifacts = pushrod.api.get(f"/api/steps/{publish['id']}/artifacts")
        assert [artifact["name"] for artifact in artifacts] == ["published/stable/app.tgz"]
        late = pushrod.command("build", "reject", "release#1/release")
        assert "was approved by admin at" in late.stderr
