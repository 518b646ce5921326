"""What follows from a build that has succeeded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from coordinator.domain.model import Build, Project
from coordinator.domain.upstream import BuildListener, Following, Upstream

STARTS_OTHERS = ("push", "tag", "schedule", "manual", "build")
"""Events whose builds do: those of pull requests say nothing of what is there already."""
MOST_IN_A_ROW = 10
"""So two projects that start each other come to an end."""


def may_start_others(build: Build) -> bool:
    return build.event in STARTS_OTHERS and not build.of_fork


def why_none_follows(build: Build) -> str | None:
    """What the last build in a row says, where others wait for it; None for any before it."""
    if _depth(build) <= MOST_IN_A_ROW:
        return None
    return (
        f"starts no other project's workflow: {MOST_IN_A_ROW} builds in a row were started by "
        "another's success, this one with them; look for projects whose `on.build` name each other"
    )


def followings_of(
    build: Build, project: Project, listeners: Iterable[BuildListener], new_id: Callable[[], str]
) -> Sequence[Following]:
    """One for each workflow that waits for such a build; `project` is the build's."""
    upstream = Upstream(
        project=project.slug,
        workflow=build.workflow_name,
        build_id=build.id,
        build_number=build.number,
        commit=build.commit_hash,
        branch=build.branch,
        tag=build.tag,
        depth=_depth(build),
    )
    wanted = {
        (one.project_id, one.path): None
        for one in listeners
        if one.project_id != project.id
        and one.definition.matches(build.workflow_name, build.branch)
    }
    return [
        Following(id=new_id(), project_id=project_id, path=path, upstream=upstream)
        for project_id, path in wanted
    ]


def _depth(build: Build) -> int:
    return 1 + (0 if build.upstream is None else build.upstream.depth)
