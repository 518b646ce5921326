"""What a step's workspace is made of, sent to the engine when it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agent.engines.buildkit import llb
from agent.engines.buildkit.failures import StepNotRunError
from agent.engines.buildkit.filesync import TreeSender, UnsendableTreeError
from agent.engines.buildkit.session import asked_folder
from agent.engines.buildkit.session_calls import Call
from agent.engines.buildkit.step_graph import NAMES_FOLDER, SOURCE_FOLDER
from agent.engines.protocol import GitTree, StepRequest

SOURCE_NAME = "source"
GIT_NAME = "git"


class StepSources:
    """Two trees, each of which the engine keeps, so that it asks only for what differs: the files
    of the commit and the inputs, and the repository."""

    def __init__(self, request: StepRequest) -> None:
        self._request = request
        self._senders: dict[str, TreeSender] = {}

    def tell(self, session: str) -> tuple[llb.Output | None, llb.Output | None]:
        """The trees of files and repository in the engine, None where there is none."""
        source = self._request.source
        git = source.git if source is not None else None
        if self._request.brings_files:
            self._senders[SOURCE_NAME] = TreeSender(
                open=self._layers, folder=SOURCE_FOLDER, names_folder=NAMES_FOLDER
            )
        if git is not None:
            self._senders[GIT_NAME] = TreeSender(open=partial(_git_layers, git))
        keys = {SOURCE_NAME: source.key if source else "", GIT_NAME: git.key if git else ""}
        told = {
            name: llb.local(name, session=session, shared_key_hint=keys[name])
            for name in self._senders
        }
        return told.get(SOURCE_NAME), told.get(GIT_NAME)

    async def send(self, stream: Call) -> None:
        """Answer the engine's SEND_SOURCE."""
        sender = self._senders.get(asked_folder(stream))
        if sender is None:
            raise StepNotRunError("the engine asks for a source that it was not told of")
        await sender.serve(stream)

    def raise_failure(self) -> None:
        """Raises what went wrong with the sending, if something did."""
        for sender in self._senders.values():
            if isinstance(sender.failure, (OSError, UnsendableTreeError)):
                message = f"the source could not be sent: {sender.failure}"
                raise StepNotRunError(message) from sender.failure
            if sender.failure is not None:
                raise sender.failure

    @asynccontextmanager
    async def _layers(self) -> AsyncIterator[Sequence[Path]]:
        inputs = [self._request.inputs] if self._request.inputs else []
        if self._request.source is None:
            yield inputs
        else:
            async with self._request.source.open() as folder:
                yield [folder, *inputs]


@asynccontextmanager
async def _git_layers(git: GitTree) -> AsyncIterator[Sequence[Path]]:
    async with git.open() as folder:
        yield [folder.small, folder.large]
