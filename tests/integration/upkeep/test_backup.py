"""Backups of a coordinator that goes on, and what is made of them elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.backup.errors import BackupDamaged, BackupError, NoBackup, NoRoom, Occupied
from coordinator.backup.folder import BackupFolder
from coordinator.backup.making import Made, make_backup
from coordinator.backup.restoring import restore_backup
from coordinator.domain.generation import first_epoch
from coordinator.place import HalfRestored
from coordinator.services.core import utc_now
from coordinator.services.deletion_pause import deletions_paused
from coordinator.storage.migrate import HEAD
from coordinator.storage.soundness import DatabaseUnusable
from tests.e2e.nursery import run_pushrod_for_text
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    AgentCaller,
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
    step_of,
    try_git,
)
from tests.integration.small_disks import room_in, small_disk

NEWER_SCHEMA = "9999"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1.0) as coordinator:
        yield coordinator


async def back_up(coordinator: Coordinator, folder: Path, *, keep: int = 3) -> Made:
    return await asyncio.to_thread(
        make_backup, coordinator.data, folder, keep=keep, now=utc_now, say=lambda _: None
    )


@asynccontextmanager
async def restored(coordinator: Coordinator, folder: Path) -> AsyncIterator[Coordinator]:
    """On the port of the old one, which is stopped."""
    await coordinator.stop()
    data = folder.parent / "elsewhere"
    await asyncio.to_thread(restore_backup, folder, data, at=None, now=utc_now())
    settings = coordinator.settings
    new = Coordinator(data, settings, coordinator.session, coordinator.port)
    await new.start()
    try:
        yield new
    finally:
        await new.stop()
        await coordinator.start()


async def a_finished_build(
    coordinator: Coordinator, agent: AgentCaller, project: dict[str, Any], name: str
) -> tuple[dict[str, Any], bytes]:
    """With a log and an artifact, whose text is the name's."""
    build = await coordinator.admin.new_build(project, step_of(name))
    spec = await agent.take()
    text = f"this is {name}\n".encode() * 50
    (await agent.append(spec, 0, text)).expect(204)
    (await agent.upload(spec, "out.txt", text)).expect(201)
    digest = hashlib.sha256(text).hexdigest()
    (await agent.complete(spec, logBytes=len(text), logSha256=digest)).expect(200)
    return await coordinator.admin.build(build["id"]), text


async def assert_same(coordinator: Coordinator, build: dict[str, Any], text: bytes) -> None:
    now = await coordinator.admin.build(build["id"])
    assert now == build
    [step] = now["steps"]
    assert (await coordinator.admin.get(f"/api/steps/{step['id']}/log")).expect(200).body == text
    [artifact] = (await coordinator.admin.get(f"/api/steps/{step['id']}/artifacts")).json
    assert artifact["sha256"] == hashlib.sha256(text).hexdigest()
    path = artifact["url"].removeprefix(coordinator.url)
    assert (await coordinator.admin.get(path)).expect(200).body == text


async def test_what_was_there_is_there_after_a_restore_elsewhere(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    done = [await a_finished_build(coordinator, agent, project, f"step{n}") for n in range(3)]
    tree = await new_work_tree(tmp_path, admin, project)
    sha = await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main", "HEAD:refs/heads/tmp_one", "HEAD:refs/heads/fix#12")
    await admin.call(
        "PUT", f"/api/projects/{project['id']}/secrets/KEY", json={"value": "the-secret"}
    )
    made = await back_up(coordinator, tmp_path / "backups")
    assert made.faults == []
    async with restored(coordinator, tmp_path / "backups") as new:
        for build, text in done:
            await assert_same(new, build, text)
        assert len(await new.admin.builds(project)) == 6
        refs = await try_git(new.repository(project), "for-each-ref", "--format=%(refname)")
        assert {"refs/heads/main", "refs/heads/tmp_one", "refs/heads/fix#12"} <= set(
            refs.output.split()
        )
        checked = await try_git(new.repository(project), "fsck", "--full", sha)
        assert checked.exit_code == 0, checked.errors
        listed = (await new.admin.get(f"/api/projects/{project['id']}/secrets")).expect(200)
        assert "KEY" in listed.text
        assert (new.data / "secret-key").read_bytes() == (
            coordinator.data / "secret-key"
        ).read_bytes()
        for private in ("secret-key", "admin-token", "pushrod.db"):
            assert (new.data / private).stat().st_mode & 0o077 == 0, private


async def test_a_backup_is_for_its_owner_alone(coordinator: Coordinator, tmp_path: Path) -> None:
    await back_up(coordinator, tmp_path / "backups")
    for path in (tmp_path / "backups", *(tmp_path / "backups").rglob("*")):
        if path.name != "lock":
            assert path.stat().st_mode & 0o077 == 0, path


async def test_hand_outs_of_before_are_refused_and_their_steps_run_anew(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    again = await admin.new_build(project, step_of("again"))
    running = await agent.take()
    (await agent.append(running, 0, b"half a log\n")).expect(204)
    await back_up(coordinator, tmp_path / "backups")
    later = await admin.new_build(project, step_of("later"))
    unknown = await agent.take(instance="one")
    async with restored(coordinator, tmp_path / "backups") as new:
        # The agent is as it was; it speaks to the new one by the same address and credential.
        told = await agent.complete(running, logBytes=11, logSha256="0" * 64)
        assert told.expect(409).json["stale"]
        assert "restored at" in told.json["error"]
        told = await agent.complete(unknown)
        assert "earlier generation" in told.expect(409).json["error"]
        assert (await agent.renew(running, unknown))["lost"] != []
        step_token = AgentCaller(new, running["token"], agent.agent_id)
        told = await step_token.append(running, 11, b"more\n")
        assert "earlier generation" in told.expect(409).json["error"]
        anew = await agent.take(instance="one")
        assert anew["stepId"] == running["stepId"]
        assert (anew["attempt"], anew["epoch"] > 1_000) == (2, True)
        (await agent.complete(anew, logBytes=0, logSha256=hashlib.sha256().hexdigest())).expect(200)
        build = await new.admin.build(again["id"])
        assert build["state"] == "succeeded"
        log = await new.admin.get(f"/api/steps/{running['stepId']}/log?attempt=1")
        assert log.expect(200).body == b"half a log\n"
        assert (await new.admin.get(f"/api/projects/-/builds/{later['id']}")).status == 404
        entries = (await new.admin.get("/api/audit-logs")).expect(200).text
        assert "installation.restored" in entries


async def test_a_step_that_may_not_run_again_fails_with_the_restore_as_its_cause(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP.replace("run:", "atMostOnce: true, run:")})
    await tree.push()
    running = await agent.take()
    await back_up(coordinator, tmp_path / "backups")
    async with restored(coordinator, tmp_path / "backups") as new:
        [build] = await new.admin.builds(project)
        shown = await new.admin.build(build["id"])
        assert shown["state"] == "failed"
        assert "not known" in shown["steps"][0]["message"]
        told = await agent.complete(running)
        assert "earlier generation" in told.expect(409).json["error"]


async def test_two_restores_of_one_backup_never_give_the_same_epoch(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    await coordinator.admin.new_project()
    await back_up(coordinator, tmp_path / "backups")
    first = utc_now()
    made = [
        await asyncio.to_thread(
            restore_backup, tmp_path / "backups", tmp_path / f"r{n}", at=None, now=when
        )
        for n, when in enumerate((first, first + timedelta(minutes=1)))
    ]
    one, two = (each.generation.first_epoch for each in made)
    assert two >= one + 256
    assert first_epoch(datetime(2020, 1, 1, tzinfo=UTC), highest=one) > one


async def test_a_second_backup_copies_only_what_is_new(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    project, agent = await coordinator.admin.new_project(), await coordinator.admin.new_agent()
    for n in range(3):
        await a_finished_build(coordinator, agent, project, f"step{n}")
    tree = await new_work_tree(tmp_path, coordinator.admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    first = await back_up(coordinator, tmp_path / "backups")
    again = await back_up(coordinator, tmp_path / "backups")
    assert first.new_files > 10
    assert again.new_files <= 1  # the database, where something was written meanwhile
    _, text = await a_finished_build(coordinator, agent, project, "one-more")
    third = await back_up(coordinator, tmp_path / "backups")
    # The database, the artifact, and the log in whichever form.
    assert 2 <= third.new_files <= 5
    assert BackupFolder.at(tmp_path / "backups").has(hashlib.sha256(text).hexdigest(), len(text))


async def test_only_the_newest_backups_are_kept_with_what_they_name(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin, folder = coordinator.admin, tmp_path / "backups"
    project, agent = await admin.new_project(), await admin.new_agent()
    build, text = await a_finished_build(coordinator, agent, project, "gone")
    await back_up(coordinator, folder, keep=1)
    sha256 = hashlib.sha256(text).hexdigest()
    (await admin.call("DELETE", f"/api/projects/-/builds/{build['id']}")).expect(204)
    blob = next((coordinator.data / "objects/blobs").rglob(sha256), None)

    async def is_gone() -> bool:
        return blob is None or not blob.exists()

    await eventually(is_gone)
    await back_up(coordinator, folder, keep=1)
    backups = BackupFolder.at(folder)
    assert len(backups.names()) == 1
    assert not backups.has(sha256, len(text))
    assert backups.damaged(backups.manifest()) == []


async def test_nothing_is_deleted_while_a_backup_is_made(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project, agent = await admin.new_project(), await admin.new_agent()
    builds = [
        await a_finished_build(coordinator, agent, project, name) for name in ("first", "second")
    ]
    paths = [
        next((coordinator.data / "objects/blobs").rglob(hashlib.sha256(text).hexdigest()))
        for _, text in builds
    ]
    with deletions_paused(coordinator.data, waits=lambda: None):
        (await admin.call("DELETE", f"/api/projects/-/builds/{builds[0][0]['id']}")).expect(204)
        # What comes after it in the same task's turn has been looked at by then.
        for _ in range(20):
            (await admin.get("/api/agents")).expect(200)
        assert paths[0].exists()
    (await admin.call("DELETE", f"/api/projects/-/builds/{builds[1][0]['id']}")).expect(204)

    async def are_gone() -> bool:
        return not any(path.exists() for path in paths)

    await eventually(are_gone)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")}
    return run_pushrod_for_text([*map(str, arguments)], environment)


async def test_a_killed_backup_pauses_nothing_and_the_next_goes_on(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin, folder = coordinator.admin, tmp_path / "backups"
    project, agent = await admin.new_project(), await admin.new_agent()
    build = await admin.new_build(project)
    spec = await agent.take()
    for n in range(400):
        (await agent.upload(spec, f"{n}.txt", f"{n}".encode())).expect(201)
    (await agent.complete(spec)).expect(200)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pushrod", "backup", str(folder), "--data", str(coordinator.data)
    )

    async def is_midway() -> bool:
        with suppress(FileNotFoundError):
            return (folder / "unfinished").stat().st_size > 0
        return False

    await eventually(is_midway)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    before = sum(1 for path in (folder / "files").rglob("*") if path.is_file())
    assert BackupFolder.at(folder).names() == []
    assert "no backup" in (await asyncio.to_thread(command, "restore", folder)).stderr
    done = await asyncio.to_thread(command, "backup", folder, "--data", coordinator.data, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 0 < told["newFiles"] < told["files"]
    assert told["newFiles"] + before >= 400
    async with restored(coordinator, folder) as new:
        assert (await new.admin.build(build["id"]))["state"] == "succeeded"


async def test_what_the_database_names_and_is_not_there_is_told_and_the_rest_is_copied(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    project, agent = await coordinator.admin.new_project(), await coordinator.admin.new_agent()
    texts = [(await a_finished_build(coordinator, agent, project, name))[1] for name in "abc"]
    digests = [hashlib.sha256(text).hexdigest() for text in texts]
    blobs = [next((coordinator.data / "objects/blobs").rglob(one)) for one in digests]
    blobs[0].unlink()
    blobs[1].write_bytes(b"x" * len(texts[1]))
    done = await asyncio.to_thread(
        command, "backup", tmp_path / "backups", "--data", coordinator.data
    )
    assert done.returncode == 1
    assert f"{digests[0]} is missing" in done.stderr
    assert f"{digests[1]} is damaged" in done.stderr
    assert BackupFolder.at(tmp_path / "backups").has(digests[2], len(texts[2]))


async def test_a_damaged_backup_is_found_and_not_restored(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    project, agent = await coordinator.admin.new_project(), await coordinator.admin.new_agent()
    _, text = await a_finished_build(coordinator, agent, project, "one")
    folder = tmp_path / "backups"
    await back_up(coordinator, folder)
    assert (await asyncio.to_thread(command, "backup", folder, "--check")).returncode == 0
    content = BackupFolder.at(folder).content_path(hashlib.sha256(text).hexdigest())
    content.write_bytes(b"x" * len(text))
    checked = await asyncio.to_thread(command, "backup", folder, "--check")
    assert checked.returncode == 1
    assert "damaged" in checked.stderr
    with pytest.raises(BackupDamaged, match="is damaged or missing"):
        restore_backup(folder, tmp_path / "elsewhere", at=None, now=utc_now())
    # What stands there is no installation, and no coordinator takes it for one.
    half = Coordinator(tmp_path / "elsewhere", {}, coordinator.session, 0)
    with pytest.raises(HalfRestored, match="not finished"):
        await half.start()
    content.write_bytes(text)
    restore_backup(folder, tmp_path / "elsewhere", at=None, now=utc_now())


async def test_each_wrong_folder_is_refused_with_what_to_name_instead(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    folder, data = tmp_path / "backups", coordinator.data
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("mine")
    with pytest.raises(Occupied, match="has other files"):
        await back_up(coordinator, other)
    with pytest.raises(Occupied, match="lie in each other"):
        await back_up(coordinator, data / "backups")
    with pytest.raises(NoBackup, match="no folder of backups"):
        restore_backup(other, tmp_path / "new", at=None, now=utc_now())
    with pytest.raises(NoBackup, match="there is no folder"):
        restore_backup(tmp_path / "nowhere", tmp_path / "new", at=None, now=utc_now())
    with pytest.raises(BackupError, match="there is no database"):
        make_backup(other, folder, keep=1, now=utc_now, say=lambda _: None)
    made = await back_up(coordinator, folder)
    with pytest.raises(NoBackup, match=made.manifest.head.id):
        restore_backup(folder, tmp_path / "new", at="20000101", now=utc_now())
    with pytest.raises(Occupied, match="overwrites nothing"):
        restore_backup(folder, other, at=None, now=utc_now())
    with pytest.raises(Occupied, match="overwrites nothing"):
        restore_backup(folder, data, at=None, now=utc_now())
    with BackupFolder.at(folder).alone(), pytest.raises(Occupied, match="another backup"):
        await back_up(coordinator, folder)
    (folder / "pushrod-backups").write_text('{"format": 2}')
    with pytest.raises(BackupError, match="newer pushrod"):
        restore_backup(folder, tmp_path / "new", at=None, now=utc_now())


async def test_a_backup_of_a_newer_schema_is_not_restored(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    await coordinator.stop()
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (NEWER_SCHEMA,))
    with pytest.raises(DatabaseUnusable, match="newer pushrod"):
        await back_up(coordinator, tmp_path / "backups")
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (HEAD,))
    await back_up(coordinator, tmp_path / "backups")
    backups = BackupFolder.at(tmp_path / "backups")
    manifest = backups.manifest()
    [entry] = [entry for entry in manifest.entries if entry.path == "pushrod.db"]
    newer = tmp_path / "newer.db"
    shutil.copyfile(backups.content_path(entry.sha256), newer)
    with closing(sqlite3.connect(newer)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (NEWER_SCHEMA,))
    with newer.open("rb") as file:
        size, sha256 = backups.take(file)
    entries = [one for one in manifest.entries if one.path != "pushrod.db"]
    changed = type(entry)(path="pushrod.db", size=size, sha256=sha256, mode=0o600)
    type(manifest)(head=manifest.head, entries=[*entries, changed]).save(
        tmp_path / "backups/backups" / f"{manifest.head.id}.jsonl"
    )
    with pytest.raises(DatabaseUnusable, match="newer pushrod"):
        restore_backup(tmp_path / "backups", tmp_path / "new", at=None, now=utc_now())
    await coordinator.start()


async def test_a_full_disk_is_told_and_the_next_run_goes_on(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    project, agent = await coordinator.admin.new_project(), await coordinator.admin.new_agent()
    build, text = await a_finished_build(coordinator, agent, project, "one")
    small = tmp_path / "small"
    with small_disk(small, mib=6):
        filler = small / "filler"
        (small / "backups").mkdir()
        (small / "new").mkdir()
        filler.write_bytes(b"x" * (6 * 1024 * 1024 - 200_000))
        with pytest.raises(NoRoom, match="only what is missing"):
            await back_up(coordinator, small / "backups")
        filler.unlink()
        assert (await back_up(coordinator, small / "backups")).faults == []
        filler.write_bytes(b"x" * (room_in(small) - 200_000))
        with pytest.raises(NoRoom, match="goes on where it stopped"):
            restore_backup(small / "backups", small / "new", at=None, now=utc_now())
        filler.unlink()
        restore_backup(small / "backups", small / "new", at=None, now=utc_now())
        shutil.copytree(small / "new", tmp_path / "new")
    await coordinator.stop()
    new = Coordinator(tmp_path / "new", {}, coordinator.session, coordinator.port)
    await new.start()
    await assert_same(new, build, text)
    await new.stop()
    await coordinator.start()


async def test_objects_in_another_folder_are_copied_and_put_where_the_setting_says(
    tmp_path: Path,
) -> None:
    there, new, backups = tmp_path / "objects disk", tmp_path / "new disk", tmp_path / "backups"
    async with open_coordinator(tmp_path, objects=str(there)) as coordinator:
        agent, project = await coordinator.admin.new_agent(), await coordinator.admin.new_project()
        build, text = await a_finished_build(coordinator, agent, project, "one")
        options: dict[str, Any] = {"keep": 1, "now": utc_now, "say": lambda _: None}
        made = await asyncio.to_thread(
            make_backup, coordinator.data, backups, objects=there, **options
        )
        assert not made.faults
        of_bucket = tmp_path / "of bucket"
        without = await asyncio.to_thread(
            make_backup, coordinator.data, of_bucket, objects="s3://bucket", **options
        )
        assert not without.faults
        assert not [one for one in without.manifest.entries if one.path.startswith("objects/")]

        await coordinator.stop()
        data = tmp_path / "elsewhere"
        with pytest.raises(Occupied, match="names a bucket"):
            restore_backup(backups, data, objects="s3://bucket", at=None, now=utc_now())
        await asyncio.to_thread(restore_backup, backups, data, objects=new, at=None, now=utc_now())
        settings = {**coordinator.settings, "objects": str(new)}
        other = Coordinator(data, settings, coordinator.session, coordinator.port)
        await other.start()
        try:
            [step] = (await other.admin.build(build["id"]))["steps"]
            assert (await other.admin.get(f"/api/steps/{step['id']}/log")).text == text.decode()
        finally:
            await other.stop()
            await coordinator.start()
