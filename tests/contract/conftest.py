from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import MemoryStore, ObjectStore

from coordinator.objects.places import open_objects
from coordinator.objects.stores import open_store
from tests.s3_server import S3Server


@pytest.fixture(params=["local", "memory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return open_store(tmp_path / "objects")
    server: S3Server = request.getfixturevalue("s3_server")
    return open_objects(server.place(tmp_path / "credentials", tmp_path.name))
