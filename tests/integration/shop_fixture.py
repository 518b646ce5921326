"""A project whose steps have `inputs`, its work tree, and an agent that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
)

OLD, NEW = (f"sha256:{letter * 64}" for letter in "ab")


@dataclass(slots=True)
class Shop:
    """A project with a work tree, and an agent that knows `inputs`."""

    admin: Caller
    agent: AgentCaller
    project: Mapping[str, Any]
    tree: WorkTree
    commits: int = 0

    async def push(
        self, files: Mapping[str, str] | None = None, ref: str = "main"
    ) -> dict[str, Any]:
        """Of a new commit; its newest build."""
        self.commits += 1
        await self.tree.commit({"unrelated": str(self.commits), **(files or {})})
        await self.tree.git("push", "-q", "origin", f"HEAD:{ref}")
        return await self.newest()

    async def newest(self) -> dict[str, Any]:
        path = f"/api/projects/{self.project['id']}/builds?limit=1"
        found = (await self.admin.get(path)).expect(200).json
        builds = found["builds"] if isinstance(found, dict) else found
        return await self.admin.build(builds[0]["id"])

    async def take(self) -> dict[str, Any]:
        async def offers() -> Any:
            return (await self.agent.poll(capabilities=["inputs", "users"]))["offers"]

        [offer] = await eventually(offers)
        return dict((await self.agent.accept(offer)).expect(200).json)

    async def settle(self, spec: Mapping[str, Any], digest: str) -> int:
        body = {"epoch": spec["epoch"], "digest": digest}
        return (await self.agent.post(f"/api/runner/{spec['stepId']}/image", body)).status

    async def run(
        self, count: int, digest: str = OLD, content: bytes | None = None, **completed: Any
    ) -> list[str]:
        """So many steps, which find the image and leave a file and a value; their names."""
        names = []
        for _ in range(count):
            spec = await self.take()
            names.append(spec["name"])
            if "imageDigest" not in spec:
                assert await self.settle(spec, digest) == 200
            (await self.agent.append(spec, 0, f"log of {spec['name']}\n".encode())).expect(204)
            left = spec["name"].encode() if content is None else content
            (await self.agent.upload(spec, "out/file", left)).expect(201)
            values = {"outputs": {"made": spec["name"]}, "imageDigest": digest, **completed}
            (await self.agent.complete(spec, **values)).expect(200)
        return names

    async def why(self, build: Mapping[str, Any], name: str) -> dict[str, Any]:
        path = f"/api/steps/{step(build, name)['id']}/why"
        return dict((await self.admin.get(path)).expect(200).json)


async def new_shop(coordinator: Coordinator, folder: Path, workflow: str) -> Shop:
    """`folder` is to hold the work tree."""
    admin = coordinator.admin
    project = await admin.new_project()
    tree = await new_work_tree(folder, admin, project)
    await tree.commit({".pushrod.yml": workflow, "src/a.py": "1", "src/b.py": "1"})
    return Shop(admin, await admin.new_agent(), project, tree)


async def set_secret(admin: Caller, project: Mapping[str, Any], value: str) -> None:
    path = f"/api/projects/{project['id']}/secrets/KEY"
    answer = await admin.call("PUT", path, json={"value": value})
    assert answer.status < 300, answer


def step(build: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(dict(one) for one in build["steps"] if one["name"] == name)


def states(build: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["status"].lower() for one in build["steps"]}


def reasons(build: Mapping[str, Any]) -> set[str | None]:
    return {one.get("reason") for one in build["steps"]}
