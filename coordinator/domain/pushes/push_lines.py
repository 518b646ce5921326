"""What git tells the one who pushed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.logs.build_log_events import problem_text
from coordinator.domain.model import Build, ModuleFile

SHOWN_PROBLEMS = 10


def lines_of_builds(builds: Sequence[Build], public_url: str) -> list[str]:
    lines = []
    for build in builds:
        url = f"{public_url}/builds/{build.id}"
        if build.state is not BuildState.FAILED:
            ref = build.branch or build.tag
            lines.append(f"build #{build.number} {build.workflow_name} ({ref}): {url}")
            continue
        lines.append(f"build #{build.number} failed: {build.reason}: {url}")
        lines += _problem_lines(build.problems)
    return lines


def line_of_served(build: Build) -> str:
    """Of a build that a push and a pull request of its commit have together."""
    pull = build.pull_request
    what = f"for the pull request #{pull.number}" if pull else f"for the push to {build.branch}"
    return f"{build.workflow_name}: #{build.number} builds this commit already, {what}"


def lines_of_modules(file: ModuleFile) -> list[str]:
    if not file.problems:
        return []
    first = f"modules ({file.branch}): none can be built until the file's mistakes are gone"
    return [first, *_problem_lines(file.problems)]


def _problem_lines(problems: Sequence[Mapping[str, object]]) -> list[str]:
    lines = [f"  {problem_text(problem)}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - SHOWN_PROBLEMS} more")
    return lines
