"""Projects that share a machine's host engine run as users of their own."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from agent.engines.protocol import CacheMount, StepRequest
from pipelines_schema.log_frames import Stream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

CACHES = [CacheMount(id="cache-1", path="~/x")]


@dataclass(slots=True)
class Output:
    text: str = ""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, stream: Stream, data: bytes) -> None:
        self.text += data.decode()
        self.came.set()


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pushrod-users-"))
    made.chmod(0o711)
    yield made
    remove_tree(made)


def engine(root: Path, ids: range = range(60578, 60582)) -> HostEngine:
    return HostEngine(
        data_dir=root,
        work_dir=root / "work",
        user_ids=ids,
        user_id_table=root / "users" / "user-ids.json",
    )


def request(root: Path, isolation: str, script: str, **more: object) -> StepRequest:
    values = {
        "attempt_id": isolation.replace("/", "-"),
        "isolation": isolation,
        "step_name": "s",
        "image": None,
        "script": script,
        "env": {},
        "timeout_seconds": 30.0,
        "outputs": Path(tempfile.mkdtemp(dir=root)),
        "scratch": root,
        **more,
    }
    return StepRequest(**values)  # type: ignore[arg-type]


@asynccontextmanager
async def running(host: HostEngine, root: Path, isolation: str) -> AsyncIterator[str]:
    """A step that runs meanwhile, with a secret and a cache; gives its shell's process id."""
    os.mkfifo(root / "gate")
    (root / "gate").chmod(0o666)
    output = Output()
    script = f"umask 0; echo precious > ~/x/file; echo $$; cat {root}/gate"
    wanted = request(root, isolation, script, secrets={"KEY": "s3cret"}, cache_mounts=CACHES)
    step = asyncio.create_task(host.run(wanted, output))
    await asyncio.wait_for(output.came.wait(), 60)
    try:
        yield output.text.strip()
    finally:
        os.close(os.open(root / "gate", os.O_WRONLY))
        assert (await step).exit_code == 0


@pytest.mark.parametrize("other", ["project-2", "project-1/fork"])
async def test_a_step_reaches_nothing_of_another_projects_step(root: Path, other: str) -> None:
    host = engine(root)
    async with running(host, root, "project-1") as pid:
        work, output = root / "work", Output()
        script = f"""
        id -u
        cat /proc/{pid}/environ && echo REACHED
        kill -0 {pid} && echo REACHED
        ls {work}/attempts/project-1 && echo REACHED
        cat {work}/attempts/project-1/secrets/KEY && echo REACHED
        cat {work}/caches/cache-1/file && echo REACHED
        ls {root}/users && echo REACHED
        true
        """
        result = await host.run(request(root, other, script), output)
    assert result.exit_code == 0
    assert "60579" in output.text
    assert "REACHED" not in output.text
    assert "s3cret" not in output.text


async def test_a_step_waits_for_a_free_user_and_says_so(root: Path) -> None:
    host, output = engine(root, range(60578, 60579)), Output()
    async with running(host, root, "project-1"):
        waiting = asyncio.create_task(host.run(request(root, "project-2", "id -u"), output))
        await asyncio.wait_for(output.came.wait(), 60)
        assert output.text.startswith("waits for a free user id: all 1 ids, 60578 to 60578")
    result = await asyncio.wait_for(waiting, 60)
    assert (result.exit_code, output.text.splitlines()[1:]) == (0, ["60578"])
    # The id changed hands only without the files that it had.
    assert not (root / "work/caches/cache-1").exists()


async def test_a_cache_of_another_user_is_begun_anew_and_gives_no_file_away(root: Path) -> None:
    cache = root / "work/caches/cache-1"
    cache.mkdir(parents=True)
    (root / "of-root").write_text("of root")
    (root / "of-root").chmod(0o600)
    os.link(root / "of-root", cache / "hard")
    os.chown(cache, 60600, 60600)  # the one user of all projects, before they had their own
    output = Output()
    await engine(root).run(
        request(root, "project-1", "ls -A ~/x/; echo 1 > ~/x/new", cache_mounts=CACHES), output
    )
    assert output.text == ""
    assert ((root / "of-root").stat().st_uid, (root / "of-root").read_text()) == (0, "of root")
    assert (cache.stat().st_uid, stat.S_IMODE(cache.stat().st_mode)) == (60578, 0o700)


async def test_a_tree_deeper_than_a_path_may_be_long_goes_with_its_attempt(root: Path) -> None:
    script = """
    name=$(printf 'd%.0s' {1..200})
    for _ in {1..40}; do mkdir $name; cd $name; done; chmod 0 .
    """
    result = await engine(root).run(request(root, "project-1", script), Output())
    assert result.exit_code == 0
    assert list((root / "work/attempts").iterdir()) == []
