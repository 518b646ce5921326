"""A pull request at the forge, and the event that tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.integration.coordinator_fixture import Answer
from tests.integration.forge_fixture import Hook, Repository, until_settled

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
    sha: str | None = None,
    number: int = 7,
    **more: Any,
) -> dict[str, Any]:
    """Push a pull request's head as the forge keeps it, and deliver its event.

    With `sha`, of a head that is there already. `more`: `labels` (texts), `draft`, `label` (the one
    that was given), and `head` (its branch).
    """
    content = {".pushrod.yml": workflow, **(files or {})}
    sha = sha or await repository.push(content, message, f"refs/pull/{number}/head")
    branch = more.get("head", "pears")
    if not fork:
        await repository.tree.git("push", "-q", "-f", "origin", f"{sha}:refs/heads/{branch}")
    head = {"ref": "main" if fork else branch, "sha": sha, "repo": {"id": 2 if fork else 1}}
    payload: dict[str, Any] = {
        "action": action,
        "number": number,
        "pull_request": {
            "head": head,
            "base": {"ref": base, "repo": {"id": 1}},
            "labels": [{"id": 1, "name": label} for label in more.get("labels", ())],
            "draft": more.get("draft", False),
            "title": more.get("title"),
        },
        "repository": {"clone_url": repository.url},
    }
    if "label" in more:
        payload["label"] = {"id": 1, "name": more["label"]}
    answer = await hook.github("pull_request", payload)
    return await settled(hook, answer) | {"sha": sha}


async def settled(hook: Hook, answer: Answer) -> dict[str, Any]:
    """What became of a delivery, which a busy machine does not know yet when it answers."""
    told = dict(answer.expect(202).json)
    if told["status"] != "received":
        return told
    return await until_settled(hook, told["deliveryId"])
