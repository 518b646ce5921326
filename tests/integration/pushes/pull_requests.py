"""A pull request at the forge, and the event that tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.integration.forge_fixture import (
    Hook,
    Repository,
)

WORKFLOW = """
on:
  push: {branches: [main]}
  pullRequest: {branches: [main, "release/*"]}
steps:
  - {name: test, image: base, run: 'true', cacheDirs: [/cache]}
  - {name: after, image: base, run: 'true', dependsOn: [test]}
"""


async def pull(
    hook: Hook,
    repository: Repository,
    *,
    fork: bool,
    action: str = "opened",
    base: str = "main",
    message: str = "pears",
    workflow: str = WORKFLOW,
    files: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Push a pull request's head as the forge keeps it, and deliver its event.

    `more`: `labels` (texts), `draft`, and `label` (the one that was given).
    """
    content = {".pushrod.yml": workflow, **(files or {})}
    sha = await repository.push(content, message, "refs/pull/7/head")
    if not fork:
        await repository.tree.git("push", "-q", "-f", "origin", f"{sha}:refs/heads/pears")
    head = {"ref": "main" if fork else "pears", "sha": sha, "repo": {"id": 2 if fork else 1}}
    payload: dict[str, Any] = {
        "action": action,
        "number": 7,
        "pull_request": {
            "head": head,
            "base": {"ref": base, "repo": {"id": 1}},
            "labels": [{"id": 1, "name": label} for label in more.get("labels", ())],
            "draft": more.get("draft", False),
        },
        "repository": {"clone_url": repository.url},
    }
    if "label" in more:
        payload["label"] = {"id": 1, "name": more["label"]}
    answer = await hook.github("pull_request", payload)
    return dict(answer.expect(202).json) | {"sha": sha}
