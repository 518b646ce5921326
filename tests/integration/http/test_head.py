"""HEAD: what GET would say, and not a byte of a body, which would be taken for the next answer."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

from tests.integration.coordinator_fixture import (
    Caller,
    new_work_tree,
    open_coordinator,
    step_of,
)

BODY = b"x" * 100_000


async def headed(caller: Caller, path: str, authorization: str) -> bytes:
    head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await caller.coordinator.exchange(
        f"{head}Authorization: {authorization}\r\n\r\n".encode()
    )
    assert b" 200 " in answer.splitlines()[0], answer[:300]
    return answer


async def test_a_head_has_no_body(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        agent = await admin.new_agent()
        build = await admin.new_build(project, step_of("a"))
        spec = await agent.take()
        (await agent.upload(spec, "out", BODY)).expect(201)
        (await agent.complete(spec)).expect(200)
        tree = await new_work_tree(tmp_path, admin, project)
        await tree.commit({"file": "x"})
        await tree.push()
        git = project["pushUrl"].removeprefix(coordinator.url)
        oid = hashlib.sha256(BODY).hexdigest()
        basic = f"Basic {base64.b64encode(f'x:{admin.token}'.encode()).decode()}"
        lfs = f"{git}/info/lfs/objects/{oid}"
        stored = await admin.call(
            "PUT", lfs, data=io.BytesIO(BODY), headers={"Authorization": basic}
        )
        stored.expect(200)
        bearer = f"Bearer {admin.token}"
        for path, authorization, length in (
            (f"/api/steps/{build['steps'][0]['id']}/artifacts/out", bearer, len(BODY)),
            (lfs, basic, len(BODY)),
            (f"{git}/info/refs?service=git-upload-pack", basic, None),
        ):
            answer = await headed(admin, path, authorization)
            assert answer.endswith(b"\r\n\r\n"), (path, answer[-300:])
            assert answer.count(b"\r\n\r\n") == 1, path
            assert length is None or f"Content-Length: {length}\r\n".encode() in answer
