"""What GitHub's contexts are here: in conditions, in scripts, and outside of scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EVENTS: Mapping[str, tuple[str, ...]] = {
    "push": ("push", "tag"),
    "pull_request": ("pullRequest",),
    "pull_request_target": ("pullRequest",),
    "workflow_dispatch": ("manual",),
    "repository_dispatch": ("manual",),
    "schedule": ("schedule",),
    "release": ("tag",),
    "create": ("push", "tag"),
}
"""Their events as ours: a tag's push is an event of its own here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a name stands for; None where there is no equal."""

    condition: str | None = None
    """In CEL."""
    script: str | None = None
    """Inside double quotes."""
    outside: str | None = None
    """In `${{ … }}` outside of scripts."""
    is_boolean: bool = False
    is_own: bool = False
    """Whether the workflow itself, and no outsider, wrote the value."""


_REF_NAME = "${PUSHROD_TAG:-$PUSHROD_BRANCH}"
_EVENT_NAME = (
    '$(case "$PUSHROD_EVENT" in tag) echo push ;; pullRequest) echo pull_request ;; '
    'manual) echo workflow_dispatch ;; *) echo "$PUSHROD_EVENT" ;; esac)'
)

WORDS: Mapping[str, Word] = {
    "github.sha": Word(script="$PUSHROD_COMMIT", outside="sha", is_own=True),
    "github.ref": Word(condition="ref", script="$PUSHROD_REF", outside="ref"),
    "github.ref_name": Word(condition="(branch + tag)", script=_REF_NAME),
    "github.ref_type": Word(condition='(tag != "" ? "tag" : "branch")'),
    "github.head_ref": Word(
        condition='(event == "pullRequest" ? branch : "")',
        script="$PUSHROD_BRANCH",
        outside="branch",
    ),
    "github.base_ref": Word(script="$PUSHROD_PULL_REQUEST_BASE"),
    "github.event_name": Word(script=_EVENT_NAME),
    "github.run_id": Word(script="$PUSHROD_BUILD_ID", outside="build.id", is_own=True),
    "github.run_number": Word(script="$PUSHROD_BUILD_NUMBER", outside="build.number", is_own=True),
    "github.run_attempt": Word(script="$PUSHROD_ATTEMPT"),
    "github.repository": Word(script="$PUSHROD_ACCOUNT/$PUSHROD_PROJECT"),
    "github.repository_owner": Word(script="$PUSHROD_ACCOUNT"),
    "github.event.repository.name": Word(script="$PUSHROD_PROJECT"),
    "github.workspace": Word(script="$PUSHROD_WORKSPACE"),
    "github.workflow": Word(script="$PUSHROD_WORKFLOW"),
    "github.job": Word(script="$PUSHROD_STEP_NAME"),
    "github.actor": Word(script="$PUSHROD_COMMIT_AUTHOR"),
    "github.event.number": Word(script="$PUSHROD_PULL_REQUEST"),
    "github.event.pull_request.number": Word(script="$PUSHROD_PULL_REQUEST"),
    "github.event.pull_request.head.sha": Word(
        script="$PUSHROD_COMMIT", outside="sha", is_own=True
    ),
    "github.event.pull_request.head.ref": Word(
        condition="branch", script="$PUSHROD_BRANCH", outside="branch"
    ),
    "github.event.pull_request.base.ref": Word(script="$PUSHROD_PULL_REQUEST_BASE"),
    "github.event.pull_request.draft": Word(condition="draft", is_boolean=True),
    "github.event.head_commit.message": Word(condition="message", script="$PUSHROD_COMMIT_MESSAGE"),
    "github.event.head_commit.author.name": Word(
        condition="author", script="$PUSHROD_COMMIT_AUTHOR"
    ),
    "github.server_url": Word(script="$PUSHROD_URL"),
    "runner.os": Word(condition='"Linux"', script="Linux"),
    "runner.arch": Word(condition='"X64"', script="X64"),
    "runner.temp": Word(script="/tmp"),  # noqa: S108 a folder of the step's own container
    "job.status": Word(),
}

VARIABLES: Mapping[str, str] = {
    "GITHUB_SHA": "$PUSHROD_COMMIT",
    "GITHUB_REF": "$PUSHROD_REF",
    "GITHUB_REF_NAME": _REF_NAME,
    "GITHUB_HEAD_REF": "$PUSHROD_BRANCH",
    "GITHUB_BASE_REF": "$PUSHROD_PULL_REQUEST_BASE",
    "GITHUB_EVENT_NAME": _EVENT_NAME,
    "GITHUB_RUN_ID": "$PUSHROD_BUILD_ID",
    "GITHUB_RUN_NUMBER": "$PUSHROD_BUILD_NUMBER",
    "GITHUB_RUN_ATTEMPT": "$PUSHROD_ATTEMPT",
    "GITHUB_REPOSITORY": "$PUSHROD_ACCOUNT/$PUSHROD_PROJECT",
    "GITHUB_REPOSITORY_OWNER": "$PUSHROD_ACCOUNT",
    "GITHUB_WORKSPACE": "$PUSHROD_WORKSPACE",
    "GITHUB_WORKFLOW": "$PUSHROD_WORKFLOW",
    "GITHUB_JOB": "$PUSHROD_STEP_NAME",
    "GITHUB_ACTOR": "$PUSHROD_COMMIT_AUTHOR",
    "GITHUB_SERVER_URL": "$PUSHROD_URL",
    "GITHUB_ACTIONS": "false",
    "GITHUB_OUTPUT": "$PUSHROD_OUTPUT",
    "RUNNER_OS": "Linux",
    "RUNNER_TEMP": "/tmp",  # noqa: S108 as above
}
