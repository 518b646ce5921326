"""Git LFS: the batch API, uploads, and the locks that there are not."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    open_coordinator,
    try_git,
)
from tests.integration.pushes.lfs_files import BIG, LOCAL, SUM, app_with_lfs

pytestmark = pytest.mark.skipif(not shutil.which("git-lfs"), reason="apt-get install git-lfs")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


async def batch(caller: Caller, project: dict[str, Any], body: object) -> Answer:
    return await caller.call(
        "POST",
        f"/git/default/{project['slug']}.git/info/lfs/objects/batch",
        data=io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()),
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


async def test_an_upload_is_kept_only_if_it_is_what_it_says(admin: Caller) -> None:
    project = await admin.new_project(name="app")
    url = f"/git/default/app.git/info/lfs/objects/{SUM}"
    wrong = await admin.call("PUT", url, data=io.BytesIO(BIG[1:]))
    assert wrong.expect(422).headers["Content-Type"].startswith("application/vnd.git-lfs+json")
    assert SUM in wrong.json["message"]
    (await admin.get(url)).expect(404)
    (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(200)
    assert (await admin.get(url)).expect(200).body == BIG
    item = {"oid": SUM, "size": len(BIG)}
    again = await batch(admin, project, {"operation": "upload", "objects": [item]})
    assert again.expect(200).json["objects"] == [item]


@pytest.mark.parametrize("operation", ["upload", "download"])
async def test_a_batch_that_names_another_size_is_told_the_objects(
    admin: Caller, operation: str
) -> None:
    project = await admin.new_project(name="app")
    url = f"/git/default/app.git/info/lfs/objects/{SUM}"
    (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(200)
    item = {"oid": SUM, "size": len(BIG) + 1}
    answer = await batch(admin, project, {"operation": operation, "objects": [item]})
    [told] = answer.expect(200).json["objects"]
    assert told["error"]["code"] == 422
    assert f"says {len(BIG) + 1} bytes, the object has {len(BIG)}" in told["error"]["message"]


async def test_a_digest_alone_opens_nothing_of_another_project(admin: Caller) -> None:
    await admin.new_project(name="app")
    other = await admin.new_project(name="other")
    path = f"/info/lfs/objects/{SUM}"
    (await admin.call("PUT", f"/git/default/app.git{path}", data=io.BytesIO(BIG))).expect(200)
    (await admin.get(f"/git/default/other.git{path}")).expect(404)
    item = {"oid": SUM, "size": len(BIG)}
    wanted = await batch(admin, other, {"operation": "download", "objects": [item]})
    assert wanted.expect(200).json["objects"][0]["error"]["code"] == 404
    offered = await batch(admin, other, {"operation": "upload", "objects": [item]})
    assert "upload" in offered.expect(200).json["objects"][0]["actions"]


async def test_an_object_over_the_limit_is_refused_before_and_while_it_is_sent(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path, max_lfs_bytes=1000) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project(name="app")
        item = {"oid": SUM, "size": len(BIG)}
        answer = await batch(admin, project, {"operation": "upload", "objects": [item]})
        assert "max_lfs_bytes" in answer.json["objects"][0]["error"]["message"]
        url = f"/git/default/app.git/info/lfs/objects/{SUM}"
        (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(413)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {"operation": "delete", "objects": []},
        {"operation": "download"},
        {"operation": "download", "objects": [{"oid": "../x", "size": 1}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": -1}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": 1 << 63}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": 1}] * 1001},
        {"operation": "download", "objects": [], "hash_algo": "md5"},
        {"operation": "download", "objects": [], "transfers": ["ssh"]},
    ],
)
async def test_a_batch_that_is_none_is_refused_in_words(admin: Caller, body: object) -> None:
    project = await admin.new_project(name="app")
    answer = await batch(admin, project, body)
    assert answer.status == 422, answer.text
    assert answer.json["message"]


async def test_locks_are_declined_so_that_git_lfs_goes_on(admin: Caller) -> None:
    await admin.new_project(name="app")
    answer = await admin.post("/git/default/app.git/info/lfs/locks/verify")
    assert answer.status == 501


@pytest.mark.parametrize("command", [("locks",), ("lock", "big.bin")])
async def test_a_person_who_locks_a_file_is_told_that_there_are_no_locks(
    admin: Caller, tmp_path: Path, command: tuple[str, ...]
) -> None:
    _, tree = await app_with_lfs(admin, tmp_path)
    told = await try_git(tree.folder, "lfs", *command, environment=tree.environment)
    assert "files can't be locked here" in told.errors
