"""Woodpecker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines_schema.nodes import ListNode, MapNode, ScalarNode
from pushrod.importing.draft import Value, WorkflowDraft
from pushrod.importing.formats.containers.chain import Chain, Dialect
from pushrod.importing.formats.containers.filters import triggers
from pushrod.importing.ledger import Keys
from pushrod.importing.sources import Choices, ReadFile, Source

_EVENT = "${PUSHROD_EVENT/pullRequest/pull_request}"
_DIALECT = Dialect(
    variables={
        "CI_COMMIT_SHA": "$PUSHROD_COMMIT",
        "CI_COMMIT_REF": "$PUSHROD_REF",
        "CI_COMMIT_BRANCH": "$PUSHROD_BRANCH",
        "CI_COMMIT_SOURCE_BRANCH": "$PUSHROD_BRANCH",
        "CI_COMMIT_TARGET_BRANCH": "$PUSHROD_PULL_REQUEST_BASE",
        "CI_COMMIT_TAG": "$PUSHROD_TAG",
        "CI_COMMIT_MESSAGE": "$PUSHROD_COMMIT_MESSAGE",
        "CI_COMMIT_AUTHOR": "$PUSHROD_COMMIT_AUTHOR",
        "CI_COMMIT_PULL_REQUEST": "$PUSHROD_PULL_REQUEST",
        "CI_PIPELINE_NUMBER": "$PUSHROD_BUILD_NUMBER",
        "CI_PIPELINE_EVENT": _EVENT,
        "CI_PIPELINE_URL": "$PUSHROD_BUILD_URL",
        "CI_BUILD_NUMBER": "$PUSHROD_BUILD_NUMBER",
        "CI_BUILD_EVENT": _EVENT,
        "CI_STEP_NAME": "$PUSHROD_STEP_NAME",
        "CI_WORKFLOW_NAME": "$PUSHROD_WORKFLOW",
        "CI_WORKSPACE": "$PUSHROD_WORKSPACE",
        "CI_REPO": "$PUSHROD_ACCOUNT/$PUSHROD_PROJECT",
        "CI_REPO_NAME": "$PUSHROD_PROJECT",
        "CI_REPO_OWNER": "$PUSHROD_ACCOUNT",
    },
    theirs=re.compile(r"\bCI_[A-Z][A-Z0-9_]*\b"),
    outside={
        "CI_COMMIT_SHA": "sha",
        "CI_COMMIT_TAG": "tag",
        "CI_COMMIT_BRANCH": "branch",
        "CI_PIPELINE_NUMBER": "build.number",
        "CI_BUILD_NUMBER": "build.number",
    },
    workspace="/woodpecker",
)
_ALL_COMBINATIONS = (
    "each combination was a pipeline of its own: a step waits for all combinations of those before"
)


@dataclass(frozen=True, slots=True)
class Woodpecker:
    name: str = "woodpecker"
    title: str = "Woodpecker"
    has_history: bool = False
    patterns: Sequence[str] = (
        *(".woodpecker.yml", ".woodpecker.yaml"),
        *(".woodpecker/*.yml", ".woodpecker/*.yaml"),
    )

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        return [_workflow(source, source.documents[0], choices) for source in sources]


def _workflow(source: Source, document: MapNode, choices: Choices) -> WorkflowDraft:
    name = source.name if source.name not in ("", "woodpecker") else "ci"
    draft = WorkflowDraft(name=name, ledger=source.ledger, place=document.place, skips_alone=True)
    keys = source.ledger.open(document, draft.notes)
    keys.take("version")
    keys.items(
        "variables", ScalarNode, ListNode
    )  # anchors, which are written out where they are used
    draft.after = keys.texts("depends_on")
    chain = Chain(draft=draft, dialect=_DIALECT, image=choices.image)
    chain.matrix = _matrix(keys)
    chain.names = _names(chain.matrix)
    chain.when = triggers(keys, "when", draft)
    chain.agents = keys.variables("labels")
    if "labels" in keys:
        keys.changed("labels", "start an agent with these labels, `--label NAME=VALUE`")
    if platform := keys.text("platform"):
        keys.changed("platform", "start an agent with the label `platform`")
        chain.agents["platform"] = platform
    if set(keys.texts("runs_on")) & {"failure"}:
        keys.left("runs_on", "give the steps `runOn`")
    chain.git = _clone(keys)
    if keys.boolean("skip_clone"):
        keys.changed("skip_clone", "the files are there all the same, without `.git`")
        chain.git = False
    keys.changed("workspace", "a step's folder is /workspace")
    chain.read_services(keys)
    for steps in ("steps", "pipeline"):
        if steps in keys:
            chain.read_steps(keys, steps)
    if chain.matrix and any(step.depends_on for step in draft.steps):
        keys.changed("matrix", _ALL_COMBINATIONS)
    return draft


def _matrix(keys: Keys) -> dict[str, Value]:
    matrix = keys.map("matrix")
    if matrix is None:
        return {}
    if "include" in matrix:
        found: list[Value] = []
        for item in matrix.items("include"):
            if isinstance(item, MapNode):
                one = keys.ledger.open(item, keys.notes)
                found.append({name: one.text(name) or "" for name in one.names})
        return {"include": found}
    return {name: list(matrix.texts(name)) for name in matrix.names}


def _names(matrix: dict[str, Value]) -> frozenset[str]:
    entries = matrix.get("include")
    if isinstance(entries, list):
        return frozenset(name for one in entries if isinstance(one, dict) for name in one)
    return frozenset(matrix)


def _clone(keys: Keys) -> Value | None:
    if "clone" not in keys:
        return None
    inner = keys.map("clone") if isinstance(keys.peek("clone"), MapNode) else None
    git = None if inner is None else inner.map("git")
    if git is None:
        keys.left("clone", "a step has its commit's files; `git` says how much history")
        return None
    git.take("image")
    settings = git.map("settings")
    if settings is None:
        return None
    depth = settings.text("depth")
    partial = settings.boolean("partial")
    tags = settings.boolean("tags")
    for name in ("recursive", "lfs"):
        settings.take(name)
    if depth == "0" or (tags and depth is None) or (partial is False and depth is None):
        return "full"
    if depth is not None and depth.isdigit() and int(depth) > 1:
        return {"depth": int(depth), **({"tags": True} if tags else {})}
    return None
