"""`pushrod hook install`: real pushes into a bare repository, over a real hook."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pushrod.commands.hook import hmac_blocks
from pushrod.commands.hook import hook as hook_command
from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    ONE_STEP,
    Coordinator,
    WorkTree,
    eventually,
    open_coordinator,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    remote_project,
    signature,
)
from tests.quiet_time import quiet_seconds


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, allow_file_repositories=True) as coordinator:
        yield coordinator


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    async with open_forge(tmp_path) as forge:
        repository = await new_bare(forge, tmp_path)
        yield repository


async def new_bare(forge: Forge, folder: Path) -> Repository:
    """A plain bare repository, whose hooks run."""
    path = folder / "a repository.git"
    tree = WorkTree(folder / "tree", GIT_ENVIRONMENT)
    tree.folder.mkdir()
    await tree.git("init", "-q", "-b", "main")
    await tree.git("init", "-q", "--bare", str(path))
    await tree.git("remote", "add", "origin", str(path))
    return Repository(forge, f"file://{str(path).replace(' ', '%20')}", path, tree)


@pytest.fixture
async def hook(coordinator: Coordinator, repository: Repository, tmp_path: Path) -> Hook:
    _, hook = await remote_project(coordinator, repository.url)
    await asyncio.to_thread(install, hook, repository, tmp_path)
    return hook


def install(hook: Hook, repository: Repository, folder: Path, *options: str) -> str:
    """What the command said."""
    result = try_to_install(hook, repository, folder, *options)
    assert result.exit_code == 0, result.output
    return result.output


def try_to_install(hook: Hook, repository: Repository, folder: Path, *options: str) -> Result:
    secret = folder / "secret"
    secret.write_text(hook.project["webhookSecret"] + "\n")
    arguments = ["install", str(repository.path), "--url", hook.coordinator.url, *options]
    arguments += ["--project", hook.project["id"], "--secret-file", str(secret)]
    return CliRunner().invoke(hook_command, arguments)


async def built(hook: Hook, count: int) -> list[dict[str, Any]]:
    """The builds once there are as many: the hook itself doesn't wait long for them."""

    async def all_there() -> list[dict[str, Any]]:
        builds = await hook.coordinator.admin.builds(hook.project)
        return builds if len(builds) >= count else []

    builds: list[dict[str, Any]] = await eventually(all_there)
    assert len(builds) == count
    return builds


def let_it_wait(repository: Repository) -> None:
    """What the hook is told in time must not hang on how busy this machine is."""
    script = repository.path / "hooks" / "post-receive"
    text = script.read_text()
    assert "?wait=2" in text
    assert "--max-time 4" in text
    script.write_text(text.replace("?wait=2", "?wait=8").replace("--max-time 4", "--max-time 30"))


def with_secret(hook: Hook, secret: str) -> Hook:
    return Hook(hook.coordinator, {**hook.project, "webhookSecret": secret})


async def test_a_push_is_built_and_the_pusher_told_the_url(
    repository: Repository, hook: Hook
) -> None:
    let_it_wait(repository)
    sha = await repository.tree.commit({".pushrod.yml": ONE_STEP})
    pushed = await repository.tree.push("main", "main:side")
    builds = await built(hook, 2)
    assert {(b["branch"], b["commitHash"]) for b in builds} == {("main", sha), ("side", sha)}
    for build in builds:
        assert f"remote: pushrod: build #{build['number']}: {build['url']}" in pushed.errors
    assert list((repository.path / "pushrod" / "spool").iterdir()) == []


async def test_deleted_and_oddly_named_branches_and_force_pushes_pass(
    repository: Repository, hook: Hook
) -> None:
    await repository.tree.commit({".pushrod.yml": ONE_STEP})
    name = "it's-\"größe\"-$(id)&'"
    await repository.tree.push(f"main:refs/heads/{name}")
    [build] = await built(hook, 1)
    assert build["branch"] == name
    await repository.tree.git("commit", "-q", "--amend", "-m", "anew")
    await repository.tree.push("-f", f"main:refs/heads/{name}")
    await repository.tree.push(f":refs/heads/{name}")
    await built(hook, 2)

    async def deletion_ignored() -> bool:
        newest = (await hook.deliveries())[0]
        return newest["status"] == "ignored" and "deleted" in newest["reason"]

    await eventually(deletion_ignored)


async def test_a_push_while_the_coordinator_is_away_is_told_with_the_next_one(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    first = await repository.tree.commit({".pushrod.yml": ONE_STEP}, "first")
    await coordinator.stop()
    began = quiet_seconds()
    pushed = await repository.tree.push()
    assert quiet_seconds() - began < 8
    assert "kept and sent with the next one" in pushed.errors
    await coordinator.start()
    second = await repository.tree.commit({"x": "y"}, "second")
    await repository.tree.push()

    async def both() -> bool:
        builds = await hook.coordinator.admin.builds(hook.project)
        return [build["commitHash"] for build in builds] == [second, first]

    await eventually(both)


async def test_more_refs_than_one_event_may_have_go_in_several(
    repository: Repository, hook: Hook
) -> None:
    await repository.tree.commit({".pushrod.yml": ONE_STEP})
    await repository.tree.push(*(f"main:refs/heads/b{number}" for number in range(130)))
    pushed = 130
    # No push is held for long: on a slow machine the last event goes with the next push.
    while any((repository.path / "pushrod" / "spool").iterdir()):
        await repository.tree.push(f"main:refs/heads/b{pushed}")
        pushed += 1

    async def all_built() -> bool:
        path = f"/api/projects/{hook.project['id']}/builds?limit=1"
        answer = await hook.coordinator.admin.get(path)
        return bool(answer.json["pagination"]["total"] == pushed)

    await eventually(all_built, seconds=180)


async def test_a_push_under_a_wrong_secret_is_told_once_the_right_one_is_installed(
    repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    wrong = with_secret(hook, "guess")
    said = await asyncio.to_thread(install, wrong, repository, tmp_path, "--force")
    assert "answers a ping with 401" in said
    first = await repository.tree.commit({".pushrod.yml": ONE_STEP}, "first")
    pushed = await repository.tree.push()
    assert "answers with 401: this push is kept and sent with the next one" in pushed.errors
    assert "not of this project's webhook secret" in pushed.errors
    assert await hook.coordinator.admin.builds(hook.project) == []
    await asyncio.to_thread(install, hook, repository, tmp_path)
    second = await repository.tree.commit({"x": "y"}, "second")
    await repository.tree.push()

    async def both() -> bool:
        builds = await hook.coordinator.admin.builds(hook.project)
        return [build["commitHash"] for build in builds] == [second, first]

    await eventually(both)
    assert list((repository.path / "pushrod" / "spool").iterdir()) == []


async def test_an_event_that_can_never_be_taken_is_put_aside_and_the_later_ones_pass(
    repository: Repository, hook: Hook
) -> None:
    (repository.path / "pushrod" / "spool" / "1-broken.json").write_text("{")
    await repository.tree.commit({".pushrod.yml": ONE_STEP})
    pushed = await repository.tree.push()
    refused = repository.path / "pushrod" / "refused"
    assert f"refused this with 400; it is kept in {refused}" in pushed.errors
    assert [file.name for file in refused.iterdir()] == ["1-broken.json"]
    await built(hook, 1)


@pytest.mark.parametrize("wrong", ["secret", "project"])
async def test_what_the_coordinator_does_not_take_is_told_before_anything_is_installed(
    coordinator: Coordinator, repository: Repository, tmp_path: Path, wrong: str
) -> None:
    _, right = await remote_project(coordinator, repository.url)
    if wrong == "secret":
        hook = with_secret(right, "guess")
    else:
        nobodys = "00000000-0000-4000-8000-000000000000"
        hook = Hook(coordinator, {**right.project, "id": nobodys})
    result = await asyncio.to_thread(try_to_install, hook, repository, tmp_path)
    assert (result.exit_code, "answers a ping with 401" in result.output) == (1, True)
    assert "the signature is missing or not of this project's webhook secret" in result.output
    assert not (repository.path / "pushrod").exists()
    assert not (repository.path / "hooks" / "post-receive").exists()


async def test_a_ping_tells_at_the_installation_that_the_secret_is_right(
    repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    said = await asyncio.to_thread(install, hook, repository, tmp_path)
    assert "the coordinator takes the secret" in said
    newest = (await hook.deliveries())[0]
    assert (newest["status"], newest["reason"]) == ("ignored", "a ping: the webhook works")


async def test_the_hook_is_installed_with_a_warning_while_the_coordinator_is_away(
    coordinator: Coordinator, repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    await coordinator.stop()
    said = await asyncio.to_thread(install, hook, repository, tmp_path)
    assert "warning: the coordinator can't be reached" in said
    await coordinator.start()
    await repository.tree.commit({".pushrod.yml": ONE_STEP})
    await repository.tree.push()
    await built(hook, 1)


async def test_the_key_is_its_owners_alone_and_not_in_the_script(
    repository: Repository, hook: Hook
) -> None:
    home = repository.path / "pushrod"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [home, *home.iterdir()]}
    assert modes == {
        "pushrod": 0o700,
        "spool": 0o700,
        "inner.key": 0o600,
        "outer.key": 0o600,
        "url": 0o600,
    }
    script = (repository.path / "hooks" / "post-receive").read_text()
    assert hook.project["webhookSecret"] not in script


async def test_another_hook_is_not_overwritten(
    repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    script = repository.path / "hooks" / "post-receive"
    script.write_text("#!/bin/sh\necho mine\n")
    arguments = ["install", str(repository.path), "--url", hook.coordinator.url]
    arguments += ["--project", hook.project["id"], "--secret-file", str(tmp_path / "secret")]
    result = await asyncio.to_thread(CliRunner().invoke, hook_command, arguments)
    assert (result.exit_code, "another hook" in result.output) == (1, True)
    assert script.read_text() == "#!/bin/sh\necho mine\n"


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_the_two_key_blocks_make_an_hmac(length: int) -> None:
    inner, outer = hmac_blocks(b"k" * length)
    digest = hashlib.sha256(outer + hashlib.sha256(inner + b"body").digest()).hexdigest()
    assert f"sha256={digest}" == signature("k" * length, b"body")
