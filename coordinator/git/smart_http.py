"""Git's smart HTTP protocol, by `git http-backend` behind aiohttp.

Who may do what is decided before a request comes here. The repository's path is made from the
project id of a database row, never from the URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

import structlog
from aiohttp import web

from coordinator.domain.pushes.moved_refs import RefsMoved
from coordinator.git.backend_environment import MAX_FETCH_REQUEST_BYTES, backend_environment
from coordinator.git.capabilities import KnownCapabilities
from coordinator.git.cgi_answer import CgiAnswer, read_cgi_head, read_whole_answer
from coordinator.git.changes import Changes, ChangesInPlace
from coordinator.git.client_pace import Pace
from coordinator.git.http_answers import NO_CACHE, answered, headers, not_stored, refusal
from coordinator.git.process import GitProcess, git_process, note_last_words
from coordinator.git.repository_folders import DEFAULT_MAX_INPUT_BYTES, repository_path
from coordinator.git.request_bodies import Feed, take_body
from coordinator.git.slots import AGENTS_OWN, ANYBODY, GitClient, GitSlots
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger(__name__)

AfterReceive = Callable[[], Awaitable[Sequence[str]]]
"""Takes notice of moved refs; returns the lines that the pusher sees after `remote: `."""

NOT_YET_BUILT = (
    "pushrod: your push is stored, but its build could not be created yet.",
    "pushrod: it will be tried again; nothing needs to be pushed a second time.",
)

NO_BODY = BytesIO()
_IN_MEMORY_BYTES = 256 * 1024
"""Of a fetch's request; what is more, which is rare, lies in an unnamed file."""
_COPY_BYTES = 64 * 1024
_COMMANDS_BYTES = 8 * 1024 * 1024
"""Room for a push's ref commands besides its pack."""

VERSION_2 = "version=2"


class GitService(StrEnum):
    UPLOAD_PACK = "git-upload-pack"
    """Clone and fetch."""
    RECEIVE_PACK = "git-receive-pack"
    """Push."""


_PATIENCE_SECONDS = {GitService.UPLOAD_PACK: 0.0, GitService.RECEIVE_PACK: 3.0}
"""A push that breaks off is given time to remove what it had received; a fetch leaves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One CGI call of http-backend."""

    service: GitService
    client: GitClient
    environment: Mapping[str, str]
    max_body_bytes: int
    body: IO[bytes] | None = None
    """What was read already; None: it is read while git runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    process: GitProcess
    feeding: asyncio.Task[Feed]


class GitHttpBackend:
    """Serves the repositories below `root`, a bounded number at a time.

    Fetches and pushes have `max_processes` each, so that neither starves the other. A fetch's
    request is here before it waits for its turn; a push that waits is not read. Without `changes`
    they are made in place. `max_input_bytes`
    bounds a push's pack; `idle_seconds` is how long a client may neither send nor take a byte,
    after which it must keep to SLOWEST_BYTES_A_SECOND; `deadline_seconds` bounds a whole exchange.
    """

    def __init__(
        self,
        root: Path,
        changes: Changes | None = None,
        *,
        max_processes: int = 8,
        max_input_bytes: int = DEFAULT_MAX_INPUT_BYTES,
        idle_seconds: float = 60.0,
        deadline_seconds: float = 3600.0,
    ) -> None:
        self._root = root
        self._changes = changes or ChangesInPlace(root)
        self._max_input_bytes = max_input_bytes
        self._idle_seconds = idle_seconds
        self._deadline_seconds = deadline_seconds
        self._slots = {
            GitService.UPLOAD_PACK: GitSlots(max_processes, AGENTS_OWN),
            GitService.RECEIVE_PACK: GitSlots(max_processes),
        }
        self._announcements: set[asyncio.Task[Sequence[str]]] = set()
        self._capabilities_known = KnownCapabilities()

    async def info_refs(
        self, request: web.Request, project_id: str, service: str, client: GitClient = ANYBODY
    ) -> web.StreamResponse:
        """Answer `GET …/info/refs?service=…`: the refs, as the first half of a fetch or a push."""
        if service not in tuple(GitService):
            return refusal(403, "Only the smart HTTP protocol of git 1.6.6 and later is served.")
        await self._changes.ready(project_id)
        environment = {
            **self._environment(request, project_id, GitService(service), "info/refs"),
            "QUERY_STRING": f"service={service}",
        }
        call = _Call(
            service=GitService(service),
            client=client,
            environment=environment,
            max_body_bytes=0,
            body=NO_BODY,
        )
        if call.service is GitService.UPLOAD_PACK and environment.get("GIT_PROTOCOL") == VERSION_2:
            return await self._capabilities(request, repository_path(self._root, project_id), call)
        return await self._streamed(request, call)

    async def _capabilities(
        self, request: web.Request, repository: Path, call: _Call
    ) -> web.StreamResponse:
        """Protocol version 2 begins with what git can do, and not with the refs.

        That depends on git and the repository's configuration alone, so a git is started for it
        once for each of these, which spares every fetch two processes.
        """
        made_of = await self._capabilities_known.origin(repository)
        body = self._capabilities_known.find(made_of)
        if body is None:
            answer = await self._answer_of(request, call)
            if answer is None or answer.status != 200 or made_of is None:
                return await self._streamed(request, call)
            body = self._capabilities_known.keep(made_of, answer.body)
        return web.Response(
            body=body,
            headers={"Content-Type": f"application/x-{call.service}-advertisement", **NO_CACHE},
        )

    async def _answer_of(self, request: web.Request, call: _Call) -> CgiAnswer | None:
        """git's whole answer to a request without a body; None if there is none."""
        try:
            async with self._exchange(request, call) as exchange:
                feed = await exchange.feeding
                answer = await read_whole_answer(exchange.process)
        except TimeoutError:
            return None
        return answer if feed is Feed.COMPLETE else None

    async def rpc(
        self,
        request: web.Request,
        project_id: str,
        service: str,
        *,
        env_user: str,
        client: GitClient = ANYBODY,
        after_receive: AfterReceive | None = None,
    ) -> web.StreamResponse:
        """Answer `POST …/git-upload-pack` or `…/git-receive-pack`.

        After each receive-pack, however it or its client ended, `after_receive` is awaited to its
        end. What it raises is logged and never spoils git's answer: the refs have moved.
        """
        if service not in tuple(GitService):
            return refusal(404, "There is no such git service.")
        if request.content_type != f"application/x-{service}-request":
            return refusal(415, f"The body must be of type application/x-{service}-request.")
        call = _Call(
            service=GitService(service),
            client=client,
            environment={
                **self._environment(
                    request, project_id, GitService(service), service, user=env_user
                ),
                "CONTENT_TYPE": request.content_type,
            },
            max_body_bytes=self._max_body_bytes(GitService(service)),
        )
        if (request.content_length or 0) > call.max_body_bytes:
            return self._too_large(call)
        if call.service is GitService.RECEIVE_PACK:
            return await self._received(request, project_id, call, after_receive)
        await self._changes.ready(project_id)
        with SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
            feed = await self._read_body(request, spool, call.max_body_bytes)
            if feed is not Feed.COMPLETE:
                return self._failure(call, feed)
            return await self._streamed(request, replace(call, body=spool))

    async def close(self) -> None:
        """Wait for each `after_receive` whose client did not."""
        while self._announcements:
            await asyncio.wait(self._announcements)

    def _max_body_bytes(self, service: GitService) -> int:
        # Twice the limit, since index-pack itself refuses a pack above it, in words that the
        # pusher's git shows; a bare 413 it does not explain.
        if service is GitService.RECEIVE_PACK:
            return 2 * self._max_input_bytes + _COMMANDS_BYTES
        return MAX_FETCH_REQUEST_BYTES

    def _environment(
        self, request: web.Request, project_id: str, service: GitService, path: str, user: str = ""
    ) -> dict[str, str]:
        return backend_environment(
            self._root,
            request,
            project_id,
            path,
            pushes=service is GitService.RECEIVE_PACK,
            user=user,
            max_input_bytes=self._max_input_bytes,
        )

    @asynccontextmanager
    async def _exchange(self, request: web.Request, call: _Call) -> AsyncIterator[_Exchange]:
        """Run git in a slot, with the request's body as its input. Raises TimeoutError."""
        async with (
            self._slots[call.service].slot(call.client),
            asyncio.timeout(self._deadline_seconds),
            git_process(
                ["git", "http-backend"],
                call.environment,
                patience_seconds=_PATIENCE_SECONDS[call.service],
            ) as process,
            asyncio.TaskGroup() as group,
        ):
            feeding = group.create_task(self._feed(request, process, call))
            group.create_task(note_last_words(process, call.environment["PATH_INFO"]))
            yield _Exchange(process=process, feeding=feeding)

    async def _feed(self, request: web.Request, process: GitProcess, call: _Call) -> Feed:
        """Give git the request's body, to its end even where git no longer listens.

        A client that is still sending would not read an answer that comes before its time. Ends
        git unless the body came whole.
        """
        outcome = await self._copy_body(request, process, call)
        if outcome is not Feed.COMPLETE:
            await process.end()
        return outcome

    async def _copy_body(self, request: web.Request, process: GitProcess, call: _Call) -> Feed:
        listening = True

        async def write(chunk: bytes) -> None:
            nonlocal listening
            listening = listening and await process.write(chunk)

        if call.body is None:
            feed = await take_body(request, write, call.max_body_bytes, self._idle_seconds)
        else:
            feed = Feed.COMPLETE
            call.body.seek(0)
            while chunk := await asyncio.to_thread(call.body.read, _COPY_BYTES):
                await write(chunk)
        if feed is Feed.COMPLETE:
            process.end_input()
        return feed

    async def _read_body(self, request: web.Request, spool: IO[bytes], max_bytes: int) -> Feed:
        """Before git is started, so that whoever sends it slowly holds nothing but himself up."""

        async def write(chunk: bytes) -> None:
            await asyncio.to_thread(spool.write, chunk)

        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await take_body(request, write, max_bytes, self._idle_seconds)
        except TimeoutError:
            return Feed.IDLE

    async def _streamed(self, request: web.Request, call: _Call) -> web.StreamResponse:
        """Pass git's answer on as it comes, after the whole request: so git itself reads it."""
        try:
            async with self._exchange(request, call) as exchange:
                feed = await exchange.feeding
                if feed is not Feed.COMPLETE:
                    return self._failure(call, feed)
                head = await read_cgi_head(exchange.process)
                if head is None:
                    return self._failure(call, feed)
                return await self._pass_on(request, exchange.process, head)
        except TimeoutError:
            _abort(request)
            return self._failure(call, Feed.IDLE)

    async def _pass_on(
        self, request: web.Request, process: GitProcess, head: CgiAnswer
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=head.status, headers=headers(head))
        try:
            await response.prepare(request)
            if request.method == "HEAD":  # git answers it as a GET
                await process.end()
                return response
            chunk, pace = head.body or await process.read(), Pace(grace_seconds=self._idle_seconds)
            while chunk:
                pace.moved_bytes += len(chunk)
                async with pace.waiting():
                    await response.write(chunk)
                chunk = await process.read()
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            await process.end()
            _abort(request)
        return response

    async def _received(
        self,
        request: web.Request,
        project_id: str,
        call: _Call,
        after_receive: AfterReceive | None,
    ) -> web.Response:
        """Hold git's answer back until the moved refs are kept and have been taken notice of."""
        exchange: _Exchange | None = None
        answer: CgiAnswer | None = None
        feed = Feed.CUT_OFF
        lines: Sequence[str] = ()
        why: str | None = None
        try:
            async with self._changes.changing(project_id) as draft:
                draft.abandon()  # until the client is to be told that it is kept
                there = {**call.environment, "GIT_PROJECT_ROOT": str(draft.root)}
                async with self._exchange(request, replace(call, environment=there)) as exchange:
                    answer = await read_whole_answer(exchange.process)
                    feed = await exchange.feeding
                draft.is_kept = answer is not None and feed is Feed.COMPLETE
        except TimeoutError:
            answer, feed = None, Feed.IDLE
        except RefsMoved as error:
            why = str(error)
        except Exception as error:  # a task root: git's client must be told
            why = not_stored(error, call.environment["PATH_INFO"])
        finally:
            if exchange is not None and after_receive is not None:
                lines = await self._announce(after_receive, call)
        if answer is None and why is not None:
            return refusal(503, why)
        if answer is None or feed is not Feed.COMPLETE:
            return self._failure(call, feed)
        return answered(answer, why, lines)

    async def _announce(self, after_receive: AfterReceive, call: _Call) -> Sequence[str]:
        # A task of its own, so that a handler that is cancelled does not take it along.
        task = asyncio.create_task(_guarded(after_receive, call))
        self._announcements.add(task)
        task.add_done_callback(self._announcements.discard)
        return await asyncio.shield(task)

    def _failure(self, call: _Call, feed: Feed) -> web.Response:
        match feed:
            case Feed.TOO_LARGE:
                return self._too_large(call)
            case Feed.IDLE:
                return refusal(408, "Nothing was sent for too long, or it took too long in all.")
            case Feed.CUT_OFF:
                return refusal(400, "The request's body broke off or can't be read.")
            case Feed.COMPLETE:
                return refusal(500, "git could not serve this; the coordinator's log says why.")

    def _too_large(self, call: _Call) -> web.Response:
        if call.service is GitService.UPLOAD_PACK:
            return refusal(413, f"A fetch may send at most {MAX_FETCH_REQUEST_BYTES} bytes.")
        return refusal(413, f"A push may send at most {self._max_input_bytes} bytes of objects.")


async def _guarded(after_receive: AfterReceive, call: _Call) -> Sequence[str]:
    try:
        return await after_receive()
    except Exception as error:
        tell_fault(log, "after_receive_failed", error, repository=call.environment["PATH_INFO"])
        return NOT_YET_BUILT


def _abort(request: web.Request) -> None:
    """Break the connection: an answer that git did not finish must not look finished."""
    if request.transport is not None:
        request.transport.abort()
