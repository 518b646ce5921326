"""The services, as handlers reach them from the application."""

from __future__ import annotations

from aiohttp import web

from coordinator.git.smart_http import GitHttpBackend
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.deletions import Deletions
from coordinator.services.builds.held_builds import HeldBuilds
from coordinator.services.builds.modules import Modules
from coordinator.services.core import Core
from coordinator.services.deployments.deployments import Deployments
from coordinator.services.deployments.source_builds import SourceBuilds
from coordinator.services.logs.build_logs import BuildLogs
from coordinator.services.logs.logs import Logs
from coordinator.services.outputs.artifacts import Artifacts
from coordinator.services.people.accounts import Accounts
from coordinator.services.people.users import Users
from coordinator.services.projects.credentials import Credentials
from coordinator.services.projects.projects import Projects
from coordinator.services.projects.registry_logins import RegistryLogins
from coordinator.services.projects.secrets import Secrets
from coordinator.services.pushes.deliveries import Deliveries
from coordinator.services.pushes.lfs import Lfs
from coordinator.services.pushes.push_retries import PushRetries
from coordinator.services.steps.dispatch import Dispatch
from coordinator.services.steps.reports import Reports
from coordinator.services.steps.runner import Runner
from coordinator.services.steps.source_parts import SourceParts
from coordinator.services.upkeep.health import Health

CORE = web.AppKey("core", Core)
ACCOUNTS = web.AppKey("accounts", Accounts)
PROJECTS = web.AppKey("projects", Projects)
MODULES = web.AppKey("modules", Modules)
BUILDS = web.AppKey("builds", Builds)
DISPATCH = web.AppKey("dispatch", Dispatch)
REPORTS = web.AppKey("reports", Reports)
RUNNER = web.AppKey("runner", Runner)
LOGS = web.AppKey("logs", Logs)
ARTIFACTS = web.AppKey("artifacts", Artifacts)
USERS = web.AppKey("users", Users)
DELETIONS = web.AppKey("deletions", Deletions)
BUILD_LOGS = web.AppKey("build_logs", BuildLogs)
HELD_BUILDS = web.AppKey("held_builds", HeldBuilds)
REGISTRY_LOGINS = web.AppKey("registry_logins", RegistryLogins)
SECRETS = web.AppKey("secrets", Secrets)
GIT = web.AppKey("git", GitHttpBackend)
PUSH_RETRIES = web.AppKey("push_retries", PushRetries)
CREDENTIALS = web.AppKey("credentials", Credentials)
DELIVERIES = web.AppKey("deliveries", Deliveries)
SOURCE_BUILDS = web.AppKey("source_builds", SourceBuilds)
DEPLOYMENTS = web.AppKey("deployments", Deployments)
HEALTH = web.AppKey("health", Health)
LFS = web.AppKey("lfs", Lfs)
SOURCE_PARTS = web.AppKey("source_parts", SourceParts)
