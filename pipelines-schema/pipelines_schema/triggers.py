"""Which pushes start a workflow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines_schema.patterns import chosen_by
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
    labels_given: Sequence[str] | None = None
    """What happened is that it was given these labels, which concerns those who ask for one."""
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
        return facts.labels_given is None and _has_changed(pull.paths, changed)
    labels = facts.labels if facts.labels_given is None else facts.labels_given
    return any(label in pull.labels for label in labels) and _has_changed(pull.paths, changed)


def _has_changed(paths: Sequence[str] | None, changed: Collection[str] | None) -> bool:
    if paths is None or changed is None:
        return True
    return any(chosen_by(paths, path) for path in changed)
