"""How many messages of a session a step's source takes, however many files it has."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.engines.buildkit.client import Client
from agent.source_trees import GitFolder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Bench

pytestmark = pytest.mark.engine

FILES = 1_000
MOST = 40
"""For a source that the engine has, with a repository: 13 are usual, and with a message for each
file, as gRPC's own library sends them, it was 560."""


class Counted:
    """The engine's session, whose messages from us are counted."""

    sent = 0

    def __init__(self, session: Any) -> None:
        self._session = session

    async def write(self, message: Any) -> None:
        Counted.sent += 1
        await self._session.write(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Repository:
    """A protocol.GitTree."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = GitFolder(folder), f"{folder}-git"
        self.folder.packs.mkdir(parents=True)
        self.folder.dot.mkdir(parents=True)
        (self.folder.dot / "HEAD").write_text("ref: refs/heads/main\n")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[GitFolder]:
        yield self.folder


@pytest.fixture
def session_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Client.session
    monkeypatch.setattr(Client, "session", lambda *given: Counted(begin(*given)))
    monkeypatch.setattr(Counted, "sent", 0)


@pytest.mark.usefixtures("session_counted")
async def test_a_source_of_many_files_takes_few_messages(one_bench: Bench, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(FILES):
        file = tree / f"folder-{number % 20}" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    source = one_bench.source(folder=tree, key=str(tree), git=Repository(tmp_path / "git"))
    script = "find . -path ./.git -prune -o -type f -print | wc -l; cat .git/HEAD"

    for _ in range(2):  # the engine asks for the files, then it has them
        Counted.sent = 0
        ran = await one_bench.run(script, source=source)
        assert ran.log.stdout == f"{FILES}\nref: refs/heads/main\n".encode()

    assert Counted.sent <= MOST
