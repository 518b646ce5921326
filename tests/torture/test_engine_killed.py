"""kill -9 of the engine's daemon under a step: the step is run again, on a mended engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engines import private
from agent.engines.private.record import read_record
from tests.e2e.processes import Repository, is_running, running

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="the private engine needs root"),
]


@pytest.fixture
def own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An engine of this test's own, found by the agent through the environment; its image."""
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))
    monkeypatch.setenv("PUSHROD_ENGINE_PACKAGES", str(private.engine_places().packages))
    monkeypatch.setenv("PUSHROD_ENGINE_DIR", str(folder))

    async def prepare() -> str:
        address = await private.up(reuse=False)
        return await private.ensure_test_image(print, address=address)

    try:
        yield asyncio.run(prepare())
    finally:
        asyncio.run(private.down())
        shutil.rmtree(folder, ignore_errors=True)


def kill_daemon() -> None:
    record = read_record(private.engine_places().record)
    assert record is not None
    assert record.daemon is not None
    os.kill(record.daemon.pid, signal.SIGKILL)


def test_a_step_survives_the_death_of_its_engine(own_engine: str, tmp_path: Path) -> None:
    with running(tmp_path / "pushrod", "auto") as pushrod:
        project = pushrod.create_project("app")
        repository = Repository.create(tmp_path / "repository")
        build = pushrod.push_workflow(
            repository,
            project,
            f"steps: [{{name: a, image: '{own_engine}', run: 'echo up; sleep 4; echo done'}}]",
        )
        build = pushrod.api.wait(build["id"], is_running("a"))
        pushrod.api.wait_for_log(build["steps"][0]["id"], b"up\n")
        kill_daemon()
        build = pushrod.api.wait_finished(build["id"])
        (step,) = build["steps"]
        assert (build["state"], step["attempt"]) == ("succeeded", 2), build
        assert pushrod.api.log(step["id"]) == b"up\ndone\n"
