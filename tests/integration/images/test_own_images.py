"""An image at a registry that all accounts share belongs to one of them: at the coordinator."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
)

SHARED = "127.0.0.1:5000"
BUILDER = ["imageBuilds"]


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("alpha", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


def building(*tags: str, head: str = "") -> str:
    listed = "".join(f'\n        - "{tag}"' for tag in tags)
    return f"{head}steps:\n  - name: image\n    build:\n      tags:{listed}\n"


async def push(tree: WorkTree, workflow: str) -> str:
    await tree.commit({".pushrod.yml": workflow})
    return (await tree.push()).errors


async def test_what_is_asked_of_an_image_reaches_the_agents_that_know_of_it(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    path = f"/api/projects/{project['id']}/secrets/KEY"
    (await admin.call("PUT", path, json={"value": "sesame"})).expect(200)
    asked = (
        f"platforms: linux/arm64, secrets: KEY, cacheFrom: '{SHARED}/alpha/shop:cache', "
        f"cacheTo: '{SHARED}/alpha/shop:${{{{ branch }}}}', provenance: true, sbom: true"
    )
    await push(tree, f"steps:\n  - {{name: image, build: {{{asked}}}}}\n")
    host, old, new = [await admin.new_agent(name) for name in ("host", "old", "new")]
    for agent, capabilities, said in (
        (host, [], "no connected agent can build images"),
        (old, BUILDER, "knows the step's `build` with all that it says: update the agents"),
    ):
        assert not (await agent.poll(capabilities=capabilities)).get("offers")
        [build] = await admin.builds(project)
        [step] = (await admin.build(build["id"]))["steps"]
        assert said in step["waitsFor"]
    [offer] = (await new.poll(capabilities=[*BUILDER, "imageOptions"]))["offers"]
    spec = (await new.accept(offer)).expect(200).json
    assert spec["secrets"] == {"KEY": "sesame"}
    told = {key: spec["build"].get(key) for key in ("platforms", "provenance", "sbom", "tags")}
    assert told == {"platforms": ["linux/arm64"], "provenance": True, "sbom": True, "tags": []}
    references = [spec["build"][key] for key in ("cacheFrom", "cacheTo")]
    assert references == [f"{SHARED}/alpha/shop:cache", f"{SHARED}/alpha/shop:main"]


async def test_layers_are_kept_in_the_accounts_own_folder_alone(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    asked = f"cacheFrom: '{SHARED}/beta/shop:c', cacheTo: '{SHARED}/beta/shop:c'"
    errors = await push(tree, f"steps:\n  - {{name: image, build: {{{asked}}}}}\n")
    [build] = await admin.builds(project)
    problems = (await admin.build(build["id"]))["problems"]
    assert len(problems) == 2, (problems, errors)
    assert all(f"`{SHARED}/beta/shop:c`" in problem["message"] for problem in problems)
    assert {problem["line"] for problem in problems} == {2}


async def test_a_tag_below_the_accounts_own_folder_is_built(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await push(tree, building(f"{SHARED}/alpha/shop:${{{{ build.number }}}}"))
    agent = await admin.new_agent()
    [offer] = (await agent.poll(capabilities=BUILDER))["offers"]
    spec = (await agent.accept(offer)).expect(200).json

    assert spec["build"]["tags"] == [f"{SHARED}/alpha/shop:1"]
    assert "refused" not in spec
    assert spec["ownRegistries"] == {"registries": [SHARED], "account": "alpha", "public": []}


async def test_the_push_of_a_workflow_with_anothers_tag_says_where_and_what_to_write(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    said = await push(tree, building(f"{SHARED}/alpha/shop:1", f"{SHARED}/beta/tool:1"))
    [build] = await admin.builds(project)

    assert build["status"] == "FAILED"
    assert "step `image`: the tag" in said
    assert (await admin.build(build["id"]))["problems"] == [
        {
            "file": ".pushrod.yml",
            "line": 6,
            "column": 11,
            "message": f"step `image`: the tag `{SHARED}/beta/tool:1` is not your account's to "
            f"push to: write `{SHARED}/alpha/tool`",
        }
    ]


@pytest.mark.parametrize(
    "tag",
    [
        f"{SHARED}/tool:1",
        f"{SHARED}/pushrod/debian:12",
        "localhost:5000/beta/tool:1",
        f"{SHARED}/${{{{ matrix.whose }}}}/tool:1",
        f"{SHARED}/${{{{ params.whose }}}}/tool:1",
        "${{ params.host }}:5000/beta/tool:1",
        f"{SHARED}/${{{{ build.number }}}}/tool:1",
    ],
)
async def test_no_tag_reaches_anothers_folder_whatever_replaces_its_words(
    admin: Caller, project: dict[str, Any], tree: WorkTree, tag: str
) -> None:
    params = "{whose: {oneOf: [beta, gamma]}, host: {oneOf: [127.0.0.1, a.example]}}"
    head = f"on: {{push: {{}}, manual: {{params: {params}}}}}\n"
    workflow = building(tag, head=head) + "    matrix: {whose: [alpha, beta]}\n"
    await push(tree, workflow)
    [build] = await admin.builds(project)

    assert build["status"] == "FAILED"
    assert "is not your account's to push to" in str((await admin.build(build["id"]))["problems"])


async def test_anothers_image_is_refused_when_the_workflow_is_pushed_by_name_or_by_slug(
    admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project("default", "shop")
    tree = await new_work_tree(tmp_path, admin, project)
    image = {"slug": "borrowed", "imageUrl": f"docker://{SHARED}/beta/tool:1", "public": False}
    (await admin.post("/api/docker-images", image)).expect(201)
    for name in (f"{SHARED}/beta/tool:1", "borrowed"):
        await push(tree, f"steps:\n  - name: test\n    image: {name}\n    run: cat /who\n")
        newest = max(await admin.builds(project), key=lambda build: build["number"])
        [problem] = (await admin.build(newest["id"]))["problems"]

        assert (problem["line"], problem["column"]) == (3, 12)
        assert problem["message"].startswith(
            f"step `test`: the image `{SHARED}/beta/tool:1` is not your account's to read"
        )


async def test_a_step_that_was_made_before_the_rule_is_refused_when_it_is_handed_out(
    admin: Caller, coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    await push(tree, building(f"{SHARED}/alpha/shop:1"))
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        database.execute("UPDATE steps SET definition = replace(definition, '/alpha/', '/beta/')")
        database.commit()
    agent = await admin.new_agent()
    [offer] = (await agent.poll(capabilities=BUILDER))["offers"]
    spec = (await agent.accept(offer)).expect(200).json

    assert spec["refused"].startswith(f"the tag `{SHARED}/beta/shop:1` is not your account's")
    assert spec["build"]["tags"] == []
    assert spec["build"]["push"] is False


async def test_no_account_gets_the_operators_folder(admin: Caller) -> None:
    project = await admin.new_project("pushrod", "shop")
    answer = (await admin.get(f"/api/projects/{project['id']}")).expect(200).json

    assert "/git/pushrod-2/shop.git" in str(answer)


async def test_a_deployment_of_anothers_image_is_refused(admin: Caller) -> None:
    body = {"agent_name": "shop", "image": f"{SHARED}/beta/tool:1"}
    answer = (await admin.post("/api/deploy", body)).expect(400)

    assert "is not your account's to read" in str(answer.json)
