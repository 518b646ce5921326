"""The services, as handlers reach them from the application."""

from __future__ import annotations

from aiohttp import web

from coordinator.git.smart_http import GitHttpBackend
from coordinator.services.accounts import Accounts
from coordinator.services.artifacts import Artifacts
from coordinator.services.build_logs import BuildLogs
from coordinator.services.builds import Builds
from coordinator.services.core import Core
from coordinator.services.credentials import Credentials
from coordinator.services.deletions import Deletions
from coordinator.services.deliveries import Deliveries
from coordinator.services.deployments import Deployments
from coordinator.services.dispatch import Dispatch
from coordinator.services.held_builds import HeldBuilds
from coordinator.services.lfs import Lfs
from coordinator.services.logs import Logs
from coordinator.services.modules import Modules
from coordinator.services.projects import Projects
from coordinator.services.push_retries import PushRetries
from coordinator.services.registry_logins import RegistryLogins
from coordinator.services.reports import Reports
from coordinator.services.runner import Runner
from coordinator.services.secrets import Secrets
from coordinator.services.source_builds import SourceBuilds
from coordinator.services.source_parts import SourceParts
from coordinator.services.users import Users
from coordinator.services.whole_logs import WholeLogs

CORE = web.AppKey("core", Core)
ACCOUNTS = web.AppKey("accounts", Accounts)
PROJECTS = web.AppKey("projects", Projects)
WHOLE_LOGS = web.AppKey("whole_logs", WholeLogs)
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
LFS = web.AppKey("lfs", Lfs)
SOURCE_PARTS = web.AppKey("source_parts", SourceParts)
