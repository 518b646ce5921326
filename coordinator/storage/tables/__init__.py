"""The tables, as both SQLite and PostgreSQL understand them, a module for each room."""

from __future__ import annotations

from coordinator.storage.tables.audit_tables import audit_counts, audit_log
from coordinator.storage.tables.build_tables import (
    build_counts,
    builds,
    doomed_objects,
    keyed_requests,
)
from coordinator.storage.tables.columns import Instant, metadata
from coordinator.storage.tables.image_tables import (
    build_images,
    deployments,
    image_builds,
    image_projects,
    images,
)
from coordinator.storage.tables.log_tables import log_tails
from coordinator.storage.tables.outbox_tables import outbox, recipients
from coordinator.storage.tables.people_tables import (
    SHOWN_TOKEN,
    accounts,
    agents,
    memberships,
    signing_keys,
    tokens,
    users,
)
from coordinator.storage.tables.project_tables import (
    credentials,
    former_slugs,
    projects,
    registry_logins,
    retention,
    secret_values,
    workflows,
)
from coordinator.storage.tables.push_tables import (
    begun_pushes,
    build_listeners,
    deliveries,
    followings,
    lfs_objects,
    lfs_origins,
    module_files,
    modules,
    schedules,
    seen_refs,
)
from coordinator.storage.tables.repository_tables import (
    ref_moves,
    stored_packs,
    stored_refs,
    stored_repositories,
)
from coordinator.storage.tables.result_tables import step_results, test_names, test_results
from coordinator.storage.tables.reuse_tables import input_lists, step_inputs
from coordinator.storage.tables.step_tables import (
    artifacts,
    attempts,
    cache_generations,
    output_entries,
    steps,
)
from coordinator.storage.tables.upkeep_tables import generations

__all__ = [
    "SHOWN_TOKEN",
    "Instant",
    "accounts",
    "agents",
    "artifacts",
    "attempts",
    "audit_counts",
    "audit_log",
    "begun_pushes",
    "build_counts",
    "build_images",
    "build_listeners",
    "builds",
    "cache_generations",
    "credentials",
    "deliveries",
    "deployments",
    "doomed_objects",
    "followings",
    "former_slugs",
    "generations",
    "image_builds",
    "image_projects",
    "images",
    "input_lists",
    "keyed_requests",
    "lfs_objects",
    "lfs_origins",
    "log_tails",
    "memberships",
    "metadata",
    "module_files",
    "modules",
    "outbox",
    "output_entries",
    "projects",
    "recipients",
    "ref_moves",
    "registry_logins",
    "retention",
    "schedules",
    "secret_values",
    "seen_refs",
    "signing_keys",
    "step_inputs",
    "step_results",
    "steps",
    "stored_packs",
    "stored_refs",
    "stored_repositories",
    "test_names",
    "test_results",
    "tokens",
    "users",
    "workflows",
]
