"""Two coordinators in this process, over one database and one store: one leads."""

from __future__ import annotations

import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coordinator import several
from coordinator.peers.log_taking import LogTaking
from coordinator.services.keys import KEY_FILE
from coordinator.storage.postgresql import PostgresPlace
from pipelines_schema.log_frames import FOR_LOGS_ALONE
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
    step_of,
)
from tests.ports import free_port
from tests.s3_server import S3Server

KEPT = {"Connection": f"keep-alive, {FOR_LOGS_ALONE}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Two:
    leader: Coordinator
    other: Coordinator
    taking: LogTaking
    """The other one's."""
    taken: list[str]
    """Paths of the requests that the other one answered by itself."""
    agent: AgentCaller
    spec: dict[str, Any]
    """Of a step that runs."""

    async def append(self, at: Coordinator, offset: int, text: bytes, **changed: Any) -> Answer:
        """By the attempt's own token, as an agent does it."""
        wanted = {"step": self.spec["stepId"], "epoch": self.spec["epoch"], **changed}
        token = wanted.get("token", self.spec["token"])
        return await Caller(at, token).call(
            wanted.get("method", "PATCH"),
            f"/api/runner/{wanted['step']}/log?epoch={wanted['epoch']}",
            data=io.BytesIO(text),
            headers={"Upload-Offset": str(offset), "Content-Type": "text/plain", **KEPT},
        )


@asynccontextmanager
async def two_coordinators(
    database: PostgresPlace,
    s3: S3Server,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    **settings: Any,
) -> AsyncIterator[Two]:
    """With a step that an agent of the leader's has begun."""
    place = s3.place(folder / "credentials", folder.name)
    shared: dict[str, Any] = {
        "database": database.url,
        "objects": place.location,
        "objects_endpoint": place.endpoint,
        "objects_region": place.region,
        "objects_credentials_file": place.credentials_file,
        "public_url": "http://ci.example.org",
        "max_log_bytes": 1_000_000,
        **settings,
    }
    all_taking: list[Counted] = []

    class Counted(LogTaking):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.taken: list[str] = []
            all_taking.append(self)

        async def _stored(self, request: Any, body: bytes) -> Any:
            answer = await super()._stored(request, body)
            if answer is not None:
                self.taken.append(request.path)
            return answer

    monkeypatch.setattr(several, "LogTaking", Counted)
    peers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    (folder / "a").mkdir()
    async with open_coordinator(folder / "a", **shared, peer_listen=peers[0]) as leader:
        (folder / "b" / "data").mkdir(parents=True, mode=0o700)
        for name in (KEY_FILE, "admin-token"):
            shutil.copy(leader.data / name, folder / "b" / "data" / name)
        async with open_coordinator(folder / "b", **shared, peer_listen=peers[1]) as other:
            taking = all_taking[1]
            await eventually(_is_open(taking))
            project = await leader.admin.new_project()
            await leader.admin.new_build(project, step_of("talk"))
            agent = await leader.admin.new_agent()
            yield Two(
                leader=leader,
                other=other,
                taking=taking,
                taken=taking.taken,
                agent=agent,
                spec=await agent.take(),
            )


def _is_open(taking: LogTaking) -> Any:
    async def look() -> bool:
        return taking.is_open

    return look
