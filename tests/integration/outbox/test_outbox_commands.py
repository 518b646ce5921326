"""`pushrod project set --forge-token-file` and `pushrod delivery`, against a real coordinator."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.coordinator_fixture import open_coordinator
from tests.integration.forge_fixture import open_forge
from tests.integration.outbox.test_statuses import told_project
from tests.integration.pushes.test_webhook_commands import command, said
from tests.integration.status_forge import TOKEN, open_status_forge


async def test_a_status_is_seen_shown_and_sent_again(tmp_path: Path) -> None:
    async with (
        open_coordinator(
            tmp_path, allow_http_repositories=True, allow_private_addresses=True
        ) as coordinator,
        open_forge(tmp_path) as forge,
        open_status_forge("gitea") as statuses,
    ):
        told = await told_project(coordinator, forge, statuses, tmp_path)
        (tmp_path / "token").write_text(TOKEN + "\n")
        options = ("--forge-token-file", str(tmp_path / "token"), "--forge", "gitea")
        words = await said(
            coordinator, "project", "set", "remote", *options, "--forge-url", statuses.url
        )
        assert f"builds are told to gitea at {statuses.url}" in words
        await told.push()
        await statuses.until("pending")
        await told.until_message("sent")

        listed = await said(coordinator, "delivery", "list", "remote")
        assert "status: pending" in listed
        assert "pushrod/ci/push" in listed
        assert "push" in await said(coordinator, "delivery", "list", "remote", "--in")
        [message] = json.loads(
            await said(coordinator, "delivery", "list", "remote", "--out", "--json")
        )
        number = str(message["id"])
        assert "state: sent" in await said(coordinator, "delivery", "show", "remote", number)
        await said(coordinator, "delivery", "retry", "remote", number)
        await statuses.until("pending", "pending")
        assert TOKEN not in listed + words

        without = await command(
            coordinator, "project", "set", "remote", "--forge-url", statuses.url
        )
        assert "goes with --forge-token-file" in without.output
        await said(coordinator, "project", "set", "remote", "--no-forge-token")
        again = await command(coordinator, "project", "set", "remote", "--no-forge-token")
        assert "this project has no token for its forge" in again.output
