"""Webhooks as each forge's API makes and tells them. Pure: one module per forge."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.outbox.hooks import HookForge, HookForges
from coordinator.forges.hooks.bitbucket import BitbucketCloud, BitbucketDataCenter
from coordinator.forges.hooks.gitea import Gitea
from coordinator.forges.hooks.github import GitHub
from coordinator.forges.hooks.gitlab import GitLab

_ALL: Sequence[HookForge] = (
    GitHub(),
    GitLab(),
    Gitea("gitea"),
    Gitea("forgejo"),
    BitbucketCloud(),
    BitbucketDataCenter(),
)
HOOK_FORGES: HookForges = {forge.name: forge for forge in _ALL}
