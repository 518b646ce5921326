"""Which pushes start a workflow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from pipelines_schema.limits import MAX_BRANCH_PATTERN_CHARACTERS, MAX_PATH_BYTES
from pipelines_schema.problem import shown
from pipelines_schema.workflow import Workflow

SKIP = ("[skip ci]", "[ci skip]")


def asks_to_skip(commit_message: str) -> bool:
    """Whether nothing is to be built for this commit: `[skip ci]` or `[ci skip]`."""
    lowered = commit_message.lower()
    return any(word in lowered for word in SKIP)


def triggered_by_push(
    workflow: Workflow, branch: str, changed: Collection[str] | None = None
) -> bool:
    """Whether a push to `branch` (short name, `main`) starts the workflow.

    `changed` are the files that differ; None where that is not known, which counts as all.
    """
    push = workflow.triggers.push
    if push is None or not (push.branches is None or chosen_by(push.branches, branch)):
        return False
    return _has_changed(push.paths, changed)


def triggered_by_tag(workflow: Workflow, tag: str) -> bool:
    """Whether a new or moved tag (short name, `v1`) starts the workflow."""
    trigger = workflow.triggers.tag
    if trigger is None:
        return False
    return trigger.patterns is None or chosen_by(trigger.patterns, tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestFacts:
    """What decides which workflows something that happened to a pull request starts."""

    base_branch: str
    """To be merged into; the short name."""
    labels: Sequence[str] = ()
    draft: bool = False
    label_given: str | None = None
    """What happened is that it was given this label, which concerns those who ask for it alone."""
    was_draft: bool = False
    """What happened is that it is none any more, which concerns those whom drafts don't start."""


def triggered_by_pull_request(
    workflow: Workflow, facts: PullRequestFacts, changed: Collection[str] | None = None
) -> bool:
    """Whether what happened to a pull request starts the workflow; `changed` as for a push."""
    pull = workflow.triggers.pull_request
    if pull is None or not (pull.branches is None or chosen_by(pull.branches, facts.base_branch)):
        return False
    if (not pull.drafts and facts.draft) or (pull.drafts and facts.was_draft):
        return False
    if pull.labels is None:
        return facts.label_given is None and _has_changed(pull.paths, changed)
    labels = facts.labels if facts.label_given is None else [facts.label_given]
    return any(label in pull.labels for label in labels) and _has_changed(pull.paths, changed)


def _has_changed(paths: Sequence[str] | None, changed: Collection[str] | None) -> bool:
    if paths is None or changed is None:
        return True
    return any(chosen_by(paths, path) for path in changed)


def chosen_by(patterns: Sequence[str], name: str) -> bool:
    """Whether some pattern matches and no `!pattern` does; only `!patterns` exclude from all."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(pattern_matches(pattern, name) for pattern in unwanted):
        return False
    return not wanted or any(pattern_matches(pattern, name) for pattern in wanted)


def branch_pattern_problem(pattern: str) -> str | None:
    """What is wrong with a branch pattern, or None."""
    name = pattern.removeprefix("!")
    if not name:
        return "is empty: write a branch or a pattern such as `release/*`"
    if len(pattern) > MAX_BRANCH_PATTERN_CHARACTERS:
        return f"is longer than {MAX_BRANCH_PATTERN_CHARACTERS} characters"
    if name.startswith("refs/"):
        return "must be a branch's short name: write `main`, not `refs/heads/main`"
    forbidden = [c for c in name if c in " ~^:\\[" or not c.isprintable()]
    if forbidden or ".." in name or name.startswith("/") or name.endswith("/"):
        return "is no name that git allows for a branch, so it would never match"
    return None


def path_pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern of changed files, or None."""
    path = pattern.removeprefix("!")
    if not path:
        return 'is empty: write a path or a pattern such as `"src/**"`'
    if len(pattern) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} characters"
    if path.endswith("/"):
        return f"names a folder, but files change: write `{shown(path + '**')[1:]}"
    parts = path.split("/")
    if path.startswith("/") or "." in parts or ".." in parts or "" in parts:
        return "must be relative to the repository's root, without `.`, `..` or `//`"
    return None


class _Wildcard(Enum):
    ONE = "?"
    """Any character but `/`."""
    SEGMENT = "*"
    """Any run of characters without `/`."""
    ANY = "**"
    FOLDERS = "**/"
    """At the start of a segment: nothing, or whole segments."""


def pattern_matches(pattern: str, name: str) -> bool:
    """Match `*` (not across `/`), `**` (across) and `?`; all else stands for itself.

    Steps through all ways of matching at once: a pattern full of stars costs its length times the
    name's, where a backtracking regular expression would take for ever.
    """
    reached = {0}
    for token in _tokens(pattern):
        reached = _step(token, reached, name)
        if not reached:
            return False
    return len(name) in reached


def _tokens(pattern: str) -> list[str | _Wildcard]:
    tokens: list[str | _Wildcard] = []
    position = 0
    while position < len(pattern):
        at_segment_start = position == 0 or pattern[position - 1] == "/"
        if at_segment_start and pattern.startswith("**/", position):
            token: str | _Wildcard = _Wildcard.FOLDERS
        elif pattern.startswith("**", position):
            token = _Wildcard.ANY
        elif pattern[position] in "*?":
            token = _Wildcard(pattern[position])
        else:
            token = pattern[position]
        tokens.append(token)
        position += len(token.value if isinstance(token, _Wildcard) else token)
    return tokens


def _step(token: str | _Wildcard, reached: set[int], name: str) -> set[int]:
    match token:
        case _Wildcard.ANY:
            return set(range(min(reached), len(name) + 1))
        case _Wildcard.FOLDERS:
            first = min(reached)
            return reached | {
                end for end in range(first + 1, len(name) + 1) if name[end - 1] == "/"
            }
        case _Wildcard.SEGMENT:
            return _within_segments(reached, name)
        case _Wildcard.ONE:
            return {at + 1 for at in reached if at < len(name) and name[at] != "/"}
        case _:
            return {at + 1 for at in reached if name.startswith(token, at)}


def _within_segments(reached: set[int], name: str) -> set[int]:
    result: set[int] = set()
    inside = False
    for position in range(len(name) + 1):
        inside = position in reached or (inside and name[position - 1] != "/")
        if inside:
            result.add(position)
    return result
