"""A webhook whose builds could not be made: why, whether that passes, and what they would have been
for."""

from __future__ import annotations

import structlog

from coordinator.domain.model import Project
from coordinator.domain.pushes.deliveries import ForgeEvent, reason_to_ignore
from coordinator.ports import RemoteFailed
from coordinator.services.builds.drafts import Draft, Origin
from coordinator.services.builds.forge_source import unfetchable
from coordinator.services.projects.archived import archived_words
from coordinator.services.pushes.begun_pushes import TookProcessesDown
from coordinator.storage.trouble import trouble_of

log = structlog.get_logger()


def why_not_built(error: Exception, delivery_id: str, *, last_attempt: bool) -> tuple[str, bool]:
    """In words, and whether no other try follows: as long as only the machine is to blame, one
    does."""
    trouble = trouble_of(error)
    if trouble is not None:
        return trouble.value, False
    if isinstance(error, RemoteFailed):
        return unfetchable(error), error.permanent or last_attempt
    if isinstance(error, TookProcessesDown):
        return str(error), True
    log.error("processing a delivery failed", delivery=delivery_id, exc_info=error)
    return f"internal error ({type(error).__name__})", last_attempt


def failed_builds(event: ForgeEvent, reason: str) -> list[Draft]:
    """Of what builds would have been made for, as far as the event alone says."""
    pull = event.pull_request
    if pull is not None:
        origins = [Origin.of_pull_request_event(pull)]
    else:
        origins = [Origin.of_ref(one.ref, one.after) for one in event.refs if one.after is not None]
    return [Draft(workflow_name="fetch", origin=origin, reason=reason) for origin in origins]


def why_ignored(event: ForgeEvent, project: Project) -> str | None:
    """Why nothing is built for it; None where something may be."""
    return archived_words(project) or reason_to_ignore(event, project.repo_url)
