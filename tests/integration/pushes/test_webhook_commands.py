"""The commands around webhooks, against a real coordinator and forge."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pushrod.cli import pushrod
from tests.integration.coordinator_fixture import ONE_STEP, Coordinator, open_coordinator
from tests.integration.forge_fixture import Hook, open_forge, push_payload

SETTINGS: dict[str, Any] = {"allow_http_repositories": True, "allow_private_addresses": True}


async def command(coordinator: Coordinator, *arguments: str) -> Result:
    environment = {"PUSHROD_URL": coordinator.url, "PUSHROD_TOKEN": coordinator.admin.token}
    return await asyncio.to_thread(
        CliRunner(env=environment).invoke, pushrod, list(arguments), catch_exceptions=False
    )


async def said(coordinator: Coordinator, *arguments: str) -> str:
    result = await command(coordinator, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


async def test_from_a_new_project_to_a_redelivery_and_an_approval(tmp_path: Path) -> None:
    async with (
        open_coordinator(tmp_path, **SETTINGS) as coordinator,
        open_forge(tmp_path) as forge,
    ):
        repository = await forge.new_repository(tmp_path / "tree")
        forge.require("anna", "s3cret-token")
        secret = tmp_path / "secret"
        shown = await said(
            coordinator,
            *("project", "create", "shop", "--repo", repository.url),
            *("--secret-file", str(secret)),
        )
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert secret.read_text().strip() not in shown
        [project] = json.loads(await said(coordinator, "project", "list", "--json"))
        assert f"webhook {project['webhookUrl']}" in shown
        hook = Hook(coordinator, project | {"webhookSecret": secret.read_text().strip()})

        token = tmp_path / "token"
        token.write_text("anna:s3cret-token\n")
        shown = await said(coordinator, "project", "credential", "shop", "--token-file", str(token))
        assert "s3cret" not in shown
        sha = await repository.push({".pushrod.yml": ONE_STEP})
        await hook.github("push", push_payload(repository.url, sha), delivery="d-1")
        listed = await said(coordinator, "delivery", "list", "shop", "--json")
        [delivery] = json.loads(listed)
        assert (delivery["deliveryId"], delivery["status"]) == ("d-1", "processed")
        assert "processed" in await said(coordinator, "delivery", "list", "shop")
        assert "d-1" in await said(coordinator, "delivery", "redeliver", "shop", "d-1")

        said_so = await said(coordinator, "project", "set", "shop", "--forge", "gitea")
        assert f"/api/webhooks/gitea/{project['id']}" in said_so
        page = repository.url.removesuffix(".git")
        shown = await said(coordinator, "build", "show", "shop#1")
        assert f"commit {page}/commit/{sha}\nbranch {page}/src/branch/main\n" in shown

        missing = await command(coordinator, "delivery", "redeliver", "shop", "d-2")
        assert (missing.exit_code, "delivery not found" in missing.output) == (1, True)
        both = ("--token-file", str(token), "--remove")
        refused = await command(coordinator, "project", "credential", "shop", *both)
        assert refused.exit_code == 1
        await said(coordinator, "project", "credential", "shop", "--remove")

        not_held = await command(coordinator, "build", "approve", "shop#1")
        assert (not_held.exit_code, "can't start" in not_held.output) == (1, True)
