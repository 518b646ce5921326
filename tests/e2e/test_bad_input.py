"""Bad input: a clear error where the user looks, and everything lives on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pushrod(buildkit: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("bad"), buildkit.address) as pushrod:
        yield pushrod


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository")


@pytest.fixture(autouse=True)
def lives_on(pushrod: Pushrod, buildkit: TestEngine, tmp_path: Path) -> Iterator[None]:
    """After each test a good build still succeeds, on the same coordinator and agent."""
    yield
    good = Repository.create(tmp_path / "good")
    project = pushrod.create_project("good")
    build = pushrod.push_workflow(
        good, project, f"steps: [{{name: a, image: '{buildkit.image}', run: echo fine}}]"
    )
    assert pushrod.api.wait_finished(build["id"])["state"] == "succeeded"


def test_a_workflow_with_mistakes_is_a_failed_build_that_lists_them(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("mistakes")
    repository.write(
        ".pushrod.yml",
        "steps:\n  - name: a\n    image: x\n    run: echo\n    dependOn: [b]\n    timeout: soon\n",
    )
    repository.commit("mistakes")
    pushed = repository.push(project["pushUrl"], pushrod.api.token)
    assert pushed.returncode == 0
    (listed,) = pushrod.api.builds(project["id"])
    build = pushrod.api.build(listed["id"])
    assert (build["state"], build["status"]) == ("failed", "FAILED")
    places = [(p["file"], p["line"]) for p in build["problems"]]
    assert places == [(".pushrod.yml", 5), (".pushrod.yml", 6)]
    assert "did you mean `dependsOn`?" in build["problems"][0]["message"]
    for problem in build["problems"]:
        assert problem["message"] in pushed.stderr.replace("\nremote: ", " ")


def test_an_image_that_does_not_exist_is_named(pushrod: Pushrod, repository: Repository) -> None:
    project = pushrod.create_project("image")
    image = "127.0.0.1:5000/default/is:none"
    build = pushrod.push_workflow(
        repository, project, f"steps: [{{name: a, image: '{image}', run: echo}}]"
    )
    build = pushrod.api.wait_finished(build["id"])
    (step,) = build["steps"]
    assert (step["status"], step["reason"]) == ("FAILED", "engine")
    assert image in step["message"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b"])
def test_an_output_path_outside_the_workspace_is_refused(
    path: str, pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("outside")
    build = pushrod.push_workflow(
        repository,
        project,
        f"steps: [{{name: a, image: x, run: echo, outputPaths: ['{path}']}}]",
    )
    (problem,) = pushrod.api.build(build["id"])["problems"]
    assert path in problem["message"]
    assert "workspace" in problem["message"]


def test_an_output_that_is_a_link_out_of_the_workspace_is_kept_and_not_followed(
    pushrod: Pushrod, repository: Repository, buildkit: TestEngine
) -> None:
    project = pushrod.create_project("link")
    build = pushrod.push_workflow(
        repository,
        project,
        f"steps: [{{name: a, image: '{buildkit.image}', "
        "run: 'ln -s /etc/passwd leak; echo ok > fine', outputPaths: [leak, fine]}]",
    )
    build = pushrod.api.wait_finished(build["id"])
    step = f"/api/steps/{build['steps'][0]['id']}"
    assert [artifact["name"] for artifact in pushrod.api.get(f"{step}/artifacts")] == ["fine"]
    [link] = pushrod.api.get(f"{step}/outputs")["links"]
    assert link == {"name": "leak", "target": "/etc/passwd"}


def test_a_script_with_a_nul_byte_is_refused_with_its_place(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("nul")
    for text in ('steps: [{name: a, image: x, run: "echo \\0"}]', "steps: [{name: a, run: '\0'}]"):
        build = pushrod.push_workflow(repository, project, text)
        build = pushrod.api.build(build["id"])
        assert build["state"] == "failed"
        assert build["problems"][0]["line"] == 1
        assert "NUL" in build["problems"][0]["message"]


def test_an_artifact_named_with_dots_is_refused(pushrod: Pushrod, repository: Repository) -> None:
    project = pushrod.create_project("dots")
    build = pushrod.push_workflow(
        repository,
        project,
        "steps: [{name: a, image: x, run: echo, agents: {only: curl}}]",
    )
    step = pushrod.api.build(build["id"])["steps"][0]
    assert pushrod.api.request("GET", f"/api/runner/{step['id']}")[0] == 200
    for name in ("../x", "%2e%2e/x", "a/../../x", "/etc/x"):
        status, answer, _ = pushrod.api.request(
            "PUT", f"/api/runner/{step['id']}/artifacts/{name}", b"content"
        )
        assert status in (400, 404), (name, status, answer)
    done = pushrod.api.post(
        f"/api/runner/{step['id']}/complete", {"status": "success", "exitCode": 0}
    )
    assert done == {"success": True, "stepStatus": "SUCCESS", "buildComplete": True}
    assert pushrod.api.get(f"/api/steps/{step['id']}/artifacts") == []


def test_a_push_with_a_wrong_token_is_refused_in_words(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("token")
    repository.write(".pushrod.yml", "steps: [{name: a, image: x, run: echo}]")
    repository.commit("first")
    pushed = repository.push(project["pushUrl"], "pr_wrong")
    assert pushed.returncode != 0
    assert "Authentication failed" in pushed.stderr
    assert pushrod.api.builds(project["id"]) == []


def test_a_push_without_a_workflow_says_what_to_add(
    pushrod: Pushrod, repository: Repository
) -> None:
    project = pushrod.create_project("none")
    repository.commit("nothing")
    pushed = repository.push(project["pushUrl"], pushrod.api.token)
    assert pushed.returncode == 0
    assert "add .pushrod.yml" in pushed.stderr
