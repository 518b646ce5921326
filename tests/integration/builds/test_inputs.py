"""Nothing twice: a step whose inputs are those of an earlier success is not run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator
from tests.integration.shop_fixture import (
    NEW,
    OLD,
    Shop,
    new_shop,
    reasons,
    set_secret,
    states,
    step,
)
from tests.integration.statements import collected

WORKFLOW = """
name: ci
on: {push: {}, tag: ["*"], manual: {}}
steps:
  - {name: lint, image: base, run: lint, inputs: ["src/**"], outputPaths: [out/], secrets: [KEY]}
  - {name: test, image: base, run: test, dependsOn: [lint], inputs: []}
"""
MOST_STATEMENTS_OF_A_PUSH = 75
"""Of 20 steps that are all taken from an earlier build: 20 of them find the results."""


@pytest.fixture
async def shop(coordinator: Coordinator, tmp_path: Path) -> Shop:
    shop = await new_shop(coordinator, tmp_path, WORKFLOW)
    await set_secret(shop.admin, shop.project, "sesame")
    return shop


async def test_what_nothing_changed_in_is_not_run_again(shop: Shop) -> None:
    first = await shop.push()
    assert await shop.run(2) == ["lint", "test"]
    second = await shop.push()

    assert second["state"] == "succeeded"
    assert reasons(second) == {f"cached from #{first['number']}"}
    lint = step(second, "lint")
    log = (await shop.admin.get(f"/api/steps/{lint['id']}/log")).expect(200)
    assert log.body == b"log of lint\n"
    file = (await shop.admin.get(f"/api/steps/{lint['id']}/artifacts/out/file")).expect(200)
    assert file.body == b"lint"
    said = await shop.why(second, "lint")
    assert (said["takenFrom"], said["otherBuildId"]) == (first["number"], first["id"])
    third = await shop.push()
    assert reasons(third) == {f"cached from #{first['number']}"}


async def test_what_a_step_reported_is_shown_of_those_that_take_its_result(shop: Shop) -> None:
    reporting = WORKFLOW.replace("outputPaths: [out/]", "reports: {junit: out/file}")
    await shop.push({".pushrod.yml": reporting})
    content = b'<testsuite><testcase classname="s" name="works" time="1"/></testsuite>'
    assert await shop.run(2, content=content) == ["lint", "test"]
    second = await shop.push()

    assert second["state"] == "succeeded"
    path = f"/api/projects/{shop.project['id']}/builds/{second['id']}"
    [shown] = (await shop.admin.get(f"{path}/results")).expect(200).json["steps"]
    [test] = (await shop.admin.get(f"{path}/tests")).expect(200).json["tests"]
    assert (shown["step"], test["name"], test["result"]) == ("lint", "works", "passed")
    history = f"/api/projects/{shop.project['id']}/tests/history?name=works"
    told = (await shop.admin.get(history)).expect(200).json
    assert str(told).count("'passed'") == 1, "it ran once"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"src/a.py": "2"}, "src/a.py changed"),
        ({"src/new.py": "1"}, "src/new.py is new"),
        ({".pushrod.yml": WORKFLOW.replace("run: lint", "run: other")}, "the script changed"),
        (
            {".pushrod.yml": WORKFLOW.replace("run: lint", "env: {A: b}, run: lint")},
            "variable A is new",
        ),
        ({".pushrod.yml": WORKFLOW.replace("run: lint", "user: '7', run: lint")}, "`user` changed"),
    ],
)
async def test_what_counts_runs_the_step_and_what_differs_is_told(
    shop: Shop, files: Mapping[str, str], said: str
) -> None:
    first = await shop.push()
    await shop.run(2)
    second = await shop.push(files)

    assert states(second) == {"lint": "ready", "test": "blocked"}
    why = await shop.why(second, "lint")
    assert (why["comparedWith"], why["differences"]) == (first["number"], [said])
    assert "is looked at once" in (await shop.why(second, "test"))["says"]
    # What depends on it is taken once it has left what it left before.
    assert await shop.run(1) == ["lint"]
    ended = await shop.admin.build(second["id"])
    assert step(ended, "test")["reason"] == f"cached from #{first['number']}"
    assert ended["state"] == "succeeded"


async def test_another_version_of_a_secret_counts(shop: Shop) -> None:
    await shop.push()
    await shop.run(2)
    await set_secret(shop.admin, shop.project, "open")
    second = await shop.push()

    why = await shop.why(second, "lint")
    assert why["differences"] == ["secret KEY has another version"]
    assert await shop.run(1) == ["lint"]
    assert reasons(await shop.push()) == {"cached from #1", f"cached from #{second['number']}"}


async def test_what_a_dependency_hands_on_counts(shop: Shop) -> None:
    await shop.push()
    await shop.run(2)
    second = await shop.push({"src/a.py": "2"})
    spec = await shop.take()
    assert await shop.settle(spec, OLD) == 200
    (await shop.agent.upload(spec, "out/file", b"other")).expect(201)
    (await shop.agent.complete(spec, outputs={"made": "x"}, imageDigest=OLD)).expect(200)

    assert await shop.run(1) == ["test"]
    why = await shop.why(second, "test")
    assert why["differences"] == [
        "output PUSHROD_OUTPUT_LINT_MADE has another value",
        "files of step lint changed",
    ]


async def test_another_image_under_the_tag_counts(shop: Shop, coordinator: Coordinator) -> None:
    await shop.push()
    await shop.run(2)
    await shop.push({"src/a.py": "2"})
    await shop.run(1, digest=NEW)  # which the next build then knows of
    third = await shop.push({"src/a.py": "1"})

    assert states(third) == {"lint": "ready", "test": "blocked"}
    assert (await shop.why(third, "lint"))["differences"] == ["src/a.py changed"]
    spec = await shop.take()
    assert await shop.settle(spec, NEW) == 200


async def test_an_image_that_no_agent_looked_up_of_late_is_asked_for_first(
    shop: Shop, tmp_path: Path
) -> None:
    first = await shop.push()
    await shop.run(2)
    with closing(sqlite3.connect(tmp_path / "data" / "pushrod.db")) as database:
        database.execute("UPDATE build_images SET found_at = found_at - 86400000000")
        database.commit()
    second = await shop.push()
    assert states(second) == {"lint": "ready", "test": "blocked"}
    spec = await shop.take()
    (await shop.agent.append(spec, 0, b"bringing the source")).expect(204)
    assert await shop.settle(spec, OLD) == 409
    (await shop.agent.complete(spec)).expect(409)

    ended = await shop.admin.build(second["id"])
    assert (ended["state"], reasons(ended)) == ("succeeded", {f"cached from #{first['number']}"})
    log = await shop.admin.get(f"/api/steps/{step(ended, 'lint')['id']}/log")
    assert log.expect(200).body == b"log of lint\n"


async def test_the_default_branch_and_tags_take_only_their_own_results(shop: Shop) -> None:
    await shop.push()
    await shop.run(2)
    on_branch = await shop.push({"src/a.py": "2"}, ref="topic")
    assert await shop.run(1) == ["lint"]
    on_main = await shop.push()
    assert states(on_main) == {"lint": "ready", "test": "blocked"}
    why = await shop.why(on_main, "lint")
    assert (why["comparedWith"], why["differences"]) == (1, ["src/a.py changed"])
    assert await shop.run(1) == ["lint"]
    taken = {f"cached from #{on_main['number']}", "cached from #1"}
    assert reasons(await shop.push(ref="topic")) == taken
    await shop.tree.git("tag", "v1")
    await shop.tree.git("push", "-q", "origin", "v1")
    tagged = await shop.newest()
    assert (tagged["tag"], states(tagged)) == ("v1", {"lint": "ready", "test": "blocked"})
    assert on_branch["branch"] == "topic"


async def test_what_ran_in_no_image_is_not_taken(shop: Shop) -> None:
    first = await shop.push()
    await shop.run(2, imageDigest=None)
    second = await shop.push()

    assert states(second) == {"lint": "ready", "test": "blocked"}
    assert "host engine" in (await shop.why(first, "lint"))["notKept"]


async def test_failures_are_not_taken(shop: Shop) -> None:
    await shop.push()
    spec = await shop.take()
    await shop.settle(spec, OLD)
    (await shop.agent.complete(spec, status="failed", exitCode=1, imageDigest=OLD)).expect(200)

    assert states(await shop.push()) == {"lint": "ready", "test": "blocked"}


async def test_clean_builds_and_retries_take_nothing_but_others_take_theirs(shop: Shop) -> None:
    first = await shop.push()
    await shop.run(2)
    body = {"workflowId": first["workflowId"], "cleanBuild": True, "branch": "main"}
    path = f"/api/projects/{shop.project['id']}/builds"
    assert (await shop.admin.post(path, body)).status in (200, 201)
    clean = await shop.newest()
    assert states(clean) == {"lint": "ready", "test": "blocked"}
    assert "--clean" in (await shop.why(clean, "lint"))["never"]
    await shop.run(2)
    again = await shop.admin.post(f"{path}/{first['id']}/retry", {})
    assert again.status in (200, 201)
    retried = await shop.newest()
    assert "retry" in (await shop.why(retried, "lint"))["never"]
    await shop.run(2)
    assert reasons(await shop.push()) == {f"cached from #{retried['number']}"}


async def test_what_was_taken_outlives_the_build_it_was_taken_from(shop: Shop) -> None:
    first = await shop.push()
    await shop.run(2)
    second = await shop.push()
    path = f"/api/projects/{shop.project['id']}/builds/{first['id']}"
    assert (await shop.admin.call("DELETE", path)).status in (200, 204)
    lint = step(second, "lint")

    log = (await shop.admin.get(f"/api/steps/{lint['id']}/log")).expect(200)
    assert log.body == b"log of lint\n"
    file = (await shop.admin.get(f"/api/steps/{lint['id']}/artifacts/out/file")).expect(200)
    assert file.body == b"lint"
    third = await shop.push()  # the digest that the deleted one knew is asked for
    spec = await shop.take()
    assert await shop.settle(spec, OLD) == 409
    assert reasons(await shop.admin.build(third["id"])) == {f"cached from #{first['number']}"}


async def test_agents_that_do_not_know_inputs_are_not_given_them(shop: Shop) -> None:
    build = await shop.push()
    assert (await shop.agent.poll())["offers"] == []
    spec = await shop.take()

    assert spec["source"]["inputs"] == ["src/**"]
    assert "git" not in spec["source"]
    assert states(build)["lint"] == "ready"


async def test_a_push_in_which_nothing_changed_costs_little(shop: Shop) -> None:
    names = [f"s{number:02}" for number in range(20)]
    steps = "".join(
        f"  - {{name: {name}, image: base, run: ls, inputs: [src/**], outputPaths: [out/],"
        f" dependsOn: [{', '.join(names[number - 1 : number])}]}}\n"
        for number, name in enumerate(names)
    )
    await shop.push({".pushrod.yml": f"steps:\n{steps}"})
    await shop.run(20)
    await shop.push()
    with collected() as sent:
        begun = time.process_time()
        ended = await shop.push()
        seconds = time.process_time() - begun

    assert reasons(ended) == {"cached from #1"}
    assert ended["state"] == "succeeded"
    begins = next(at for at, (text, _) in enumerate(sent) if text == "BEGIN IMMEDIATE")
    statements = [text for text, _ in sent[begins:] if not text.startswith("BEGIN")]
    assert len(statements) <= MOST_STATEMENTS_OF_A_PUSH
    assert seconds < 0.5  # 0.1, with all of the test's own work; see docs/performance.md
