"""What a run has come to, sent to a coordinator: steps with `inputs` that have succeeded."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import ValidationError

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Artifact, Build, Step
from coordinator.domain.steps.laptop_results import refusal
from coordinator.services.core import Core
from coordinator.storage.builds.builds import find_build, steps_of_build
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.outputs.output_values import values_of_build
from coordinator.storage.steps.attempts import attempts_of_step
from coordinator.storage.steps.step_inputs import StepInputs, find_inputs, find_lists
from pipelines_schema.contract_laptop import (
    MAX_HEAD_BYTES,
    MAX_SENT_FILES,
    RunTaken,
    SentFile,
    SentLog,
    SentRun,
    SentStep,
)
from pipelines_schema.contract_outputs import OutputFolder, OutputLink
from pipelines_schema.log_frames import encode
from pushrod.client import Client
from pushrod.connection import Connection, ConnectionOptions, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import say
from pushrod.references import all_projects, choose_project

READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A step that can be sent, and what lies behind it."""

    step: SentStep
    attempt_id: str
    log_bytes: int
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendable:
    build: Build
    left: Sequence[Left]
    lists: Mapping[str, Mapping[str, str]]
    not_sent: Mapping[str, str]
    """Names of other steps with `inputs` that have succeeded → why not."""


async def what_to_send(core: Core, build_id: str) -> Sendable:
    """Of a build of this machine's own coordinator, which has finished."""

    async def read(connection: AsyncConnection) -> Sendable:
        build = await find_build(connection, build_id)
        if build is None:
            raise LookupError(f"no build {build_id}")
        values = await values_of_build(connection, build_id)
        left, not_sent, digests = [], {}, []
        for step in await steps_of_build(connection, build_id):
            if step.written.inputs is None or step.state is not StepState.SUCCEEDED:
                continue
            inputs = await find_inputs(connection, step.id)
            why = _why_not(step, inputs)
            if why is not None or inputs is None:
                not_sent[step.name] = why or "nothing is known of it"
                continue
            outputs = values[step.name].values if step.name in values else {}
            try:
                left.append(await _left(connection, step, inputs, outputs))
            except ValidationError:
                not_sent[step.name] = f"it left more than {MAX_SENT_FILES} files"
            digests.append(str(inputs.files))
        packed = await find_lists(connection, build.project_id, digests)
        lists = {digest: json.loads(zlib.decompress(one)) for digest, one in packed.items()}
        return Sendable(build=build, left=left, lists=lists, not_sent=not_sent)

    return await core.database.read(read)


def _why_not(step: Step, inputs: StepInputs | None) -> str | None:
    refused = refusal(step)
    if refused is None and inputs is not None and (inputs.key is None or inputs.epoch is None):
        return inputs.never or "its image has no digest"
    return refused


async def _left(
    connection: AsyncConnection, step: Step, inputs: StepInputs, outputs: Mapping[str, str]
) -> Left:
    epoch, parts = step.epoch, inputs.parts
    attempt = next(one for one in await attempts_of_step(connection, step.id) if one.epoch == epoch)
    files = await stored_artifacts.artifacts_of(connection, step.id, epoch)
    entries = await stored_artifacts.entries_of(connection, step.id, epoch)
    return Left(
        attempt_id=attempt.id,
        log_bytes=attempt.log_bytes or 0,
        account_id=step.account_id,
        step=SentStep(
            written=step.written.to_json(),
            files=str(inputs.files),
            image=parts["image"],
            services=parts.get("services", {}),
            values=parts["values"],
            dependencies=parts["dependencies"],
            outputs=dict(outputs),
            log=SentLog(size=attempt.log_bytes or 0, sha256=attempt.log_sha256 or ""),
            output_files=[_file(one) for one in files],
            output_links=[
                OutputLink(name=one.name, target=one.target) for one in entries if one.target
            ],
            output_folders=[
                OutputFolder(name=one.name, mode=one.mode) for one in entries if not one.target
            ],
        ),
    )


def _file(one: Artifact) -> SentFile:
    return SentFile(
        name=one.name, size=one.size, sha256=one.sha256, mode=one.mode, modified=one.modified
    )


async def send_results(core: Core, build_id: str, connection: Connection, project_id: str) -> None:
    """Raises CommandError: then nothing of it was taken."""
    found = await what_to_send(core, build_id)
    for name, why in found.not_sent.items():
        say(f"-- {name}: not sent: {why}")
    if not found.left:
        return say("-- nothing to send: no step with `inputs` has a result that others may take")
    body = body_of(core, found)
    async with Client(connection) as client:
        answer = await client.send_laptop_results(project_id, body)
    taken = RunTaken.model_validate(answer)
    if taken.taken:
        say(f"-- sent as #{taken.build_number}: {', '.join(taken.taken)}")
    if taken.known:
        say(f"-- known there already: {', '.join(taken.known)}")
    return None


def _head(found: Sendable) -> bytes:
    """Raises CommandError."""
    build = found.build
    run = SentRun(
        workflow=build.workflow_name,
        machine=os.uname().machine,
        branch=build.branch,
        commit=build.commit_hash,
        params=None if build.params is None else dict(build.params),
        lists={digest: dict(files) for digest, files in found.lists.items()},
        steps=[one.step for one in found.left],
    )
    head = json.dumps(run.to_json(), separators=(",", ":")).encode() + b"\n"
    if len(head) > MAX_HEAD_BYTES:
        raise CommandError(
            "nothing was sent: `inputs` name too many files, or steps left too many "
            f"(their lists have {len(head)} bytes, of at most {MAX_HEAD_BYTES})"
        )
    return head


def body_of(core: Core, found: Sendable) -> AsyncIterator[bytes]:
    """Raises CommandError."""
    return _body(core, _head(found), found.left)


async def _body(core: Core, head: bytes, left: Sequence[Left]) -> AsyncIterator[bytes]:
    yield head
    for one in left:
        offset = 0
        while offset < one.log_bytes:
            lines = await core.logs.frames(one.attempt_id, offset, READ_BYTES)
            frames = [line.frame for line in lines if line.frame.data]
            if not frames:
                raise CommandError(f"the log of {one.step.written['name']} can't be read")
            offset += sum(len(frame.data) for frame in frames)
            yield encode(frames)
        for file in one.step.output_files:
            async for piece in core.blobs.get(one.account_id, file.sha256):
                yield piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    connection: Connection
    project: str
    """As people name it."""

    async def project_id(self) -> str:
        """Raises CommandError."""
        async with Client(self.connection) as client:
            return str(choose_project(await all_projects(client), self.project)["id"])


def destination(wanted: str, options: ConnectionOptions, project: str) -> Destination:
    """`wanted` is a project of the coordinator that `--url` or PUSHROD_URL name; or the address
    that git pushes to; or that of a coordinator, for its project of the name `project`. Raises
    CommandError."""
    if "://" not in wanted:
        return Destination(connection=resolve_connection(options), project=wanted)
    url, _, path = wanted.rstrip("/").partition("/git/")
    named = path.removesuffix(".git") or project
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise CommandError(f"--send {wanted}: write ACCOUNT/PROJECT, or an address by http(s)")
    chosen = ConnectionOptions(url=url, token_file=options.token_file)
    return Destination(connection=resolve_connection(chosen), project=named)
