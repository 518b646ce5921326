"""A coordinator for one build: on no port, in a folder that goes with the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from coordinator.composition import Services
from coordinator.domain.errors import CoordinatorError
from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal
from coordinator.local_app import coordinator_at
from coordinator.services.builds.drafts import Draft, Origin
from coordinator.services.builds.included_files import workflow_with_includes
from coordinator.services.builds.workflow_files import known_workflow
from coordinator.services.projects.projects import make_project
from coordinator.settings import Settings
from pipelines_schema import Parsed, Workflow
from pushrod.connection import ADMIN_TOKEN_NAME, Connection, read_token
from pushrod.local.errors import CannotRun
from pushrod.local.place import RunPlace, lasting_key, project_id_of
from pushrod.local.refs import KnownRefs, lay_out
from pushrod.local.snapshot import Snapshot

URL = "http://localhost"
"""What scripts find in PUSHROD_URL; nobody listens there for them."""
ACCOUNT = "default"
INTERRUPT = "Ctrl-C"
"""Who cancels a build here."""
LONG_ENOUGH = 10**9
MANUAL, PUSH = "manual", "push"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCoordinator:
    services: Services
    connection: Connection
    principal: Principal

    async def project_of(self, snapshot: Snapshot, refs: KnownRefs, folder: Path) -> Project:
        """Its repository, below `folder`, has the snapshot."""
        core = self.services.core
        account = await self.services.accounts.find_or_create(self.principal, ACCOUNT)
        project = await make_project(
            core,
            self.principal,
            account,
            name=refs.project,
            project_id=project_id_of(snapshot.root),
        )
        await asyncio.to_thread(lay_out, folder / f"{project.id}.git", snapshot, refs)
        await core.repositories.set_default_branch(project.id, refs.default_branch)
        return project

    async def workflows(self, project: Project, commit: str) -> Mapping[str, Parsed]:
        """Those of the commit, by path, with what they include."""
        core = self.services.core
        files = await core.repositories.workflow_files(project.id, commit)
        return {
            file.path: await workflow_with_includes(core, project, commit, file, of_fork=False)
            for file in files
        }

    async def draft(
        self,
        project: Project,
        workflow: Workflow,
        refs: KnownRefs,
        commit: str,
        params: Mapping[str, str],
    ) -> Draft:
        """As a push of the commit would make it; with `params`, and where the workflow is for that
        alone, as somebody would by hand. Raises CannotRun."""
        core = self.services.core
        found = await core.repositories.commit(project.id, commit)
        if found is None:
            raise CannotRun(f"the commit {commit} can't be read: see `git fsck`")
        by_hand = bool(params) or (workflow.triggers.push is None and _has_manual(workflow))
        origin = replace(
            Origin.of_push(refs.branch, found),
            event=MANUAL if by_hand else PUSH,
            before=None if by_hand else refs.before,
            params=dict(params) or None,
        )
        try:
            file = workflow.file or workflow.name
            record = await core.database.write(
                lambda connection: known_workflow(core, connection, project, file, workflow.name)
            )
            return await self.services.builds.drafted(project, record, workflow, origin)
        except CoordinatorError as error:
            raise CannotRun(_told(error)) from error

    async def name_images(self, images: Mapping[str, str]) -> None:
        """References by their names. Raises CannotRun."""
        account = await self.services.accounts.find_or_create(self.principal, ACCOUNT)
        for name, reference in images.items():
            try:
                await self.services.image_slugs.create(
                    self.principal, account, slug=name, image_url=reference, public=False
                )
            except CoordinatorError as error:
                raise CannotRun(f"--image {name}: {_told(error)}") from error

    async def begin(self, project: Project, draft: Draft, secrets: Mapping[str, str]) -> Build:
        """Raises CannotRun."""
        try:
            for name, value in secrets.items():
                await self.services.secrets.set(self.principal, project, name, value)
            return await self.services.builds.save(self.principal, project, draft)
        except CoordinatorError as error:
            raise CannotRun(_told(error)) from error

    async def cancel(self, build_id: str) -> None:
        """Raises CoordinatorError where the build has finished."""
        whoever = replace(self.principal, name=INTERRUPT)
        await self.services.builds.cancel(whoever, None, build_id)


def _has_manual(workflow: Workflow) -> bool:
    return workflow.triggers.manual is not None


def _told(error: CoordinatorError) -> str:
    details: Sequence[Mapping[str, object]] = error.details or ()
    parts = [f"{one.get('path')}: {one.get('message')}" for one in details]
    return " · ".join([error.message, *parts])


@asynccontextmanager
async def local_coordinator(place: RunPlace) -> AsyncIterator[LocalCoordinator]:
    place.data.mkdir(mode=0o700)
    await asyncio.to_thread(_prepare, place)
    # What bounds a shared coordinator's projects is no help on one's own machine.
    settings = Settings(
        data=place.data,
        project_max_waiting_steps=LONG_ENOUGH,
        project_max_stored_bytes=2**60,
        max_artifact_bytes=2**50,
    )
    async with coordinator_at(settings, URL, place.socket) as services:
        token = read_token(place.data / ADMIN_TOKEN_NAME)
        yield LocalCoordinator(
            services=services,
            connection=Connection(url=URL, token=token, socket=place.socket),
            principal=await services.accounts.authenticate(token),
        )


def _prepare(place: RunPlace) -> None:
    """The key by which caches are found again. Blocking."""
    key = place.data / "secret-key"
    key.touch(mode=0o600)
    key.write_bytes(lasting_key(place.lasting))
