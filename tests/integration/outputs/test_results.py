"""What steps report, from their files to what is shown of a build."""

from __future__ import annotations

import io
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coordinator.storage.database import Database
from coordinator.storage.outputs.result_comparisons import failed_places
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    step_of,
)
from tests.integration.list_fixture import explained
from tests.integration.statements import collected

REPORTS = {"junit": ["reports/*.xml"], "coverage": ["coverage.xml"], "summary": "summary.md"}
JUNIT = {"junit": ["a.xml"]}


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


def junit(*passed: str, failed: tuple[str, ...] = (), seconds: float = 0.1) -> bytes:
    ok = "".join(f'<testcase classname="s" name="{name}" time="{seconds}"/>' for name in passed)
    bad = "".join(
        f'<testcase classname="s" name="{name}" time="1"><failure message="no {name}">'
        f"tests/{name}.py:7: AssertionError</failure></testcase>"
        for name in failed
    )
    return f"<testsuite name='all'>{ok}{bad}</testsuite>".encode()


def coverage(covered: int, lines: int) -> bytes:
    shown = "".join(f'<line number="{n}" hits="{int(n < covered)}"/>' for n in range(lines))
    return f'<coverage><class filename="a.py"><lines>{shown}</lines></class></coverage>'.encode()


async def run(
    agent: AgentCaller, files: dict[str, bytes], *, exit_code: int = 0, **body: Any
) -> dict[str, Any]:
    """The next step, which leaves these files; its spec."""
    spec = await agent.take()
    for name, content in files.items():
        (await agent.upload(spec, name, io.BytesIO(content))).expect(201)
    status = "failed" if exit_code else "success"
    (await agent.complete(spec, status=status, exitCode=exit_code, **body)).expect(200)
    return spec


async def results(caller: Caller, build: dict[str, Any]) -> list[dict[str, Any]]:
    path = f"/api/projects/-/builds/{build['id']}/results"
    return list((await caller.get(path)).expect(200).json["steps"])


async def found_tests(
    caller: Caller, build: dict[str, Any], query: str = ""
) -> list[dict[str, Any]]:
    path = f"/api/projects/-/builds/{build['id']}/tests{query}"
    return list((await caller.get(path)).expect(200).json["tests"])


async def test_what_a_failed_step_reports_is_its_cause_and_its_builds(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=REPORTS))
    files = {
        "reports/a.xml": junit("test_a", "test_b", failed=("test_x",)),
        "reports/b.xml": junit("test_c"),
        "coverage.xml": coverage(3, 4),
        "summary.md": b"# Done\n<script>alert(1)</script>\n",
    }
    await run(agent, files, exit_code=1)
    shown = await admin.build(build["id"])
    [step] = shown["steps"]
    assert step["reason"] == "1 of 4 tests failed: test_x"
    assert step["exitCode"] == 1
    assert step["reports"] is True
    assert "message" not in step
    assert shown["reason"] == "step unit failed: 1 of 4 tests failed: test_x"
    [found] = await results(admin, build)
    assert found["tests"] == {"tests": 4, "failed": 1, "skipped": 0, "seconds": 1.3}
    assert found["sentence"] == "1 of 4 tests failed: test_x"
    assert found["coverage"] == {
        "percent": 75.0,
        "lines": 4,
        "linesCovered": 3,
        "branches": 0,
        "branchesCovered": 0,
    }
    assert found["summary"] == [
        {"tag": "h1", "children": ["Done"]},
        {"tag": "p", "children": ["<script>alert(1)</script>"]},
    ]
    assert found["warnings"] == []
    [failed] = await found_tests(admin, build, "?result=failed")
    assert failed == {
        "step": "unit",
        "suite": "s",
        "name": "test_x",
        "result": "failed",
        "seconds": 1.0,
        "flaky": False,
        "newlyFailing": False,
        "message": "no test_x",
        "details": "tests/test_x.py:7: AssertionError",
        "file": "tests/test_x.py",
        "line": 7,
    }
    names = [test["name"] for test in await found_tests(admin, build, "?slowest=true&limit=2")]
    assert names == ["test_x", "test_a"]
    assert len(await found_tests(admin, build)) == 4
    assert await found_tests(admin, build, "?step=unit&result=skipped") == []
    path = f"/api/projects/-/builds/{build['id']}/tests"
    (await admin.get(f"{path}?step=none")).expect(404)
    (await admin.get(f"{path}?result=odd")).expect(400)


async def test_the_files_are_among_the_steps_outputs(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    await admin.new_build(project, step_of("unit", reports=REPORTS, outputPaths=["dist/"]))
    spec = await agent.take()
    assert spec["outputPaths"] == ["dist/", "reports/*.xml", "coverage.xml", "summary.md"]


async def test_what_is_missing_or_broken_is_a_warning_and_the_step_succeeds(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=REPORTS))
    files = {"reports/a.xml": b"<!DOCTYPE a [<!ENTITY x 'y'>]><testsuite/>"}
    note = "outputPaths: nothing matches summary.md\nanother note"
    await run(agent, files, message=note)
    [step] = (await admin.build(build["id"]))["steps"]
    assert step["status"] == "SUCCESS"
    told = step["message"].splitlines()
    assert told == [
        "another note",
        "reports: no file for `coverage: coverage.xml`",
        "reports: no file for `summary: summary.md`",
        "reports: reports/a.xml declares entities or the like, which is not read: "
        "leave the DTD out",
    ]
    [found] = await results(admin, build)
    assert found["warnings"] == told[1:]
    assert found["tests"]["tests"] == 0
    assert found.get("coverage") is None


async def test_a_file_that_is_too_large_is_not_read_and_the_step_succeeds(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    huge = b"<a b='" + b"x" * 65 * 2**20
    await run(agent, {"a.xml": huge})
    [step] = (await admin.build(build["id"]))["steps"]
    assert step["status"] == "SUCCESS"
    assert "a.xml was not read: it has 68,157,446 bytes, more than 64 MiB" in step["message"]


async def test_reports_are_taken_when_the_step_took_too_long(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    cut = junit("test_a", failed=("test_x",)).removesuffix(b"</testsuite>")
    spec = await agent.take()
    (await agent.upload(spec, "a.xml", cut)).expect(201)
    (await agent.complete(spec, status="failed", exitCode=None, reason="timeout")).expect(200)
    [step] = (await admin.build(build["id"]))["steps"]
    assert step["reason"] == "timeout"
    assert "the 2 tests before it counted" in step["message"]
    [found] = await results(admin, build)
    assert found["sentence"] == "1 of 2 tests failed: test_x"


async def test_the_same_completion_again_is_answered_again(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    spec = await run(agent, {"a.xml": junit(failed=("x",))}, exit_code=1)
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    assert len(await found_tests(admin, build)) == 1


async def test_a_test_whose_result_changes_when_the_step_is_tried_again_is_flaky(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    retried = step_of("unit", reports=JUNIT, retries={"max": 1, "on": ["failed"]})
    build = await admin.new_build(project, retried)
    await run(agent, {"a.xml": junit("ok", failed=("odd", "bad"))}, exit_code=1)
    await run(agent, {"a.xml": junit("ok", "odd", failed=("bad",))}, exit_code=1)
    flaky = await found_tests(admin, build, "?flaky=true")
    assert [(test["name"], test["result"]) for test in flaky] == [("odd", "passed")]
    [found] = await results(admin, build)
    assert found["flaky"] == 1
    assert found["tests"]["failed"] == 1


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


def pushed_workflow(more: str = "") -> dict[str, str | bytes]:
    return {
        ".pushrod.yml": "name: ci\non: {push: {}, manual: {params: {a: {default: x}}}}\nsteps: "
        "[{name: unit, image: a, run: 'true', reports: {junit: a.xml, coverage: c.xml}}]\n" + more
    }


async def test_only_equal_inputs_make_a_test_flaky(
    admin: Caller, agent: AgentCaller, project: dict[str, Any], tree: WorkTree
) -> None:
    async def again(content: bytes, commit: str, **more: Any) -> list[dict[str, Any]]:
        path = f"/api/projects/{project['id']}/builds"
        wanted = {"workflowId": "ci", "commitHash": commit, **more}
        build = (await admin.post(path, wanted)).expect(201).json
        await run(agent, {"a.xml": content})
        return await found_tests(admin, build, "?flaky=true")

    first = await tree.commit(pushed_workflow())
    await tree.push()
    await run(agent, {"a.xml": junit(failed=("x",))}, exit_code=1)
    second = await tree.commit({"README": "x"})
    await tree.push()
    await run(agent, {"a.xml": junit("x")})
    assert await again(junit("x"), second) == []
    assert await again(junit("x"), first, params={"a": "y"}) == []
    [test] = await again(junit("x"), first, params={"a": "x"})
    assert (test["name"], test["result"], test["flaky"]) == ("x", "passed", True)


async def test_what_failed_newly_and_how_coverage_changed_is_told_by_earlier_builds(
    admin: Caller, agent: AgentCaller, project: dict[str, Any], tree: WorkTree
) -> None:
    async def pushed(branch: str, content: bytes, covered: int) -> dict[str, Any]:
        await tree.git("checkout", "-q", "-B", branch)
        await tree.commit(pushed_workflow())
        await tree.push(branch)
        spec = await run(agent, {"a.xml": content, "c.xml": coverage(covered, 8)})
        return await admin.build(spec["buildId"])

    first = await pushed("main", junit("a", failed=("old",)), 4)
    [found] = await results(admin, first)
    assert "newlyFailing" not in found
    assert "change" not in found["coverage"]
    topic = await pushed("topic", junit(failed=("old", "a")), 5)
    [found] = await results(admin, topic)
    assert (found["newlyFailing"], found["comparedWith"]) == (1, 1)
    assert (found["coverage"]["change"], found["coverage"]["comparedWith"]) == (12.5, 1)
    [new] = await found_tests(admin, topic, "?newlyFailing=true")
    assert (new["name"], new["newlyFailing"]) == ("a", True)
    again = await pushed("topic", junit(failed=("old", "a", "b")), 2)
    [found] = await results(admin, again)
    assert (found["newlyFailing"], found["comparedWith"]) == (1, 2)
    assert found["coverage"]["change"] == -25.0
    marks = {test["name"]: test["newlyFailing"] for test in await found_tests(admin, again)}
    assert marks == {"old": False, "a": False, "b": True}


async def test_a_tests_history_goes_through_the_projects_builds(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    for content in (junit("a"), junit(failed=("a",)), junit("a", seconds=3)):
        await admin.new_build(project, step_of("unit", reports=JUNIT), branch="main")
        await run(agent, {"a.xml": content})
    path = f"/api/projects/{project['id']}/tests/history"
    [history] = (await admin.get(f"{path}?name=a&limit=2")).expect(200).json
    assert (history["workflow"], history["step"], history["suite"]) == ("ci", "unit", "s")
    assert [(one["buildNumber"], one["result"]) for one in history["results"]] == [
        (3, "passed"),
        (2, "failed"),
    ]
    assert history["results"][0]["seconds"] == 3.0
    assert history["results"][1]["message"] == "no a"
    assert (await admin.get(f"{path}?name=other")).expect(200).json == []
    (await admin.get(path)).expect(400)


async def test_another_account_sees_nothing_of_it(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    await run(agent, {"a.xml": junit("a")})
    stranger = await admin.new_token(role="maintainer", account="other")
    base = f"/api/projects/-/builds/{build['id']}"
    for path in (
        f"{base}/results",
        f"{base}/tests",
        f"/api/projects/{project['id']}/tests/history?name=a",
    ):
        (await stranger.get(path)).expect(404)
    other = await admin.new_project("acme", "other")
    (await admin.get(f"/api/projects/{other['id']}/builds/{build['id']}/results")).expect(404)


async def test_a_secret_in_a_report_is_not_shown(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    secret = {"value": "s3cr3t-word"}
    path = f"/api/projects/{project['id']}/secrets/KEY"
    assert (await admin.call("PUT", path, json=secret)).status in (200, 201, 204)
    build = await admin.new_build(project, step_of("unit", reports=REPORTS, secrets=["KEY"]))
    files = {
        "reports/a.xml": junit(failed=("test_s3cr3t-word",)),
        "summary.md": b"has [s3cr3t-word](https://s3cr3t-word.example)",
    }
    await run(agent, files, exit_code=1)
    shown = await admin.get(f"/api/projects/-/builds/{build['id']}/tests")
    everything = f"{await admin.build(build['id'])} {shown.text} {await results(admin, build)}"
    assert "s3cr3t" not in everything
    assert "test_***" in everything


async def test_a_retry_shows_the_results_that_it_takes_over_and_keeps_them(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(
        project, step_of("unit", reports=JUNIT), step_of("web", reports=JUNIT)
    )
    await run(agent, {"a.xml": junit("a")})
    await run(agent, {"a.xml": junit(failed=("b",))}, exit_code=1)
    again = f"/api/projects/{project['id']}/builds/{build['id']}/retry"
    retry = (await admin.post(again, {"failed": True})).expect(201).json
    await run(agent, {"a.xml": junit("b")})
    found = await found_tests(admin, retry)
    assert [(test["step"], test["name"], test["result"]) for test in found] == [
        ("unit", "a", "passed"),
        ("web", "b", "passed"),
    ]
    assert [test["flaky"] for test in found] == [False, False]  # without a commit nothing is known
    path = f"/api/projects/{project['id']}/tests/history?name=a"
    [history] = (await admin.get(path)).json
    assert [one["buildNumber"] for one in history["results"]] == [1]
    (await admin.call("DELETE", f"/api/projects/-/builds/{build['id']}")).expect(204)
    assert len(await found_tests(admin, retry)) == 2
    await nothing_doomed(coordinator)
    assert rows(coordinator, "test_results") == 2
    (await admin.call("DELETE", f"/api/projects/-/builds/{retry['id']}")).expect(204)
    await left_over(coordinator, 0)


async def test_a_project_goes_with_its_tests(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    await admin.new_build(project, step_of("unit", reports=JUNIT))
    await run(agent, {"a.xml": junit("a")})
    other = await admin.new_project("acme", "other")
    await admin.new_build(other, step_of("unit", reports=JUNIT))
    await run(agent, {"a.xml": junit("a")})
    assert rows(coordinator, "test_results") == 2
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)
    await left_over(coordinator, 1)


async def left_over(coordinator: Coordinator, count: int) -> None:
    await nothing_doomed(coordinator)
    for table in ("step_results", "test_results", "test_names"):
        assert rows(coordinator, table) == count, table


async def nothing_doomed(coordinator: Coordinator) -> None:
    async def look() -> bool:
        return rows(coordinator, "doomed_objects") == 0

    await eventually(look)


def rows(coordinator: Coordinator, table: str) -> int:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


async def test_ten_thousand_tests_are_written_in_portions(
    admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    many = junit(*(f"t{number}" for number in range(10_000)))
    with collected() as first:
        await run(agent, {"a.xml": many})
    assert (await results(admin, build))[0]["tests"]["tests"] == 10_000
    with collected() as statements:
        await admin.new_build(project, step_of("unit", reports=JUNIT))
        await run(agent, {"a.xml": junit("a")})
    assert len(first) - len(statements) < 5 * 8, "5 portions, each of at most 8 statements"


async def test_no_question_reads_more_the_more_results_there_are(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    retried = step_of("unit", reports=JUNIT, retries={"max": 1, "on": ["failed"]})
    with explained(coordinator.data / "pushrod.db") as plans:
        build = await admin.new_build(project, retried)
        await run(agent, {"a.xml": junit(failed=("a", "b"))}, exit_code=1)
        await run(agent, {"a.xml": junit("a", failed=("b",))}, exit_code=1)
        await results(admin, build)
        for query in ("", "?result=failed", "?flaky=true", "?newlyFailing=true", "?step=unit"):
            await found_tests(admin, build, query)
        path = f"/api/projects/{project['id']}/tests/history?name=a"
        assert (await admin.get(path)).expect(200).json
    ours = [
        step for step in plans.steps() if re.search("step_results|test_results|test_names", step)
    ]
    assert len(ours) > 20
    assert not [step for step in ours if not step.startswith("SEARCH")]


async def test_failed_tests_are_listed_with_their_places_for_who_shows_code(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, project: dict[str, Any]
) -> None:
    build = await admin.new_build(project, step_of("unit", reports=JUNIT))
    placeless = b"<testcase name='c'><failure>no</failure></testcase></testsuite>"
    content = junit("a", failed=("b", "d")).removesuffix(b"</testsuite>") + placeless
    await run(agent, {"a.xml": content}, exit_code=1)
    database = await Database.open(coordinator.data / "pushrod.db")
    try:
        found = await database.read(partial(failed_places, build_id=build["id"], limit=10))
        one = await database.read(partial(failed_places, build_id=build["id"], limit=1))
    finally:
        await database.close()
    assert [(step, test.file, test.line, test.message) for step, test in found] == [
        ("unit", "tests/b.py", 7, "no b"),
        ("unit", "tests/d.py", 7, "no d"),
    ]
    assert len(one) == 1
