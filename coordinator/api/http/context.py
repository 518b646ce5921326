"""The services, as handlers reach them from the application."""

from __future__ import annotations

from aiohttp import web

from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal
from coordinator.git.smart_http import GitHttpBackend
from coordinator.services.builds.build_results import BuildResults
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.deletions import Deletions
from coordinator.services.builds.keyed_requests import KeyedRequests
from coordinator.services.builds.modules import Modules
from coordinator.services.builds.named_builds import NamedBuilds
from coordinator.services.builds.retries import Retries
from coordinator.services.core import Core
from coordinator.services.deployments.deployments import Deployments
from coordinator.services.deployments.source_builds import SourceBuilds
from coordinator.services.images.image_slugs import ImageSlugs
from coordinator.services.logs.build_logs import BuildLogs
from coordinator.services.logs.logs import Logs
from coordinator.services.outbox.forge_setup import ForgeSetup
from coordinator.services.outbox.forge_tokens import ForgeTokens
from coordinator.services.outbox.notifications import Notifications
from coordinator.services.outbox.outbox import Outbox
from coordinator.services.outbox.pictures import Pictures
from coordinator.services.outputs.artifacts import Artifacts
from coordinator.services.outputs.batches import OutputBatches
from coordinator.services.outputs.downloads import Downloads
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.sessions import Sessions
from coordinator.services.people.users import Users
from coordinator.services.projects.credentials import Credentials
from coordinator.services.projects.project_changes import ProjectChanges
from coordinator.services.projects.projects import Projects
from coordinator.services.projects.registry_logins import RegistryLogins
from coordinator.services.projects.secrets import Secrets
from coordinator.services.pushes.default_branches import DefaultBranches
from coordinator.services.pushes.deliveries import Deliveries
from coordinator.services.pushes.lfs import Lfs
from coordinator.services.pushes.push_retries import PushRetries
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.gates import Gates
from coordinator.services.steps.reports import Reports
from coordinator.services.steps.runner import Runner
from coordinator.services.steps.source_parts import SourceParts
from coordinator.services.steps.source_refs import SourceRefs
from coordinator.services.steps.why import WhySteps
from coordinator.services.upkeep.health import Health

CORE = web.AppKey("core", Core)
ACCOUNTS = web.AppKey("accounts", Accounts)
PROJECTS = web.AppKey("projects", Projects)
PROJECT_CHANGES = web.AppKey("project_changes", ProjectChanges)
IMAGE_SLUGS = web.AppKey("image_slugs", ImageSlugs)
MODULES = web.AppKey("modules", Modules)
BUILDS = web.AppKey("builds", Builds)
BUILD_RESULTS = web.AppKey("build_results", BuildResults)
RETRIES = web.AppKey("retries", Retries)
DISPATCH = web.AppKey("dispatch", Dispatch)
GATES = web.AppKey("gates", Gates)
WHY = web.AppKey("why", WhySteps)
REPORTS = web.AppKey("reports", Reports)
RUNNER = web.AppKey("runner", Runner)
LOGS = web.AppKey("logs", Logs)
ARTIFACTS = web.AppKey("artifacts", Artifacts)
DOWNLOADS = web.AppKey("downloads", Downloads)
OUTPUT_BATCHES = web.AppKey("output_batches", OutputBatches)
USERS = web.AppKey("users", Users)
SESSIONS = web.AppKey("sessions", Sessions)
DELETIONS = web.AppKey("deletions", Deletions)
BUILD_LOGS = web.AppKey("build_logs", BuildLogs)
KEYED_REQUESTS = web.AppKey("keyed_requests", KeyedRequests)
NAMED_BUILDS = web.AppKey("named_builds", NamedBuilds)
REGISTRY_LOGINS = web.AppKey("registry_logins", RegistryLogins)
SECRETS = web.AppKey("secrets", Secrets)
GIT = web.AppKey("git", GitHttpBackend)
PUSH_RETRIES = web.AppKey("push_retries", PushRetries)
DEFAULT_BRANCHES = web.AppKey("default_branches", DefaultBranches)
CREDENTIALS = web.AppKey("credentials", Credentials)
DELIVERIES = web.AppKey("deliveries", Deliveries)
SOURCE_BUILDS = web.AppKey("source_builds", SourceBuilds)
DEPLOYMENTS = web.AppKey("deployments", Deployments)
FORGE_SETUP = web.AppKey("forge_setup", ForgeSetup)
FORGE_TOKENS = web.AppKey("forge_tokens", ForgeTokens)
NOTIFICATIONS = web.AppKey("notifications", Notifications)
PICTURES = web.AppKey("pictures", Pictures)
OUTBOX = web.AppKey("outbox", Outbox)
HEALTH = web.AppKey("health", Health)
LFS = web.AppKey("lfs", Lfs)
SOURCE_PARTS = web.AppKey("source_parts", SourceParts)
SOURCE_REFS = web.AppKey("source_refs", SourceRefs)


async def project_of(request: web.Request, principal: Principal) -> Project:
    """The one that the path names. Raises NotFound."""
    return await request.app[PROJECTS].get(principal, request.match_info["project_id"])
