"""An installation that was made by calls of its API goes on over PostgreSQL and a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from coordinator.objects.places import ObjectsPlace
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)
from tests.integration.list_fixture import wrong_counts
from tests.integration.people.furnished_accounts import House, furnish
from tests.integration.upkeep.test_moving import move_of
from tests.integration.upkeep.test_objects_elsewhere import settings_of
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

WORKFLOW = """
on:
  push: {}
  schedule: [{cron: "0 3 * * *"}]
steps:
  - {name: test, image: base, run: make, cacheDirs: [cache]}
  - name: release
    dependsOn: [test]
    approve: {message: Release?}
  - {name: deploy, image: base, dependsOn: [release], run: make deploy, secrets: [TOKEN]}
"""
LINES = [b"".join(b"line %d of part %d\n" % (i, part) for i in range(4000)) for part in range(3)]
"""Of a log that is in chunks, and has a tail."""
TAIL = b"a tail of the log, in the database\n"
LARGE = bytes(range(256)) * 30_000
LFS = b"large file of the repository\n" * 1000
OF_A_HOUSE = (
    "/api/projects/{project}",
    "/api/projects/{project}/workflows",
    "/api/projects/{project}/builds?limit=100",
    "/api/projects/-/builds/{build}",
    "/api/projects/-/builds/{done_build}",
    "/api/projects/{project}/retention",
    "/api/projects/{project}/builds/{build}/results",
    "/api/projects/{project}/builds/{build}/tests",
    "/api/projects/{project}/deliveries",
    "/api/projects/{project}/outbox",
    "/api/projects/{project}/badge.svg",
    "/api/projects/{project}/builds.atom",
    "/api/projects/{project}/notifications",
    "/api/projects/{project}/registries",
    "/api/projects/{project}/secrets",
    "/api/accounts/{account}/registries",
    "/api/accounts/{account}/secrets",
    "/api/steps/{running}/log",
    "/api/steps/{done}/log",
    "/api/steps/{done}/log?line=1&lines=1",
    "/api/steps/{done}/artifacts",
    "/api/steps/{done}/artifacts/out",
    "/api/steps/{done}/outputs",
    "/api/steps/{done}/why",
    "/api/steps/{ready}/why",
    "/api/builds/{image_build}",
    "/api/deploy/{deployment}",
    "/git/{account}/{slug}.git/info/refs?service=git-upload-pack",
)
OF_ALL = (
    *("/api/accounts", "/api/projects?accountId=acme", "/api/projects?accountId=default"),
    *("/api/overview", "/api/docker-images", "/api/audit-logs?limit=100", "/api/builds"),
    *("/api/deploy", "/api/tokens", "/api/agents", "/api/storage", "/api/users"),
    *("/api/retention", "/"),
)
MOVES_ON = {
    *("lastSeenAt", "lastUsedAt", "last_used_at", "databaseBytes", "freeBytes", "totalBytes"),
    *("machine", "waitSeconds", "seconds", "now", "online"),
}
"""Is of the moment at which it is asked."""


async def answers(admin: Caller, paths: Sequence[str]) -> dict[str, tuple[int, Any]]:
    found, refused = {}, dict[str, str]()
    for path in paths:
        answer = await admin.get(path)
        refused = {**refused, path: answer.text} if answer.status >= 400 else refused
        try:
            found[path] = answer.status, settled(answer.json)
        except ValueError:
            found[path] = answer.status, hashlib.sha256(answer.body).hexdigest()
    assert not refused, json.dumps(refused, indent=1)
    return found


def settled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: settled(one) for name, one in value.items() if name not in MOVES_ON}
    return [settled(one) for one in value] if isinstance(value, list) else value


async def furnished(coordinator: Coordinator, folder: Path) -> tuple[House, dict[str, Any]]:
    """With a build that waits for somebody's answer, and one that runs."""
    admin = coordinator.admin
    house = await furnish(admin, "acme")
    offset = 0
    for part in (*LINES, TAIL):
        (await house.agent.append(house.running, offset, part)).expect(204)
        offset += len(part)
    (await house.agent.upload(house.running, "large", io.BytesIO(LARGE))).expect(201)
    project = await admin.new_project("acme", "gated")
    hidden = io.BytesIO(json.dumps({"value": "hidden-value"}).encode())
    path = f"/api/projects/{project['id']}/secrets/TOKEN"
    as_json = {"Content-Type": "application/json"}
    assert (await admin.call("PUT", path, data=hidden, headers=as_json)).status < 300
    user = {"email": "anna@example.org", "password": "a long enough password"}
    (await admin.post("/api/users", user)).expect(201)
    tree = await new_work_tree(folder, admin, project)
    await tree.commit({".pushrod.yml": WORKFLOW})
    await tree.push()
    oid = hashlib.sha256(LFS).hexdigest()
    url = f"/git/acme/{project['slug']}.git/info/lfs/objects/{oid}"
    (await admin.call("PUT", url, data=io.BytesIO(LFS))).expect(200)
    gated = await take_of(house.agent, "test")
    (await house.agent.append(gated, 0, b"tested\n")).expect(204)
    (await house.agent.complete(gated)).expect(200)
    return house, {**await admin.build(gated["buildId"]), "lfs": url}


async def take_of(agent: AgentCaller, name: str) -> dict[str, Any]:
    """The others that wait are taken, too."""
    while (spec := await agent.take())["name"] != name:
        (await agent.complete(spec)).expect(200)
    return spec


@pytest.mark.timeout(300)
async def test_all_is_there_as_before_and_goes_on(
    tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    target = postgres_server.new_database(migrated=False)
    bucket: ObjectsPlace = s3_server.place(tmp_path / "credentials", tmp_path.name)
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=600) as old:
        house, gated = await furnished(old, tmp_path)
        paths = [*map(house.fill, OF_A_HOUSE), *OF_ALL, gated["lfs"]]
        paths += [
            f"/api/projects/-/builds/{gated['id']}",
            f"/api/steps/{house.running['stepId']}/log",
        ]
        before = await answers(old.admin, paths)
        await old.stop()
        report = await asyncio.to_thread(move_of(old.data, target, bucket).run)
        assert report.objects is not None
        assert report.tables["log_tails"].rows > 0
        assert report.objects.objects >= 5
        assert report.missing == []

        settings = {**old.settings, **settings_of(bucket), "database": target.url}
        new = Coordinator(old.data, settings, old.session, old.port)
        await new.start()
        try:
            agent = AgentCaller(new, house.agent.token, house.agent.agent_id)
            await agent.poll(free=0)  # its being there is no row
            after = await answers(new.admin, paths)
            other = [path for path in paths if before[path] != after[path]]
            assert not other, "\n".join(f"{before[path]}\n{after[path]}" for path in other)
            await assert_it_goes_on(new, house, gated)
            assert wrong_counts(target) == []
        finally:
            await new.stop()
            postgres_server.drop(target)


async def assert_it_goes_on(new: Coordinator, house: House, gated: dict[str, Any]) -> None:
    """What ran under its lease, the queue, the gate, the secrets, and the numbers of new builds."""
    agent, running = AgentCaller(new, house.agent.token, house.agent.agent_id), house.running
    assert (await agent.renew(running))["lost"] == []
    whole = b"".join(LINES) + TAIL
    (await agent.append(running, len(whole), b"the end\n")).expect(204)
    whole += b"the end\n"
    end = {"logBytes": len(whole), "logSha256": hashlib.sha256(whole).hexdigest()}
    (await agent.complete(running, **end)).expect(200)
    log = (await new.admin.get(f"/api/steps/{running['stepId']}/log")).expect(200)
    assert log.body == whole
    artifact = await new.admin.get(f"/api/steps/{running['stepId']}/artifacts/large")
    assert artifact.expect(200).body == LARGE

    [gate] = [step for step in gated["steps"] if step["name"] == "release"]
    (await new.admin.post(f"/api/steps/{gate['id']}/approve", {})).expect(200)
    deploy = await take_of(agent, "deploy")
    assert "hidden-value" in json.dumps(deploy)
    (await agent.complete(deploy)).expect(200)
    assert (await new.admin.build(gated["id"]))["state"] == "succeeded"

    made = await new.admin.new_build(house.project)
    numbers = [build["number"] for build in await new.admin.builds(house.project)]
    assert numbers == sorted(numbers, reverse=True)
    assert made["number"] == numbers[0] == numbers[1] + 1
