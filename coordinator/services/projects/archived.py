"""What an archived project says to those who push to it or build it."""

from __future__ import annotations

from coordinator.domain.errors import Conflict
from coordinator.domain.model import Project


def archived_words(project: Project) -> str | None:
    """Why it takes no pushes, builds and webhooks; None where it does."""
    if project.archived_at is None:
        return None
    name = f"{project.account_slug}/{project.slug}"
    return f"the project {name} is archived: `pushrod project unarchive {name}` opens it again"


def check_takes_builds(project: Project | None) -> None:
    """Raises Conflict."""
    words = None if project is None else archived_words(project)
    if words is not None:
        raise Conflict(words)
