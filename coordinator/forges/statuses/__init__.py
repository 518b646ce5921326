"""Statuses of commits, as each forge takes them. Pure: one module per forge."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.outbox.forge_place import Forges, StatusForge
from coordinator.forges.statuses.bitbucket import BitbucketCloud, BitbucketDataCenter
from coordinator.forges.statuses.gitea import Gitea
from coordinator.forges.statuses.github import GitHub
from coordinator.forges.statuses.gitlab import GitLab

_ALL: Sequence[StatusForge] = (
    GitHub(),
    GitLab(),
    Gitea("gitea"),
    Gitea("forgejo"),
    BitbucketCloud(),
    BitbucketDataCenter(),
)
STATUS_FORGES: Forges = {forge.name: forge for forge in _ALL}
