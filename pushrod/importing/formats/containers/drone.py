"""Drone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines_schema.nodes import MapNode
from pushrod.importing.draft import Value, WorkflowDraft
from pushrod.importing.formats.containers.chain import Chain, Dialect
from pushrod.importing.formats.containers.filters import triggers
from pushrod.importing.ledger import Keys
from pushrod.importing.node_texts import text_of
from pushrod.importing.sources import Choices, ReadFile, Source

_EVENT = "${PUSHROD_EVENT/pullRequest/pull_request}"
_DIALECT = Dialect(
    variables={
        "DRONE_COMMIT": "$PUSHROD_COMMIT",
        "DRONE_COMMIT_SHA": "$PUSHROD_COMMIT",
        "DRONE_COMMIT_REF": "$PUSHROD_REF",
        "DRONE_COMMIT_BRANCH": "$PUSHROD_BRANCH",
        "DRONE_BRANCH": "$PUSHROD_BRANCH",
        "DRONE_COMMIT_MESSAGE": "$PUSHROD_COMMIT_MESSAGE",
        "DRONE_COMMIT_AUTHOR": "$PUSHROD_COMMIT_AUTHOR",
        "DRONE_TAG": "$PUSHROD_TAG",
        "DRONE_SOURCE_BRANCH": "$PUSHROD_BRANCH",
        "DRONE_TARGET_BRANCH": "$PUSHROD_PULL_REQUEST_BASE",
        "DRONE_PULL_REQUEST": "$PUSHROD_PULL_REQUEST",
        "DRONE_BUILD_NUMBER": "$PUSHROD_BUILD_NUMBER",
        "DRONE_BUILD_LINK": "$PUSHROD_BUILD_URL",
        "DRONE_BUILD_EVENT": _EVENT,
        "DRONE_STEP_NAME": "$PUSHROD_STEP_NAME",
        "DRONE_REPO": "$PUSHROD_ACCOUNT/$PUSHROD_PROJECT",
        "DRONE_REPO_NAME": "$PUSHROD_PROJECT",
        "DRONE_REPO_OWNER": "$PUSHROD_ACCOUNT",
        "DRONE_WORKSPACE": "$PUSHROD_WORKSPACE",
        "DRONE": "true",
    },
    theirs=re.compile(r"\bDRONE_[A-Z][A-Z0-9_]*\b"),
    outside={
        "DRONE_COMMIT": "sha",
        "DRONE_COMMIT_SHA": "sha",
        "DRONE_TAG": "tag",
        "DRONE_BRANCH": "branch",
        "DRONE_COMMIT_BRANCH": "branch",
        "DRONE_BUILD_NUMBER": "build.number",
    },
    workspace="/drone/src",
)


@dataclass(frozen=True, slots=True)
class Drone:
    name: str = "drone"
    title: str = "Drone"
    has_history: bool = True
    patterns: Sequence[str] = (".drone.yml", ".drone.yaml")

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        drafts: list[WorkflowDraft] = []
        for source in sources:
            others: list[MapNode] = []
            for document in source.documents:
                kind = next((v for k, v in document.entries if k.text == "kind"), None)
                if text_of(kind) in (None, "pipeline"):
                    drafts.append(_pipeline(source, document, choices))
                else:
                    others.append(document)
            if not drafts:
                nothing = source.documents[0].place
                drafts.append(WorkflowDraft(name="ci", ledger=source.ledger, place=nothing))
            for document in others:
                _other(source.ledger.open(document, drafts[0].notes))
        return drafts


def _other(keys: Keys) -> None:
    """A secret, a signature, a template: nothing that runs."""
    kind = keys.text("kind")
    why = {
        "secret": "secrets are set by `pushrod secret set`",
        "signature": "what a project trusts is said in pushrod",
    }.get(kind or "", f"there is nothing like a `{kind}`")
    for name in keys.names:
        keys.left(name, why)


def _pipeline(source: Source, document: MapNode, choices: Choices) -> WorkflowDraft:
    draft = WorkflowDraft(name="ci", ledger=source.ledger, place=document.place, skips_alone=True)
    keys = source.ledger.open(document, draft.notes)
    keys.take("kind")
    draft.name = keys.text("name") or "default"
    draft.after = keys.texts("depends_on")
    chain = Chain(draft=draft, dialect=_DIALECT, image=choices.image)
    kind = keys.text("type")
    if kind not in (None, "docker", "kubernetes"):
        keys.changed("type", "steps run in containers here, or on an agent's own host engine")
    chain.when = triggers(keys, "trigger", draft)
    chain.git = _clone(keys)
    chain.agents = _platform(keys)
    draft.env = _environment(keys, draft)
    limit = keys.map("concurrency")
    if limit is not None and limit.text("limit") == "1":
        draft.concurrency = {"group": draft.name}
    elif limit is not None:
        limit.left("limit", "a workflow's `concurrency` is of one; steps have a `limit`")
    for name in ("workspace", "volumes", "image_pull_secrets"):
        keys.changed(name, "a step's folder is /workspace, and images are pulled by `registry`")
    chain.read_services(keys)
    chain.read_steps(keys, "steps")
    return draft


def _environment(keys: Keys, draft: WorkflowDraft) -> dict[str, str]:
    found = keys.variables("environment")
    for name, text in found.items():
        if "$" in text:
            keys.left("environment", f"`{name}` holds a variable: set it in the scripts")
    return {name: text for name, text in found.items() if "$" not in text}


def _clone(keys: Keys) -> Value | None:
    clone = keys.map("clone")
    if clone is None:
        return None
    if clone.boolean("disable"):
        clone.changed("disable", "the files are there all the same, without `.git`")
        return False
    depth = clone.number("depth")
    for name in ("retries", "trace", "skip_verify"):
        clone.take(name)
    return {"depth": depth} if depth and depth > 1 else None


def _platform(keys: Keys) -> dict[str, str]:
    """Agents have such labels where their operator gives them."""
    agents: dict[str, str] = {}
    platform = keys.map("platform")
    if platform is not None:
        arch = platform.text("arch")
        if arch not in (None, "amd64"):
            agents["arch"] = arch or ""
            platform.changed("arch", "start an agent with this label")
        if platform.text("os") not in (None, "linux"):
            platform.left("os", "steps run in Linux containers")
        platform.left("version", "steps run in Linux containers")
    agents |= keys.variables("node")
    if "node" in keys:
        keys.changed("node", "start an agent with these labels, `--label NAME=VALUE`")
    return agents
