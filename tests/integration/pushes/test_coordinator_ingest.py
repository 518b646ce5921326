"""From a real `git push` to builds."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    ONE_STEP,
    Caller,
    Coordinator,
    WorkTree,
    open_coordinator,
)
from tests.integration.pushes.pushers import remote_lines


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_a_push_makes_a_build_and_tells_where_it_is(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await tree.commit({".pushrod.yml": ONE_STEP}, "A title\n\nand a body")
    pushed = await tree.push()
    [build] = await admin.builds(project)
    assert remote_lines(pushed.errors) == [f"build #1 ci (main): {build['url']}"]
    assert build["url"] == f"{admin.coordinator.url}/builds/{build['id']}"
    assert (build["commitHash"], build["branch"], build["event"]) == (sha, "main", "push")
    assert build["commitMessage"].startswith("A title")
    assert build["commitAuthor"] == "Anna <anna@example.org>"
    workflows = (await admin.get(f"/api/projects/{project['id']}/workflows")).json
    assert [(w["id"], w["name"], w["path"]) for w in workflows] == [
        (build["workflowId"], "ci", ".pushrod.yml")
    ]


async def test_several_refs_of_one_push_are_each_built(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP, ".pushrod/two.yml": ONE_STEP})
    pushed = await tree.push("main:main", "main:release/1", "main:refs/heads/a b".replace(" ", "_"))
    builds = await admin.builds(project)
    assert sorted(build["number"] for build in builds) == [1, 2, 3, 4, 5, 6]
    assert {build["branch"] for build in builds} == {"main", "release/1", "a_b"}
    assert len(remote_lines(pushed.errors)) == 6


async def test_a_force_push_builds_what_the_branch_is_now(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    first = await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    await tree.git("commit", "-q", "--amend", "-m", "another")
    second = (await tree.git("rev-parse", "HEAD")).output
    await tree.push("--force", "main")
    assert [build["commitHash"] for build in await admin.builds(project)] == [second, first]


async def test_deleting_a_branch_builds_nothing_and_pushing_it_again_builds(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main:main", "main:side")
    await tree.push("--delete", "side")
    assert len(await admin.builds(project)) == 2
    await tree.push("main:side")
    assert len(await admin.builds(project)) == 3


@pytest.mark.parametrize("together", [False, True])
async def test_a_tag_on_a_commit_that_skips_ci_is_built_where_a_workflow_waits_for_it(
    admin: Caller, project: dict[str, Any], tree: WorkTree, together: bool
) -> None:
    released = ONE_STEP.replace("push: {}", "push: {}, tag: ['v*']")
    await tree.commit({".pushrod.yml": ONE_STEP.replace("name: ci", "name: other")}, "[skip ci]")
    await tree.commit({".pushrod/release.yml": released}, "version 9 [skip ci]")
    await tree.git("tag", "v9")
    await tree.git("tag", "other")
    pushes = [("main:main", "v9", "other")] if together else [("main:main",), ("v9",), ("other",)]
    told = [line for refs in pushes for line in remote_lines((await tree.push(*refs)).errors)]
    [build] = await admin.builds(project)
    assert (build["event"], build["workflow"]) == ("tag", "ci")
    assert "main: the commit's message says [skip ci], so nothing is built" in told
    assert "other: no workflow is triggered by this tag" in told


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_tag_that_no_workflow_waits_for_builds_nothing(
    admin: Caller, project: dict[str, Any], tree: WorkTree, annotated: bool
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.git("tag", *(["-a", "-m", "one"] if annotated else []), "v1")
    pushed = await tree.push("v1")
    assert await admin.builds(project) == []
    assert remote_lines(pushed.errors) == ["v1: no workflow is triggered by this tag"]


async def test_a_push_of_what_is_there_already_builds_nothing(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    await tree.push()
    assert len(await admin.builds(project)) == 1


async def test_a_workflow_with_mistakes_makes_a_failed_build_that_lists_them(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    broken = "name: ci\non: {push: {}}\nsteps:\n  - name: a\n    imag: base\n    run: x\n"
    await tree.commit({".pushrod.yml": broken, ".pushrod/good.yml": ONE_STEP})
    pushed = await tree.push()
    good, bad = sorted(await admin.builds(project), key=lambda build: str(build["state"]))[::-1]
    assert (good["state"], bad["state"], bad["status"]) == ("queued", "failed", "FAILED")
    shown = await admin.build(bad["id"])
    assert shown["reason"] == "the workflow has mistakes"
    assert shown["steps"] == []
    [unknown] = [problem for problem in shown["problems"] if problem["line"] == 5]
    assert unknown["file"] == ".pushrod.yml"
    assert "image" in unknown["message"]
    lines = remote_lines(pushed.errors)
    assert any("failed: the workflow has mistakes" in line and bad["url"] in line for line in lines)
    assert any(
        line.strip().startswith(f".pushrod.yml:5:{unknown['column']}: ") for line in lines
    ), lines


async def test_a_build_of_a_workflow_with_mistakes_fails_again_when_tried_again(
    admin: Caller, tree: WorkTree, project: dict[str, Any]
) -> None:
    await tree.commit({".pushrod.yml": "steps: 5"})
    await tree.push()
    [bad] = await admin.builds(project)
    again = (await admin.post(f"/api/projects/-/builds/{bad['id']}/retry")).expect(201).json
    assert again["state"] == "failed"
    assert (await admin.build(again["id"]))["problems"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"#" * (1024 * 1024 + 1),
        b"[" * 1000,
        b"a: &a [*a]",
        b"&x " * 10,
        b"!!python/object/apply:os.system ['true']",
        b"{" * 60_000,
    ],
    ids=["empty", "not-utf8", "nul", "too-large", "deep", "cycle", "anchors", "tag", "braces"],
)
async def test_no_content_of_a_workflow_file_breaks_a_push(
    admin: Caller, project: dict[str, Any], tree: WorkTree, content: bytes
) -> None:
    await tree.commit({".pushrod.yml": content})
    await tree.push()
    [build] = await admin.builds(project)
    assert build["state"] == "failed"
    assert (await admin.build(build["id"]))["problems"][0]["message"]


async def test_a_commit_without_a_workflow_builds_nothing_and_says_where_one_goes(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await tree.commit({"README": "hello"})
    pushed = await tree.push()
    assert remote_lines(pushed.errors) == [
        f"main: no workflow at {sha[:10]}; add .pushrod.yml or .pushrod/ci.yml"
    ]
    assert await admin.builds(project) == []


async def test_a_branch_that_no_workflow_wants_builds_nothing_and_says_so(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    filtered = ONE_STEP.replace("push: {}", 'push: {branches: ["release/*"]}')
    await tree.commit({".pushrod.yml": filtered})
    pushed = await tree.push("main:main", "main:release/1")
    assert [build["branch"] for build in await admin.builds(project)] == ["release/1"]
    assert "main: no workflow is triggered by a push to this branch" in remote_lines(pushed.errors)


async def test_more_workflow_files_than_allowed_are_not_left_out_silently(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    files: dict[str, str | bytes] = {f".pushrod/w{n:03}.yml": ONE_STEP for n in range(103)}
    await tree.commit(files)
    await tree.push()
    listed = (await admin.get(f"/api/projects/{project['id']}/builds?limit=100")).json
    assert listed["pagination"]["total"] == 101
    failed = [build for build in listed["builds"] if build["state"] == "failed"]
    assert len(failed) == 1
    assert "100 workflow files" in (await admin.build(failed[0]["id"]))["problems"][0]["message"]


async def test_odd_names_messages_and_authors_come_through(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    branch = "feature/ü-\u202e$(id)`id`';\"<b>"
    await tree.commit({".pushrod.yml": ONE_STEP}, "Grüße \U0001f600 ${{ x }} $(id)")
    await tree.git("branch", branch)
    await tree.push(branch)
    [build] = await admin.builds(project)
    assert build["branch"] == branch
    assert build["commitMessage"].startswith("Grüße \U0001f600 ${{ x }} $(id)")


async def test_a_message_is_what_was_written_in_conditions_scripts_and_answers(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    condition = 'when: \'message == "rel" && message.matches("l$")\''
    content = ONE_STEP.replace("run: 'true'", f"run: 'true', {condition}")
    await tree.commit({".pushrod.yml": content}, "rel")
    await tree.push()
    agent = await admin.new_agent()
    spec = await agent.take()
    assert spec["env"]["PUSHROD_COMMIT_MESSAGE"] == "rel"
    await agent.complete(spec)
    [build] = await admin.builds(project)
    assert (build["commitMessage"], build["state"]) == ("rel", "succeeded")
    path = f"/api/projects/{project['id']}/builds"
    body = {"workflowId": build["workflowId"], "commitHash": build["commitHash"]}
    made = (await admin.post(path, body | {"commitMessage": "mine\n"})).expect(201).json
    assert made["commitMessage"] == "mine"


async def test_a_commit_that_is_not_utf8_is_built(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.git("-c", "i18n.commitEncoding=latin1", "commit", "-q", "--amend", "-m", "x")
    raw = (await tree.git("cat-file", "commit", "HEAD")).output
    body = raw.encode().replace(b"\n\nx", b"\n\nGr\xfc\xdfe \xff")
    process = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        input=body,
        cwd=tree.folder,
        env=dict(GIT_ENVIRONMENT),
        capture_output=True,
        check=True,
    )
    await tree.push(f"{process.stdout.decode().strip()}:refs/heads/odd")
    [build] = await admin.builds(project)
    assert build["commitMessage"].startswith("Gr")


# Building a commit over the API


async def test_a_workflow_of_the_repository_can_be_built_over_the_api(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await tree.commit({".pushrod.yml": ONE_STEP}, "the message")
    await tree.push()
    [pushed] = await admin.builds(project)
    path = f"/api/projects/{project['id']}/builds"
    body = {"workflowId": pushed["workflowId"]}
    newest = (await admin.post(path, body)).expect(201).json
    assert (newest["commitHash"], newest["branch"]) == (sha, "main")
    body["repoUrl"] = project["pushUrl"]  # a project's own URL is not another's
    made = (await admin.post(path, {**body, "commitHash": sha[:10]})).expect(201).json
    assert (made["commitHash"], made["event"]) == (sha, "manual")
    assert made["commitMessage"].startswith("the message")
    without = await tree.commit({".pushrod.yml": "steps: 5"})
    await tree.push()
    refused = (await admin.post(path, {**body, "commitHash": without})).expect(400).json
    assert refused["details"][0]["file"] == ".pushrod.yml"
