"""Adapters and services of one coordinator, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog

from coordinator.adapters import (
    database_place,
    look_at,
    mailer,
    objects_place,
    remote_lfs,
    remotes,
    stored_changes,
)
from coordinator.domain.image_builds.targets import DeployTarget
from coordinator.domain.outbox.messages import RecipientKind
from coordinator.forges import APIS, receiver_of, webhook_url
from coordinator.forges.github.checks import GitHubChecks
from coordinator.git.repositories import HostedRepositories
from coordinator.git.smart_http import GitHttpBackend
from coordinator.objects.blobs import ObjectBlobStore
from coordinator.objects.log_tails import DatabaseLogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.places import (
    ObjectsCheck,
    addresses_of,
    open_objects,
    unfinished_uploads,
)
from coordinator.outgoing_http import PolicedHttp
from coordinator.reading.limits import REPORTS
from coordinator.reading.processes import ReadingProcesses
from coordinator.reading.report_reader import ReportFiles
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.deletions import Deletions
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.builds.generated_steps import GeneratedSteps
from coordinator.services.builds.image_parts import ImageParts
from coordinator.services.builds.laptop_results import LaptopResults
from coordinator.services.builds.modules import Modules
from coordinator.services.builds.named_builds import NamedBuilds
from coordinator.services.core import Core
from coordinator.services.deployments.deployments import Deployments, load_target, retire_older
from coordinator.services.deployments.image_sources import ImageSources
from coordinator.services.deployments.source_builds import SourceBuilds
from coordinator.services.images.image_slugs import ImageSlugs
from coordinator.services.keys import key_place, load_keys
from coordinator.services.logs.build_logs import BuildLogs
from coordinator.services.logs.folding import Folding
from coordinator.services.logs.logs import Logs
from coordinator.services.meter import Meter
from coordinator.services.news import News
from coordinator.services.others import Others
from coordinator.services.outbox.checks import Checks
from coordinator.services.outbox.forge_setup import ForgeSetup
from coordinator.services.outbox.forge_tokens import ForgeTokens
from coordinator.services.outbox.notifications import Notifications
from coordinator.services.outbox.outbox import Outbox
from coordinator.services.outbox.sender import Sender
from coordinator.services.outbox.statuses import Statuses
from coordinator.services.outbox.telling import Telling
from coordinator.services.outbox.traffic import Traffic
from coordinator.services.outputs.artifacts import Artifacts
from coordinator.services.outputs.batches import OutputBatches
from coordinator.services.outputs.results import Results
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.logins import Logins
from coordinator.services.people.sessions import Sessions
from coordinator.services.people.users import Users
from coordinator.services.projects.credentials import Credentials
from coordinator.services.projects.projects import Projects
from coordinator.services.projects.registry_logins import RegistryLogins
from coordinator.services.projects.registry_tries import RegistryTries
from coordinator.services.projects.secrets import Secrets
from coordinator.services.pushes.begun_pushes import BegunPushes
from coordinator.services.pushes.default_branches import DefaultBranches
from coordinator.services.pushes.deliveries import Deliveries
from coordinator.services.pushes.followings import Followings
from coordinator.services.pushes.ingest import Ingest
from coordinator.services.pushes.lfs import Lfs
from coordinator.services.pushes.push_retries import PushRetries
from coordinator.services.steps.begun_with_polls import BegunWithPolls
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.fetched_objects import FetchedObjects
from coordinator.services.steps.reports import Reports
from coordinator.services.steps.runner import Runner
from coordinator.services.steps.source_parts import SourceParts
from coordinator.services.steps.source_refs import SourceRefs
from coordinator.services.steps.step_specs import StepSpecs
from coordinator.services.upkeep.generation import enter_newest_generation
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.sweeping import Sweeping
from coordinator.settings import Settings
from coordinator.storage.database import Database
from coordinator.storage.postgresql import Candidate
from pipelines_schema.spans import Emit

if TYPE_CHECKING:
    from coordinator.git.stored_changes import StoredChanges
    from coordinator.objects.unfinished import UnfinishedUploads

log = structlog.get_logger()

LEFTOVER_SECONDS = 5.0
"""The data folder is ours alone, so a lock in it that old is of a git that was killed."""


class CannotDeploy(Exception):
    """The deploy target that the settings name is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    core: Core
    accounts: Accounts
    projects: Projects
    image_slugs: ImageSlugs
    builds: Builds
    modules: Modules
    dispatch: Dispatch
    runner: Runner
    reports: Reports
    folding: Folding
    logs: Logs
    artifacts: Artifacts
    output_batches: OutputBatches
    push_retries: PushRetries
    default_branches: DefaultBranches
    credentials: Credentials
    deliveries: Deliveries
    registry_logins: RegistryLogins
    registry_tries: RegistryTries
    secrets: Secrets
    users: Users
    sessions: Sessions
    deletions: Deletions
    retention: Retention
    sweeping: Sweeping
    build_logs: BuildLogs
    named_builds: NamedBuilds
    laptop_results: LaptopResults
    lfs: Lfs
    unfinished_uploads: UnfinishedUploads | None
    source_parts: SourceParts
    source_refs: SourceRefs
    git: GitHttpBackend
    source_builds: SourceBuilds
    deployments: Deployments
    forge_tokens: ForgeTokens
    forge_setup: ForgeSetup
    sender: Sender
    notifications: Notifications
    outbox: Outbox
    followings: Followings
    stored_repositories: StoredChanges | None
    """None: they lie on this machine's disk alone."""


@asynccontextmanager
async def open_services(
    settings: Settings,
    url: str,
    clock: Callable[[], float],
    now: Callable[[], datetime],
    emit: Emit | None = None,
    readings: ReadingProcesses | None = None,
    candidate: Candidate | None = None,
    others: Others | None = None,
    report_readings: ReadingProcesses | None = None,
) -> AsyncIterator[Services]:
    """`readings` and `report_readings` are left open to their owner; by default there are some of
    its own. `candidate` is this coordinator, where it has `others` beside it."""
    data = settings.data
    place = objects_place(settings)
    store = open_objects(place)
    addresses = addresses_of(place, store)
    objects_check = None if place.folder else ObjectsCheck(store, place)
    await look_at(store, place, objects_check)
    keys = load_keys(key_place(settings))
    meter = Meter()
    database = await Database.open(
        database_place(settings, candidate),
        busy_timeout_ms=int(settings.database_wait_seconds * 1000),
        used=meter.database_used,
    )
    own_readings, http = ReadingProcesses(), PolicedHttp(settings.remote_policy)
    blobs = ObjectBlobStore(store, meter.objects_used, addresses)
    changes = stored_changes(settings, database, store, meter, now)
    repositories = HostedRepositories(
        data / "repositories", changes, max_input_bytes=settings.max_push_bytes
    )
    own_report_readings = ReadingProcesses(REPORTS)
    report_files = ReportFiles(blobs, data / "reports", report_readings or own_report_readings)
    smtp = mailer(settings)
    try:
        report_files.begin()
        core = Core(
            database=database,
            repositories=repositories,
            remotes=remotes(settings, changes),
            logs=ObjectLogStore(store, DatabaseLogTails(database), meter.objects_used),
            blobs=blobs,
            objects_check=objects_check,
            readings=readings or own_readings,
            news=News(),
            keys=keys,
            settings=settings,
            public_url=url,
            meter=meter,
            now=now,
            others=others,
            emit=emit,
        )
        dispatch, logs = Dispatch(core, clock), Logs(core)
        accounts = Accounts(core, Logins(core))
        ingest, credentials = Ingest(core, dispatch, BegunPushes(core)), Credentials(core)
        runner = Runner(core, dispatch, StepSpecs(core), on_begin=[partial(retire_older, core)])
        dispatch.begin_with_polls(BegunWithPolls(core, runner))
        forge_source = ForgeSource(core, credentials)
        builds, sources = Builds(core, dispatch, forge_source), ImageSources(core)
        deliveries = Deliveries(core, ingest, forge_source)
        notifications = Notifications(core, http, smtp)
        checks = Checks(core, http, GitHubChecks())
        sender = Sender(
            core,
            {
                RecipientKind.STATUS: Statuses(core, http, APIS, checks),
                RecipientKind.WEBHOOK: notifications,
                RecipientKind.EMAIL: notifications,
            },
        )
        Telling(core, sender.wake).begin()
        await accounts.write_admin_token(data / "admin-token")
        await repositories.remove_leftovers(older_than_seconds=LEFTOVER_SECONDS)
        await enter_newest_generation(core)
        await dispatch.load()
        yield Services(
            core=core,
            accounts=accounts,
            projects=Projects(core),
            image_slugs=ImageSlugs(core),
            builds=builds,
            modules=Modules(core, dispatch),
            dispatch=dispatch,
            runner=runner,
            reports=Reports(
                core,
                dispatch,
                logs,
                runner,
                GeneratedSteps(core),
                ImageParts(core),
                (results := Results(core, report_files)),
                folding := Folding(core),
            ),
            folding=folding,
            logs=logs,
            artifacts=Artifacts(core),
            output_batches=OutputBatches(core),
            push_retries=PushRetries(core, ingest),
            default_branches=DefaultBranches(core, ingest),
            credentials=credentials,
            deliveries=deliveries,
            registry_logins=RegistryLogins(core),
            registry_tries=RegistryTries(core, http),
            secrets=Secrets(core),
            users=Users(core, accounts),
            sessions=Sessions(core, accounts),
            deletions=(deletions := Deletions(core)),
            retention=(retention := Retention(core)),
            sweeping=Sweeping(core, retention, deletions),
            build_logs=BuildLogs(core),
            named_builds=NamedBuilds(core, builds),
            laptop_results=LaptopResults(core, results, folding, deletions),
            lfs=Lfs(core),
            unfinished_uploads=unfinished_uploads(store),
            source_parts=(
                parts := SourceParts(
                    core, runner, credentials, remote_lfs(settings), FetchedObjects(core)
                )
            ),
            source_refs=SourceRefs(parts),
            git=GitHttpBackend(
                data / "repositories",
                changes,
                max_processes=settings.git_processes,
                max_input_bytes=settings.max_push_bytes,
            ),
            source_builds=SourceBuilds(core, builds, sources),
            deployments=Deployments(core, builds, sources, _deploy_target(settings)),
            forge_tokens=(tokens := ForgeTokens(core, APIS, sender.released)),
            forge_setup=ForgeSetup(
                core=core,
                http=http,
                statuses=APIS,
                hooks=APIS,
                checks=checks,
                tokens=tokens,
                traffic=Traffic(core, deliveries.rejected),
                address=lambda kind, project: webhook_url(url, receiver_of(kind), project),
            ),
            sender=sender,
            notifications=notifications,
            outbox=Outbox(core, sender.released),
            followings=Followings(builds),
            stored_repositories=changes,
        )
    finally:
        if changes is not None:
            await changes.close()
        await http.close()
        await own_readings.close()
        await own_report_readings.close()
        await database.close()


def _deploy_target(settings: Settings) -> DeployTarget:
    """Raises CannotDeploy."""
    try:
        return load_target(settings.deploy_target)
    except LookupError as error:
        raise CannotDeploy(str(error.args[0])) from error
