"""Which build of a commit there is already that a push, or what happened to a pull request, would
only repeat. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build
from coordinator.domain.pushes.deliveries import PullRequest

OPENED_TOGETHER = timedelta(minutes=1)
"""A pull request that is opened with labels tells of each of them, too, in events of their own."""


def serves_push(builds: Iterable[Build], branch: str) -> Build | None:
    """The build of a pull request, of the repository itself, whose head is the pushed branch."""
    for build in _not_cancelled(builds):
        pull = build.pull_request
        if pull is not None and not build.of_fork and pull.head == branch:
            return build
    return None


def serves_pull(
    builds: Iterable[Build], pull: PullRequest, heard_at: datetime, *, beside_push: bool
) -> Build | None:
    """The build of the push of its head, where they are one `beside_push`; or that of the pull
    request itself, which another event of the same moment has brought."""
    for build in _not_cancelled(builds):
        own = build.pull_request
        if own is None:
            is_its_head = build.event == "push" and build.branch == pull.head_branch
            if beside_push and is_its_head and not pull.fork and pull.labels_given is None:
                return build
        elif own.number == pull.number and _same_moment(own.labels, build, pull, heard_at):
            return build
    return None


def _same_moment(
    labels: Iterable[str], build: Build, pull: PullRequest, heard_at: datetime
) -> bool:
    """A label that is given later, or once more, builds anew."""
    if heard_at - build.created_at > OPENED_TOGETHER:
        return False
    if pull.labels_given is not None:
        return set(pull.labels_given) <= set(labels)
    return pull.opened and set(pull.labels) <= set(labels)


def _not_cancelled(builds: Iterable[Build]) -> Iterable[Build]:
    return (build for build in builds if build.state is not BuildState.CANCELLED)
