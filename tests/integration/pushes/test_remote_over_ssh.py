"""Remote repositories over a real sshd on loopback, with a deploy key."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    ONE_STEP,
    WorkTree,
    open_coordinator,
)
from tests.integration.forge_fixture import Hook, push_payload, remote_project, until_settled
from tests.ports import free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd here: apt-get install openssh-server")


def new_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)


@asynccontextmanager
async def open_sshd(folder: Path) -> AsyncIterator[int]:
    """A server that lets the key `folder/user` in as whoever runs this test; its port."""
    folder.mkdir()
    new_key(folder / "host")
    new_key(folder / "user")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    process = await asyncio.create_subprocess_exec(
        str(SSHD),
        *("-D", "-e", "-f", str(folder / "config")),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"listening" not in (line := await process.stderr.readline()):
                assert line, "sshd ended"
        yield port
    finally:
        process.terminate()
        await process.communicate()


async def deliver(hook: Hook, tree: WorkTree, url: str) -> dict[str, Any]:
    sha = await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    await hook.github("push", push_payload(url, sha), delivery=sha, wait=0)
    return await until_settled(hook, sha)


async def give(hook: Hook, key: Path) -> None:
    path = f"/api/projects/{hook.project['id']}/credential"
    body = {"deployKey": key.read_text()}
    (await hook.coordinator.admin.call("PUT", path, json=body)).expect(204)


async def test_a_deploy_key_lets_us_in_and_a_changed_host_key_keeps_us_out(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "tree", GIT_ENVIRONMENT)
    tree.folder.mkdir()
    bare = tmp_path / "shop.git"
    await tree.git("init", "-q", "-b", "main")
    await tree.git("init", "-q", "--bare", str(bare))
    await tree.git("remote", "add", "origin", str(bare))
    spaced = tmp_path / "a 100% folder"
    spaced.mkdir()
    async with (
        open_sshd(tmp_path / "sshd") as port,
        open_coordinator(spaced, allow_private_addresses=True, fetch_attempts=1) as coordinator,
    ):
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{bare}"
        _, hook = await remote_project(coordinator, url)
        refused = await deliver(hook, tree, url)
        assert (refused["status"], "Permission denied" in refused["reason"]) == ("failed", True)
        new_key(tmp_path / "wrong")
        await give(hook, tmp_path / "wrong")
        assert (await deliver(hook, tree, url))["status"] == "failed"
        await give(hook, tmp_path / "sshd" / "user")
        fetched = await deliver(hook, tree, url)
        assert fetched["status"] == "processed", fetched
        assert list((coordinator.data / "fetching").iterdir()) == []

        known = coordinator.data / "known_hosts"
        new_key(tmp_path / "other-host")
        kind, key, *_ = (tmp_path / "other-host.pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
        spoofed = await deliver(hook, tree, url)
        assert spoofed["status"] == "failed"
        assert "Host key verification failed" in spoofed["reason"]
