"""GitLab's variables, as ours; and texts in which they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pushrod.importing.expansions import OPENING

_REF = "${PUSHROD_TAG:-$PUSHROD_BRANCH}"
_SLUG = '$(printf %s "${PUSHROD_TAG:-$PUSHROD_BRANCH}" | tr A-Z a-z | tr -c a-z0-9 - | cut -c1-63)'
_SOURCE = (
    '$(case "$PUSHROD_EVENT" in tag) echo push ;; pullRequest) echo merge_request_event ;; '
    'manual) echo web ;; *) echo "$PUSHROD_EVENT" ;; esac)'
)

VARIABLES: Mapping[str, str] = {
    "CI_COMMIT_SHA": "$PUSHROD_COMMIT",
    "CI_COMMIT_SHORT_SHA": "${PUSHROD_COMMIT:0:8}",
    "CI_COMMIT_BRANCH": "$PUSHROD_BRANCH",
    "CI_COMMIT_TAG": "$PUSHROD_TAG",
    "CI_COMMIT_REF_NAME": _REF,
    "CI_COMMIT_REF_SLUG": _SLUG,
    "CI_COMMIT_MESSAGE": "$PUSHROD_COMMIT_MESSAGE",
    "CI_COMMIT_TITLE": "${PUSHROD_COMMIT_MESSAGE%%$'\\n'*}",
    "CI_COMMIT_AUTHOR": "$PUSHROD_COMMIT_AUTHOR",
    "CI_PIPELINE_ID": "$PUSHROD_BUILD_ID",
    "CI_PIPELINE_IID": "$PUSHROD_BUILD_NUMBER",
    "CI_PIPELINE_URL": "$PUSHROD_BUILD_URL",
    "CI_PIPELINE_SOURCE": _SOURCE,
    "CI_JOB_ID": "$PUSHROD_STEP_ID",
    "CI_JOB_NAME": "$PUSHROD_STEP_NAME",
    "CI_JOB_URL": "$PUSHROD_BUILD_URL",
    "CI_PROJECT_DIR": "$PUSHROD_WORKSPACE",
    "CI_BUILDS_DIR": "${PUSHROD_WORKSPACE%/*}",
    "CI_PROJECT_NAME": "$PUSHROD_PROJECT",
    "CI_PROJECT_NAMESPACE": "$PUSHROD_ACCOUNT",
    "CI_PROJECT_PATH": "$PUSHROD_ACCOUNT/$PUSHROD_PROJECT",
    "CI_SERVER_URL": "$PUSHROD_URL",
    "CI_MERGE_REQUEST_IID": "$PUSHROD_PULL_REQUEST",
    "CI_MERGE_REQUEST_ID": "$PUSHROD_PULL_REQUEST",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "$PUSHROD_PULL_REQUEST_BASE",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "$PUSHROD_BRANCH",
    "CI_NODE_INDEX": "${PUSHROD_MATRIX_CI_NODE_INDEX:-1}",
    "GITLAB_CI": "false",
}
THEIRS = re.compile(r"\b(?:CI|GITLAB)_[A-Z][A-Z0-9_]*\b")
_OUTSIDE = {
    "CI_COMMIT_SHA": "sha",
    "CI_COMMIT_SHORT_SHA": "shortSha",
    "CI_COMMIT_TAG": "tag",
    "CI_COMMIT_BRANCH": "branch",
    "CI_COMMIT_REF_NAME": "ref",
    "CI_COMMIT_REF_SLUG": "ref",
    "CI_PIPELINE_ID": "build.id",
    "CI_PIPELINE_IID": "build.number",
}
NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def outside(text: str, own: Mapping[str, str], matrix: frozenset[str]) -> str | None:
    """A text outside of scripts with its variables; None where one is not known."""
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        name = found[1] or found[2]
        if name in matrix:
            return f"{OPENING} matrix.{name} }}}}"
        if name in own and "$" not in own[name]:
            return own[name]
        if name in _OUTSIDE:
            return f"{OPENING} {_OUTSIDE[name]} }}}}"
        unknown = True
        return ""

    done = NAME.sub(value, text)
    return None if unknown else done
