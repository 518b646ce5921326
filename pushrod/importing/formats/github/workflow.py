"""A GitHub workflow as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines_schema.nodes import MapNode
from pushrod.importing.draft import StepDraft, WorkflowDraft
from pushrod.importing.formats.github.job import Job
from pushrod.importing.formats.github.jobs import read_defaults, read_jobs
from pushrod.importing.formats.github.meaning import Scope
from pushrod.importing.formats.github.triggers import read_triggers
from pushrod.importing.ledger import Keys
from pushrod.importing.node_texts import truth
from pushrod.importing.sources import Choices, ReadFile, Source


@dataclass(frozen=True, slots=True)
class GitHub:
    name: str = "github"
    title: str = "GitHub Actions"
    has_history: bool = False
    patterns: Sequence[str] = (".github/workflows/*.yml", ".github/workflows/*.yaml")

    def drafts(
        self, sources: Sequence[Source], choices: Choices, read: ReadFile
    ) -> list[WorkflowDraft]:
        return [
            _workflow(source, document, choices)
            for source in sources
            for document in source.documents[:1]
        ]


def _workflow(source: Source, document: MapNode, choices: Choices) -> WorkflowDraft:
    draft = WorkflowDraft(name=source.name, ledger=source.ledger, place=document.place)
    keys = source.ledger.open(document, draft.notes)
    name = keys.text("name")
    if name and "${{" not in name:
        draft.name = name
    keys.changed("run-name", "builds have a number, and their commit's message")
    inputs = read_triggers(keys, draft)
    keys.changed("permissions", "pushrod makes no token for a forge: log in by secrets")
    outer = Job(StepDraft(name="", place=document.place), keys, Scope(choices=inputs))
    written = keys.variables("env")
    draft.env = {key: text for key, text in written.items() if "${{" not in text}
    later = {key: text for key, text in written.items() if "${{" in text}
    _concurrency(keys, outer, draft)
    defaults = read_defaults(keys.map("defaults"), (None, None))
    read_jobs(keys, draft, choices, inputs, later, defaults)
    return draft


def _concurrency(keys: Keys, outer: Job, draft: WorkflowDraft) -> None:
    if isinstance(keys.peek("concurrency"), MapNode):
        inner = keys.map("concurrency")
        if inner is None:
            return
        group = inner.text("group") or ""
        node = inner.peek("cancel-in-progress")
        cancel = None if node is None else truth(node)
        inner.take("cancel-in-progress")
        if node is not None and cancel is None:
            inner.changed("cancel-in-progress", "it is no longer asked of each build: always")
            cancel = True
        draft.concurrency = {"group": _group(group, outer)}
        if cancel:
            draft.concurrency = {"group": _group(group, outer), "cancelRunning": True}
    elif group := keys.text("concurrency") or "":
        draft.concurrency = {"group": _group(group, outer)}


def _group(text: str, outer: Job) -> str:
    """The workflow's own name is the group's anyway, and a pull request's ref is its own."""
    plain = text.replace("${{ github.workflow }}", outer.keys.text("name") or "ci")
    # `a || b` mostly tells pull requests from pushes, as `ref` does.
    plain = re.sub(r"\$\{\{[^}]*\|\|[^}]*\}\}", "${{ github.ref }}", plain)
    return outer.outside(plain) or "imported"
