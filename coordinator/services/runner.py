"""The runner contract: accept or claim a step, get its spec, complete it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog

from coordinator.domain.errors import (
    Conflict,
    Invalid,
    LogIncomplete,
    NotFound,
    NotTheHolder,
    StaleEpoch,
)
from coordinator.domain.late_reports import is_late, may_be_reported_on
from coordinator.domain.lifecycle import (
    FINISHED_BUILD,
    FINISHED_STEP,
    SHOWN_AS,
    BuildState,
    StepEvent,
    StepState,
)
from coordinator.domain.model import Attempt, AttemptState, Build, Project, Step
from coordinator.domain.permissions import Principal, PrincipalKind, Right
from coordinator.domain.script import bash_script
from coordinator.domain.verdict import AttemptEnd, may_run_again_when_lost
from coordinator.ports import LogDigest
from coordinator.services import advance, audit, caches
from coordinator.services.core import Core
from coordinator.services.deployments import retire_older
from coordinator.services.dispatch import Dispatch
from coordinator.services.image_builds import FOR_BUILDKIT, build_spec, built_images
from coordinator.services.logs import Logs
from coordinator.services.news import build_topic, log_topic
from coordinator.services.registry_logins import open_logins
from coordinator.services.secrets import open_secrets
from coordinator.storage import builds as stored
from coordinator.storage import projects as stored_projects
from coordinator.storage.connection import AsyncConnection
from pipelines_schema import Network, substituted
from pipelines_schema.contract import (
    ArtifactRef,
    CompleteRequest,
    CompleteResponse,
    Completion,
    CompletionReason,
    DependencySpec,
    RegistryLogin,
    SourceSpec,
    StepSpec,
)
from pipelines_schema.image_references import registry_of
from pipelines_schema.log_frames import Frame, Stream

log = structlog.get_logger()

MAX_NOTED_REFUSALS = 10_000
CLAIM_GRACE_SECONDS = 60.0
"""What a worker without leases gets beyond the step's timeout, to fetch and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    step: Step
    retired: Sequence[str] = ()
    """Builds of the deployments that this one replaces."""


@dataclass(slots=True)
class Runner:
    core: Core
    dispatch: Dispatch
    logs: Logs
    _closing: set[asyncio.Task[None]] = field(default_factory=set)
    _refused: set[tuple[str, str]] = field(default_factory=set)
    """Token and step of refused reports that the audit log has."""

    # Getting a step

    async def accept(self, principal: Principal, step_id: str, epoch: int) -> StepSpec:
        """The agent takes its offer. Repeated, it is answered the same. Raises StaleEpoch."""

        async def accept(connection: AsyncConnection) -> _Begun:
            step = await self._find(connection, principal, step_id)
            if step.epoch != epoch or step.holder != principal.holder:
                raise StaleEpoch
            if step.state is StepState.RUNNING:
                return _Begun(step=step)
            if step.state is not StepState.OFFERED:
                raise StaleEpoch
            lease = self.core.settings.lease_seconds
            return await self._begin(connection, step, StepEvent.ACCEPT, principal, lease)

        begun = await self.core.database.write(accept, committed=self._begun)
        return await self._spec(begun.step, principal)

    async def claim(self, principal: Principal, step_id: str) -> str:
        """The bash script of a ready step; getting it is the claim.

        Repeated by the claimant it is the same script. Raises Conflict for any other step.
        """

        async def claim(connection: AsyncConnection) -> _Begun:
            step = await self._find(connection, principal, step_id)
            if step.definition.own_command:
                raise Conflict(
                    f"step {step.name!r} runs an image by its own command: it needs an agent on "
                    "BuildKit"
                )
            if step.state is StepState.RUNNING and step.holder == principal.holder:
                return _Begun(step=step)
            if step.written.build is not None:
                raise Conflict(f"step {step.name!r} {FOR_BUILDKIT}", needs=list(step.needs))
            lease = float(step.written.timeout_seconds) + CLAIM_GRACE_SECONDS
            if step.state is StepState.OFFERED and step.holder == principal.holder:
                return await self._begin(connection, step, StepEvent.ACCEPT, principal, lease)
            if step.state is not StepState.READY:
                raise await self._refusal(connection, step)
            given = await stored.hand_out(
                connection, step_id, to=StepState.READY, holder=principal.holder
            )
            if given is None:
                raise StaleEpoch("another worker was quicker")
            step = await self._find(connection, principal, step_id)
            return await self._begin(connection, step, StepEvent.CLAIM, principal, lease)

        begun = await self.core.database.write(claim, committed=self._begun)
        return bash_script(await self._spec(begun.step, principal), self.core.public_url)

    async def _refusal(self, connection: AsyncConnection, step: Step) -> Conflict:
        if step.state is StepState.BLOCKED:
            steps = await stored.steps_of_build(connection, step.build_id)
            waits_for = unfinished_dependencies(step, steps)
            if not waits_for:
                return Conflict(f"step {step.name!r} waits for approval of its build")
            return Conflict(
                f"step {step.name!r} waits for {', '.join(waits_for)}", waitsFor=waits_for
            )
        if step.state in FINISHED_STEP:
            return Conflict(f"step {step.name!r} has finished")
        return Conflict(f"step {step.name!r} is handed out to another worker")

    async def _begin(
        self,
        connection: AsyncConnection,
        step: Step,
        event: StepEvent,
        principal: Principal,
        lease_seconds: float,
    ) -> _Begun:
        attempt = Attempt(
            step_id=step.id,
            epoch=step.epoch,
            number=step.attempt + 1,
            state=AttemptState.RUNNING,
            holder=principal.holder,
            exit_code=None,
            reason=None,
            log_bytes=None,
            log_sha256=None,
            started_at=self.core.now(),
            finished_at=None,
        )
        await stored.insert_attempt(connection, attempt)
        await advance.move_step(
            self.core,
            connection,
            step,
            event,
            attempt=attempt.number,
            holder=principal.holder,
            lease_seconds=lease_seconds,
            exit_code=None,
            reason=None,
            message=None,
            images=None,
        )
        await advance.begin_build(self.core, connection, step.build_id)
        retired = await retire_older(self.core, connection, step)
        return _Begun(step=await self._find(connection, principal, step.id), retired=retired)

    def _begun(self, begun: _Begun) -> None:
        step = begun.step
        for build_id in begun.retired:
            self.core.news.publish(build_topic(build_id))
            self.dispatch.cancelled(build_id)
        self.dispatch.begin(step)
        self.core.news.publish(build_topic(step.build_id))

    async def spec(self, principal: Principal, step_id: str) -> StepSpec:
        """The spec once more, for the holder of the lease."""
        step = await self.core.database.read(
            lambda connection: self._find(connection, principal, step_id)
        )
        if step.state is not StepState.RUNNING:
            raise Conflict("only a running step has a spec: poll for it, or GET its script")
        if not principal.holds(step_id, step.epoch, step.holder or ""):
            await self._note_refusal(principal, step_id)
            raise NotTheHolder("only the holder of a running step's lease gets its spec")
        return await self._spec(step, principal)

    async def _find(self, connection: AsyncConnection, principal: Principal, step_id: str) -> Step:
        step = await stored.find_step(connection, step_id)
        if step is None or not principal.sees(step.account_id):
            raise NotFound("step not found")
        return step

    async def _spec(self, step: Step, principal: Principal) -> StepSpec:
        """Logins to registries are for agents alone: a worker's script could read its own spec."""
        spec = await self.core.database.read(lambda connection: self._read_spec(connection, step))
        if principal.kind is PrincipalKind.AGENT:
            return spec
        return spec.model_copy(update={"registries": []})

    async def _read_spec(self, connection: AsyncConnection, step: Step) -> StepSpec:
        build = await stored.find_build(connection, step.build_id)
        project = await stored_projects.find_project(connection, step.project_id)
        if build is None or project is None:
            raise LookupError(f"step {step.id} has no build or project")
        written, base = step.written, self.core.public_url
        known = _build_words(build)
        image = await self._image(connection, step, known)
        # Outsiders' code gets none, whoever approved it.
        names = [] if build.of_fork else list(written.secrets)
        source = None
        own_command = step.definition.own_command
        if build.commit_hash is not None and not own_command:
            url = f"{base}/git/{project.account_slug}/{project.slug}.git"
            source = SourceSpec(url=url, commit=build.commit_hash)
        return StepSpec(
            step_id=step.id,
            epoch=step.epoch,
            attempt=step.attempt,
            name=step.name,
            build_id=build.id,
            build_number=build.number,
            project_id=project.id,
            image=image,
            script=substituted(written.script, known),
            own_command=own_command,
            build=build_spec(
                self.core, step, build, await caches.namespace(connection, build, step), known
            ),
            registries=await self._registries(connection, build, project, image),
            env={
                **{name: substituted(text, known) for name, text in written.env.items()},
                **_variables(step, build, f"{project.account_slug}/{project.slug}", base),
            },
            network="none" if written.network is Network.NONE else None,
            memory_bytes=written.resources.memory_bytes,
            cpus=written.resources.cpus,
            secret_names=names,
            secrets=dict(await open_secrets(self.core, connection, project.id, names)),
            cache_dirs=await caches.cache_dirs(connection, build, step),
            clean=build.clean,
            output_paths=list(written.output_paths),
            timeout_seconds=written.timeout_seconds,
            lease_seconds=step.lease_seconds or self.core.settings.lease_seconds,
            ends_with_lease=may_run_again_when_lost(step.definition),
            source=source,
            dependencies=await self._dependencies(connection, step),
            token=self.core.keys.step_token(step.id, step.epoch),
        )

    async def _registries(
        self, connection: AsyncConnection, build: Build, project: Project, image: str | None
    ) -> list[RegistryLogin]:
        """A script's step needs the login for its image alone; a Dockerfile may name any image."""
        if build.of_fork:
            return []
        logins = await open_logins(self.core, connection, project)
        host = None if image is None else registry_of(image)
        return [login for login in logins if host in (None, login.host)]

    async def _image(
        self, connection: AsyncConnection, step: Step, known: Mapping[str, str]
    ) -> str | None:
        """The image of a registered slug, else the text itself as a reference.

        The account's own slug first; nothing that others registered stands for a reference.
        """
        if step.written.image is None:
            return None
        wanted = substituted(step.written.image, known)
        image = await stored_projects.find_image(connection, step.account_id, wanted)
        if image is None and not any(sign in wanted for sign in ":/@"):
            image = await stored_projects.find_shared_image(connection, wanted)
        return wanted if image is None else image.image_url.removeprefix("docker://")

    async def _dependencies(self, connection: AsyncConnection, step: Step) -> list[DependencySpec]:
        if not step.depends_on:
            return []
        steps = {
            other.name: other for other in await stored.steps_of_build(connection, step.build_id)
        }
        specs = []
        for name in step.depends_on:
            other = steps[name]
            artifacts = await stored.artifacts_of(connection, other.id, other.epoch)
            specs.append(
                DependencySpec(
                    step_id=other.id,
                    name=name,
                    artifacts=[
                        ArtifactRef(
                            name=artifact.name,
                            size=artifact.size,
                            sha256=artifact.sha256,
                            mode=artifact.mode,
                            url=artifact_url(self.core.public_url, other.id, artifact.name),
                        )
                        for artifact in artifacts
                    ],
                )
            )
        return specs

    # Speaking for a step

    async def attempt(
        self, principal: Principal, step_id: str, epoch: int | None
    ) -> tuple[Step, Attempt]:
        """The attempt that the principal speaks for: who holds its hand-out, and nobody else.

        Agents must name the epoch; a person may leave it out and means the current one.
        Raises StaleEpoch, NotTheHolder, NotFound, Invalid.
        """
        try:
            return await self.core.database.read(
                lambda connection: self._attempt(connection, principal, step_id, epoch)
            )
        except NotTheHolder:
            await self._note_refusal(principal, step_id)
            raise

    async def _note_refusal(self, principal: Principal, step_id: str) -> None:
        """A person's in the audit log, once for each step and token: a loop doesn't fill it."""
        if principal.kind is not PrincipalKind.PERSON:
            return
        tried = (principal.token_id, step_id)
        if tried in self._refused:
            return
        if len(self._refused) >= MAX_NOTED_REFUSALS:
            self._refused.clear()
        self._refused.add(tried)

        async def note(connection: AsyncConnection) -> None:
            step = await self._find(connection, principal, step_id)
            await audit.record(
                self.core,
                connection,
                "step.report_refused",
                principal,
                account_id=step.account_id,
                project_id=step.project_id,
                build=step.build_id,
                step=step_id,
                holder=step.holder,
            )

        await self.core.database.write(note)

    async def _attempt(
        self,
        connection: AsyncConnection,
        principal: Principal,
        step_id: str,
        epoch: int | None,
    ) -> tuple[Step, Attempt]:
        step = await self._find(connection, principal, step_id)
        if principal.kind is PrincipalKind.STEP:
            if principal.step_id != step_id:
                raise NotFound("step not found")
            if epoch not in (None, principal.epoch):
                raise StaleEpoch
            epoch = principal.epoch
        elif principal.kind is not PrincipalKind.AGENT:
            principal.require(Right.BUILD)
        elif epoch is None:
            raise Invalid("an agent names the epoch of its hand-out: ?epoch=N")
        attempt = await stored.find_attempt(
            connection, step_id, step.epoch if epoch is None else epoch
        )
        if attempt is None:
            if epoch is None:
                raise Conflict(f"step {step.name!r} is not running: GET its script to claim it")
            raise StaleEpoch
        if not principal.holds(step_id, attempt.epoch, attempt.holder):
            if principal.kind is PrincipalKind.AGENT:
                raise StaleEpoch
            raise NotTheHolder(
                f"step {step.name!r} is another worker's: only who holds its hand-out reports on it"
            )
        return step, attempt

    async def complete(
        self, principal: Principal, step_id: str, request: CompleteRequest
    ) -> CompleteResponse:
        """End an attempt. The same completion again is answered the same.

        Raises StaleEpoch, Conflict (contradicts an earlier one), LogIncomplete, NotFound.
        """
        step, attempt = await self.attempt(principal, step_id, request.epoch)
        if not may_be_reported_on(step, attempt):
            await self._keep_log(attempt)
            return await self._answer_again(step, attempt, request)
        if request.logs:
            await self._store_logs(attempt, request.logs)
        digest, problem = await self._close_log(attempt, request)
        end = AttemptEnd(
            status=Completion.FAILED if problem else request.status,
            exit_code=request.exit_code,
            reason=CompletionReason.ENGINE if problem else request.reason,
        )
        message = "\n".join(filter(None, [problem, _storable(request.message)])) or None
        images = built_images(step, request)

        async def finish(connection: AsyncConnection) -> tuple[Step, BuildState]:
            step, attempt = await self._attempt(connection, principal, step_id, request.epoch)
            if not may_be_reported_on(step, attempt):
                raise _EndedMeanwhile
            if is_late(step, attempt):
                step = await advance.resume(self.core, connection, step, attempt)
            verdict, state = await advance.end_attempt(
                self.core, connection, step, attempt, end, digest, message, images
            )
            if verdict.attempt is AttemptState.SUCCEEDED:
                await caches.keep_clean(connection, step, attempt)
            return await self._find(connection, principal, step_id), state

        def committed(result: tuple[Step, BuildState]) -> None:
            self.dispatch.ended(step_id, attempt.epoch)
            self.core.news.publish(build_topic(step.build_id))
            self.core.news.publish(log_topic(attempt.id))
            self.dispatch.wake()
            if digest.size:  # of an empty log nothing is stored that could be folded
                self._fold_log(attempt)

        try:
            ended, state = await self.core.database.write(finish, committed=committed)
        except _EndedMeanwhile:
            step, attempt = await self.attempt(principal, step_id, attempt.epoch)
            return await self._answer_again(step, attempt, request)
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[ended.state],
            build_complete=state in FINISHED_BUILD,
        )

    async def _keep_log(self, attempt: Attempt) -> None:
        """Of an attempt that was lost and whose step goes on without it: what came of it is all."""
        if attempt.state is not AttemptState.LOST or attempt.log_bytes is not None:
            return
        digest = await self.core.logs.digest(attempt.id)
        await self.core.database.write(
            lambda connection: stored.set_log(connection, attempt, digest.size, digest.sha256)
        )
        if digest.size:
            self._fold_log(attempt)

    async def _close_log(
        self, attempt: Attempt, request: CompleteRequest
    ) -> tuple[LogDigest, str | None]:
        """The log's digest, and what is wrong where it isn't the log that was sent."""
        try:
            digest = await self.logs.check_whole(attempt, request.log_bytes, request.log_sha256)
        except Invalid as error:
            log.error("log differs", attempt=attempt.id, error=error.message)
            return await self.core.logs.digest(attempt.id), error.message
        return digest, None

    async def _answer_again(
        self, step: Step, attempt: Attempt, request: CompleteRequest
    ) -> CompleteResponse:
        said = {
            AttemptState.SUCCEEDED: (Completion.SUCCESS,),
            AttemptState.FAILED: (Completion.FAILED,),
            AttemptState.CANCELLED: (Completion.FAILED,),
            AttemptState.LOST: (Completion.FAILED,)
            if request.reason is CompletionReason.LOST
            else (),
        }[attempt.state]
        if _another_log(attempt, request):
            said = (*said, Completion.SUCCESS)  # it was failed for its log alone
        same_code = request.exit_code is None or request.exit_code == attempt.exit_code
        if request.status not in said or not same_code:
            if attempt.state is AttemptState.LOST or step.epoch != attempt.epoch:
                raise StaleEpoch
            code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
            raise Conflict(f"this attempt was completed as {attempt.state.value} already{code}")
        build = await self.core.database.read(
            lambda connection: stored.find_build(connection, step.build_id)
        )
        return CompleteResponse(
            success=True,
            step_status=SHOWN_AS[step.state],
            build_complete=build is not None and build.state in FINISHED_BUILD,
        )

    async def _store_logs(self, attempt: Attempt, text: str) -> None:
        """003's `logs`: used where the worker sent none by the log protocol."""
        data = text.encode("utf-8", "replace")
        now_ms = int(time.time() * 1000)
        size = await self.core.logs.size(attempt.id)
        if size not in (0, len(data)):
            return
        try:
            frames = [Frame(stream=Stream.STDOUT, time_ms=now_ms, data=data)]
            await self.logs.append(attempt, 0, frames)
        except LogIncomplete:
            return  # sent already, by this completion's first try or by the log protocol

    def _fold_log(self, attempt: Attempt) -> None:
        task = asyncio.create_task(self._fold(attempt), name=f"fold {attempt.id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _fold(self, attempt: Attempt) -> None:
        try:
            await self.core.logs.close(attempt.id)
        except Exception:  # a task root: the chunks stay readable as they are
            log.exception("folding a log failed", attempt=attempt.id)

    async def drain(self) -> None:
        if self._closing:
            await asyncio.wait(self._closing, timeout=10)


class _EndedMeanwhile(Exception):
    """Another completion, a cancel or the end of the lease came first."""


def _another_log(attempt: Attempt, request: CompleteRequest) -> bool:
    """The attempt was failed because its log is not the one that the request speaks of."""
    return attempt.state is AttemptState.FAILED and (
        request.log_bytes not in (None, attempt.log_bytes)
        or request.log_sha256 not in (None, attempt.log_sha256)
    )


def _storable(text: str | None) -> str | None:
    """NUL and half surrogate pairs, which no database stores, are replaced."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def unfinished_dependencies(step: Step, steps: Iterable[Step]) -> list[str]:
    states = {other.name: other.state for other in steps}
    return [name for name in step.depends_on if states[name] not in FINISHED_STEP]


def _build_words(build: Build) -> dict[str, str]:
    """What is replaced in scripts: BUILD_WORDS, and parameters.

    A free text's parameter is here, too: the parser lets no workflow through that names it.
    """
    return {
        **{f"params.{name}": value for name, value in (build.params or {}).items()},
        "build.id": build.id,
        "build.number": str(build.number),
        "sha": build.commit_hash or "",
    }


def artifact_url(base: str, step_id: str, name: str) -> str:
    return f"{base}/api/steps/{step_id}/artifacts/{quote(name)}"


def _ref(build: Build) -> str | None:
    if build.pull_request is not None:
        return f"refs/pull/{build.pull_request.number}/head"
    if build.tag:
        return f"refs/tags/{build.tag}"
    return f"refs/heads/{build.branch}" if build.branch else None


def _variables(step: Step, build: Build, project: str, base: str) -> dict[str, str]:
    account, _, slug = project.partition("/")
    values = {
        "CI": "true",
        "PUSHROD_ACCOUNT": account,
        "PUSHROD_PROJECT": slug,
        "PUSHROD_WORKFLOW": build.workflow_name,
        "PUSHROD_BUILD_ID": build.id,
        "PUSHROD_BUILD_NUMBER": str(build.number),
        "PUSHROD_BUILD_URL": f"{base}/builds/{build.id}",
        "PUSHROD_URL": base,
        "PUSHROD_EVENT": build.event,
        "PUSHROD_STEP_ID": step.id,
        "PUSHROD_STEP_NAME": step.name,
        "PUSHROD_ATTEMPT": str(step.attempt),
        "PUSHROD_COMMIT": build.commit_hash,
        "PUSHROD_BRANCH": build.branch,
        "PUSHROD_TAG": build.tag,
        "PUSHROD_REF": _ref(build),
        "PUSHROD_COMMIT_MESSAGE": build.commit_message,
        "PUSHROD_COMMIT_AUTHOR": build.commit_author,
    }
    if build.clean:
        values["PUSHROD_CLEAN_BUILD"] = "true"
    if build.module is not None:
        values["PUSHROD_MODULE"] = build.module.name
        values["PUSHROD_MODULE_PATH"] = build.module.path
        values["PUSHROD_BUILD_TARGET"] = build.module.target
    if build.pull_request is not None:
        values["PUSHROD_PULL_REQUEST"] = str(build.pull_request.number)
        values["PUSHROD_PULL_REQUEST_BASE"] = build.pull_request.base
    for name, value in (build.params or {}).items():
        values[f"PUSHROD_PARAM_{name.upper()}"] = value
    for name, value in step.written.matrix_values.items():
        values[f"PUSHROD_MATRIX_{name.upper()}"] = value
    return {name: value.replace("\0", "") for name, value in values.items() if value is not None}
