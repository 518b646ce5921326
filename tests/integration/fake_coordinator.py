"""A coordinator for tests of the agent: a real server that keeps the contract to the letter.

It checks what an agent must not get wrong (one poll at a time, epochs, offsets, digests, slots) and
records breaches in `breaches`, which the fixtures assert to be empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.typedefs import Handler

from pipelines_schema import log_frames
from pipelines_schema.contract import (
    AcceptRequest,
    CompleteRequest,
    CompleteResponse,
    Completion,
    GoodbyeRequest,
    LeaseRef,
    Offer,
    PollRequest,
    PollResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    StepSpec,
    StepStatus,
)
from pipelines_schema.contract_sources import GitRefsResponse

HOLD_SECONDS = 3.0


@dataclass(slots=True, kw_only=True)
class Step:
    """A step and its current attempt."""

    spec: dict[str, Any]
    step_id: str
    state: str = "ready"
    """ready, offered, running or done; `next`: waits for a completion that asks for another;
    `begins`: for a poll that is answered with what has begun."""
    epoch: int = 0
    log: bytearray = field(default_factory=bytearray)
    frames: list[log_frames.Frame] = field(default_factory=list)
    artifacts: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    cancelling: bool = False
    completion: CompleteRequest | None = None
    completions: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    given_to_a_poll: bool = False
    """And not named since."""
    declined: int = 0
    told: int = 0
    """How many answers to polls brought it begun."""
    started: asyncio.Event = field(default_factory=asyncio.Event)
    logged: asyncio.Event = field(default_factory=asyncio.Event)
    first_log_at: float | None = None

    @property
    def text(self) -> str:
        return bytes(self.log).decode()


class FakeCoordinator:
    """`await start()`, `add_step(...)`, look at the step, `await stop()`; may be started again."""

    registration_token = "registration-token"

    def __init__(self, repositories: Path | None = None) -> None:
        self.steps: dict[str, Step] = {}
        self.agents: dict[str, str] = {}
        self.registrations: list[RegisterRequest] = []
        self.polls: list[PollRequest] = []
        self.requests: Counter[str] = Counter()
        """By the last word of their path; those of git by `git`."""
        self.renewals: list[RenewRequest] = []
        self.goodbyes: list[GoodbyeRequest] = []
        self.knows_goodbye = True
        self.breaches: list[str] = []
        self.git_requests: list[str] = []
        self.lost: list[LeaseRef] = []
        self.drain = False
        self.refuse_logs = 0
        """A status to refuse every log with."""
        self.refuse_artifacts: dict[str, int] = {}
        self.break_off: set[str] = set()
        """`log` or `complete`: the next such call is carried out, but its answer never arrives."""
        self.on_register: Callable[[RegisterRequest], None] | None = None
        """Called for each registration that is accepted."""
        self.hold_accepts: asyncio.Event | None = None
        """An accept is carried out, but not answered before it is set."""
        self.hold_artifacts: asyncio.Event | None = None
        """No artifact is answered before it is set."""
        self.blobs: dict[str, bytes] = {}
        self.repositories = repositories
        self.port = 0
        self._changed = asyncio.Condition()
        self._polling = 0
        self._poll_number = 0
        self.newer_words: dict[str, Any] = {}
        """What specs of begun steps say beside, or instead."""
        self.lose_answers = 0
        """How many answers to polls, of those that bring begun steps, never arrive."""
        self.poll_answer_delay = 0.0
        """How long an answer is on its way after it was decided."""
        self._runner: web.AppRunner | None = None

    # --- for tests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_step(self, script: str, **spec: Any) -> Step:
        step_id = str(uuid.uuid4())
        step = Step(step_id=step_id, spec={"script": script, **spec})
        self.steps[step_id] = step
        self._wake()
        return step

    def add_next(self, script: str) -> Step:
        """A step that comes with the answer to a completion."""
        step = self.add_step(script)
        step.state = "next"
        return step

    def add_begun(self, script: str) -> Step:
        """A step that runs as soon as a poll is answered with it, and comes with each answer until
        it is named, done or declined."""
        step = self.add_step(script)
        step.state = "begins"
        return step

    def cancel(self, step: Step) -> None:
        step.cancelling = True
        self._wake()

    def take_away(self, step: Step) -> None:
        """The lease is lost: hand the step out anew (to nobody, until `state` is ready)."""
        self.lost.append(LeaseRef(step_id=step.step_id, epoch=step.epoch))
        step.epoch += 1
        step.state = "taken"
        self._wake()

    def forget_agents(self) -> None:
        self.agents.clear()
        self._wake()

    def add_blob(self, name: str, data: bytes, mode: int = 0o644) -> dict[str, Any]:
        """Store an artifact; return the reference a dependency carries."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.blobs[sha256] = data
        return {
            "name": name,
            "size": len(data),
            "sha256": sha256,
            "mode": mode,
            "url": f"{self.url}/blobs/{sha256}",
        }

    def hand_out_again(self, step: Step) -> None:
        step.state = "ready"
        step.log.clear()
        step.frames.clear()
        step.artifacts.clear()
        self._wake()

    def _wake(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.ensure_future(notify())
        self._keep = task

    async def start(self) -> None:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            first, *_, last = request.path.strip("/").split("/")
            self.requests["git" if first == "git" else last] += 1
            return await handler(request)

        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[count])
        app.add_routes(
            [
                web.post("/api/agents/register", self._register),
                web.post("/api/agents/poll", self._poll),
                web.post("/api/agents/renew", self._renew),
                web.post("/api/agents/goodbye", self._goodbye),
                web.post("/api/runner/{step}/accept", self._accept),
                web.get("/api/runner/{step}/refs", self._refs),
                web.patch("/api/runner/{step}/log", self._log),
                web.put("/api/runner/{step}/artifacts/{name:(?s:.+)}", self._artifact),
                web.post("/api/runner/{step}/complete", self._complete),
                web.get("/blobs/{sha256}", self._blob),
                web.route("*", "/git/{path:.+}", self._git),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- the contract

    async def _register(self, request: web.Request) -> web.Response:
        if _token(request) != self.registration_token:
            return _error(401, "no such token")
        registration = RegisterRequest.model_validate(await request.json())
        if self.on_register is not None:
            self.on_register(registration)
        self.registrations.append(registration)
        agent_id, token = f"agent-{len(self.registrations)}", uuid.uuid4().hex
        self.agents[token] = agent_id
        return web.json_response(RegisterResponse(agent_id=agent_id, token=token).to_json())

    async def _poll(self, request: web.Request) -> web.Response:
        if _token(request) not in self.agents:
            return _error(401, "no such agent")
        poll = PollRequest.model_validate(await request.json())
        self.polls.append(poll)
        self._take_declined(poll)
        number = self._poll_number = self._poll_number + 1
        self._polling += 1
        try:
            # One that is superseded is still here until it has its turn to be answered, and by
            # then its successor may be, too.
            if self._polling > 3:
                self.breaches.append("more polls than those that the newest supersedes")
            async with self._changed:
                self._changed.notify_all()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HOLD_SECONDS):
                        await self._changed.wait_for(
                            lambda: (
                                number != self._poll_number
                                or _token(request) not in self.agents
                                or self._has_news(poll)
                            )
                        )
                if _token(request) not in self.agents:
                    return _error(401, "no such agent any more")
                if number != self._poll_number:
                    return web.json_response(PollResponse(seen=poll.seen).to_json())
                answer = self._news(poll).to_json()
                for spec in answer.get("begun", []):
                    spec |= self.newer_words
                if self.lose_answers and answer.get("begun"):
                    self.lose_answers -= 1
                    assert request.transport is not None
                    request.transport.abort()
        finally:
            self._polling -= 1
        await asyncio.sleep(self.poll_answer_delay)
        return web.json_response(answer)

    def _has_news(self, poll: PollRequest) -> bool:
        news = self._news(poll, look=True)
        return bool(
            news.offers or news.begun or news.cancels or news.lost or (news.drain and not poll.seen)
        )

    def _take_declined(self, poll: PollRequest) -> None:
        for lease in poll.declined:
            step = self.steps[lease.step_id]
            if step.epoch != lease.epoch:
                continue
            if step.given_to_a_poll and step.state == "running":
                step.state, step.given_to_a_poll = "begins", False
                step.declined += 1
            elif step.state == "offered":
                step.state = "ready"
                step.declined += 1

    def _begun(self, poll: PollRequest, *, look: bool) -> list[StepSpec]:
        for lease in poll.leases:
            self.steps[lease.step_id].given_to_a_poll = False
        untold = [step for step in self.steps.values() if step.given_to_a_poll]
        untold = [step for step in untold if step.state == "running"]
        new = [step for step in self.steps.values() if step.state == "begins" and poll.takes_begun]
        new = new[: max(poll.free - len(untold), 0)]
        if not look:
            for step in new:
                step.epoch += 1
                step.state, step.given_to_a_poll = "running", True
                step.started.set()
            for step in untold + new:
                step.told += 1
        return [self._spec(step) for step in untold + new]

    def _news(self, poll: PollRequest, *, look: bool = False) -> PollResponse:
        # Offers not yet accepted count against `free`.
        free = poll.free - sum(step.state == "offered" for step in self.steps.values())
        ready = [step for step in self.steps.values() if step.state == "ready"][: max(free, 0)]
        held = {(lease.step_id, lease.epoch) for lease in poll.leases}
        cancels = [
            LeaseRef(step_id=step.step_id, epoch=step.epoch)
            for step in self.steps.values()
            if step.cancelling and step.state == "running" and poll.seen != f"c{step.step_id}"
        ]
        lost = [lease for lease in self.lost if (lease.step_id, lease.epoch) in held]
        offers = []
        for step in ready:
            if not look:
                step.epoch += 1
                step.state = "offered"
            offers.append(Offer(step_id=step.step_id, epoch=step.epoch))
        seen = f"c{cancels[0].step_id}" if cancels else poll.seen
        if self.drain:
            seen = "drain"
        return PollResponse(
            offers=offers,
            begun=self._begun(poll, look=look),
            cancels=cancels,
            lost=lost,
            drain=self.drain,
            seen=seen,
        )

    async def _renew(self, request: web.Request) -> web.Response:
        if _token(request) not in self.agents:
            return _error(401, "no such agent")
        renewal = RenewRequest.model_validate(await request.json())
        self.renewals.append(renewal)
        held = {(lease.step_id, lease.epoch) for lease in renewal.leases}
        cancels = [
            LeaseRef(step_id=step.step_id, epoch=step.epoch)
            for step in self.steps.values()
            if step.cancelling and (step.step_id, step.epoch) in held
        ]
        lost = [lease for lease in self.lost if (lease.step_id, lease.epoch) in held]
        return web.json_response(RenewResponse(cancels=cancels, lost=lost).to_json())

    async def _goodbye(self, request: web.Request) -> web.Response:
        if not self.knows_goodbye:
            return _error(404, "no such call")
        self.goodbyes.append(GoodbyeRequest.model_validate(await request.json()))
        return web.Response(status=204)

    async def _accept(self, request: web.Request) -> web.Response:
        if _token(request) not in self.agents:
            return _error(401, "no such agent")
        step = self.steps[request.match_info["step"]]
        accept = AcceptRequest.model_validate(await request.json())
        if accept.epoch != step.epoch or step.state not in ("offered", "running"):
            return _error(409, "not yours", stale=True)
        step.state = "running"
        step.started.set()
        if self.hold_accepts is not None:
            await self.hold_accepts.wait()
        return web.json_response(self._spec(step).to_json())

    def _spec(self, step: Step) -> StepSpec:
        values = {
            "stepId": step.step_id,
            "epoch": step.epoch,
            "attempt": 1,
            "name": "test",
            "buildId": "b",
            "buildNumber": 1,
            "projectId": "project-1",
            "timeoutSeconds": 60,
            "token": f"step-token-{step.step_id}-{step.epoch}",
            **step.spec,
        }
        return StepSpec.model_validate(values)

    def _attempt(self, request: web.Request) -> Step | web.Response:
        """The step of an attempt's call, or the refusal of a stale one."""
        step = self.steps[request.match_info["step"]]
        epoch = int(request.query["epoch"])
        if epoch != step.epoch or step.state not in ("running", "done"):
            return _error(409, "stale epoch", stale=True)
        if _token(request) != f"step-token-{step.step_id}-{epoch}":
            return _error(401, "not the step's token")
        return step

    async def _log(self, request: web.Request) -> web.Response:
        step = self._attempt(request)
        if isinstance(step, web.Response):
            return step
        if self.refuse_logs:
            return _error(self.refuse_logs, "logs are refused")
        if request.content_type != log_frames.CONTENT_TYPE:
            self.breaches.append(f"log with content type {request.content_type}")
        frames = list(log_frames.decode(await request.read()))
        text = b"".join(frame.data for frame in frames)
        if len(text) > log_frames.MAX_CHUNK_BYTES:
            self.breaches.append(f"{len(text)} bytes of text in one chunk")
        size = len(step.log)
        if int(request.headers["Upload-Offset"]) != size:
            return web.json_response(
                {"error": "wrong offset", "offset": size},
                status=409,
                headers={"Upload-Offset": str(size)},
            )
        if step.state == "done":
            self.breaches.append("log after completion")
        step.log += text
        step.frames += frames
        if step.first_log_at is None:
            step.first_log_at = asyncio.get_running_loop().time()
        step.logged.set()
        self._maybe_break_off("log", request)
        return web.Response(status=204, headers={"Upload-Offset": str(len(step.log))})

    async def _artifact(self, request: web.Request) -> web.Response:
        step = self._attempt(request)
        if isinstance(step, web.Response):
            return step
        raw_name = request.rel_url.raw_path.split("/artifacts/", 1)[1]
        name = unquote(raw_name)
        if status := self.refuse_artifacts.get(name):
            return _error(status, f"artifact {name} is refused")
        data = await request.read()
        if self.hold_artifacts is not None:
            await self.hold_artifacts.wait()
        if hashlib.sha256(data).hexdigest() != request.headers["X-Content-Sha256"]:
            self.breaches.append(f"artifact {name}: wrong digest")
            return _error(422, "wrong digest")
        step.uploads.append(name)
        step.artifacts[name] = (int(request.query["mode"], 8), data)
        return web.Response(status=201)

    async def _complete(self, request: web.Request) -> web.Response:
        if _token(request) not in self.agents:
            return _error(401, "no such agent")
        step = self.steps[request.match_info["step"]]
        completion = CompleteRequest.model_validate(await request.json())
        if completion.epoch != step.epoch or step.state not in ("running", "done"):
            return _error(409, "stale epoch", stale=True)
        step.completions += 1
        if step.completion is not None and step.state == "done":
            # A later process of the agent asks for no other step.
            if _result(completion) != _result(step.completion):
                self.breaches.append("a contradicting completion")
                return _error(409, "contradicts the first completion")
        elif completion.log_bytes is not None and completion.log_bytes != len(step.log):
            return web.json_response({"error": "log", "offset": len(step.log)}, status=409)
        elif completion.log_sha256 not in (None, hashlib.sha256(step.log).hexdigest()):
            self.breaches.append("the log's digest is wrong")
            return _error(422, "digest")
        step.completion = completion
        step.state = "done"
        step.ended.set()
        self._maybe_break_off("complete", request)
        status = (
            StepStatus.SUCCESS if completion.status is Completion.SUCCESS else StepStatus.FAILED
        )
        answer = CompleteResponse(
            success=True,
            step_status=status,
            build_complete=False,
            next=self._hand_over() if completion.next else None,
        )
        return web.json_response(answer.to_json())

    def _hand_over(self) -> StepSpec | None:
        step = next((step for step in self.steps.values() if step.state == "next"), None)
        if step is None:
            return None
        step.epoch += 1
        step.state = "running"
        step.started.set()
        return self._spec(step)

    def _maybe_break_off(self, call: str, request: web.Request) -> None:
        if call in self.break_off:
            self.break_off.discard(call)
            if request.transport is not None:
                request.transport.abort()

    async def _refs(self, request: web.Request) -> web.Response:
        """No tags, and no branches."""
        return web.json_response(GitRefsResponse().to_json())

    async def _blob(self, request: web.Request) -> web.Response:
        if not (_token(request) or "").startswith("step-token-"):
            return _error(401, "not a step's token")
        data = self.blobs.get(request.match_info["sha256"])
        return _error(404, "no such artifact") if data is None else web.Response(body=data)

    async def _git(self, request: web.Request) -> web.Response:
        """Smart HTTP by git's own back end, for a step's token alone."""
        if not (_token(request) or "").startswith("step-token-"):
            return _error(403, "not a step's token")
        self.git_requests.append(request.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": "/" + request.match_info["path"],
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        done = await asyncio.to_thread(
            subprocess.run,
            ["git", "http-backend"],
            input=await request.read(),
            env=environment,
            capture_output=True,
            check=False,  # it ends with 1 where it tells the client an error
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=body)


def _result(completion: CompleteRequest) -> CompleteRequest:
    return completion.model_copy(update={"next": None})


def _token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _error(status: int, message: str, **more: Any) -> web.Response:
    body = json.dumps({"error": message, **more})
    return web.Response(status=status, text=body, content_type="application/json")
