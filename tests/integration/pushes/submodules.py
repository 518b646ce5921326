"""Work trees with submodules, hosted here and at a forge, and what a step shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.coordinator_fixture import Caller, WorkTree, new_work_tree
from tests.integration.forge_fixture import Hook, Repository
from tests.integration.source_fixture import finished, running_agent, workflow_of

LOCAL = {
    "allow_http_repositories": True,
    "allow_private_addresses": True,
    "fetch_retry_seconds": 0.05,
    "fetch_attempts": 2,
}
SHOW = "for f in $(find . -type f -not -path '*/.git*' | sort); do echo $f=$(cat $f); done"
ALWAYS = workflow_of(SHOW)


async def hosted(admin: Caller, folder: Path, name: str, account: str = "default") -> WorkTree:
    project = await admin.new_project(account, name)
    return await new_work_tree(folder, admin, project, f"{account}-{name}")


async def pushed(tree: WorkTree, files: dict[str, str | bytes], message: str = "change") -> str:
    sha = await tree.commit(files, message)
    await tree.push()
    return sha


def lines(log: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in log.splitlines() if "=" in line)


async def build_of_fork(hook: Hook, app: Repository) -> dict[str, Any]:
    """The approved build of a fork's pull request, of what the tree has staged."""
    admin = hook.coordinator.admin
    sha = await app.push({".pushrod.yml": ALWAYS}, ref="refs/pull/7/head")
    head = {"ref": "main", "sha": sha, "repo": {"id": 2}}
    payload = {
        "action": "opened",
        "number": 7,
        "pull_request": {"head": head, "base": {"ref": "main", "repo": {"id": 1}}},
        "repository": {"clone_url": app.url},
    }
    (await hook.github("pull_request", payload)).expect(202)
    held = max(await admin.builds(hook.project), key=lambda build: build["number"])
    async with running_agent(hook.coordinator):
        (await admin.post(f"/api/projects/-/builds/{held['id']}/approve")).expect(200)
        return await finished(admin, hook.project, held["number"])
