"""Other systems' pipelines → workflows: pure, but for the files of the repository that they name.

Each file is read into nodes (`document`), whose keys are taken one by one with an account kept of
each (`ledger`); a format's module makes drafts of them (`draft`); what is written of a draft
(`writer`) is what the language accepts (`checked`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines_schema.limits import MAX_STEPS
from pipelines_schema.problem import Problem
from pushrod.importing.checked import accepted
from pushrod.importing.combined import combined
from pushrod.importing.document import Unreadable, documents
from pushrod.importing.draft import WorkflowDraft, free_name
from pushrod.importing.formats import FORMATS
from pushrod.importing.ledger import Finding, Ledger, Verdict, order_of
from pushrod.importing.remarks import add_remarks, choose_shells
from pushrod.importing.skips import keep_what_follows
from pushrod.importing.sources import Choices, Format, ReadFile, Source

__all__ = ["FORMATS", "Choices", "Format", "Imported", "ReadFile", "Report", "Unreadable"]

SINGLE_FILE = ".pushrod.yml"
FOLDER = ".pushrod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the keys of one source file."""

    file: str
    carried: int
    changed: int
    left: int
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    workflows: Mapping[str, str]
    """The text of each, by the path where it belongs."""
    reports: Sequence[Report]
    secrets: Sequence[str]
    """Those that are to be set for the project."""

    @property
    def is_whole(self) -> bool:
        return not any(report.left for report in self.reports)


def imported(
    form: Format, files: Mapping[str, bytes], choices: Choices, read: ReadFile
) -> Imported:
    """The workflows of a format's files, by their paths from the root. Raises Unreadable."""
    sources = [_source(path, content) for path, content in files.items()]
    return imported_sources(form, sources, choices, read)


def imported_sources(
    form: Format, sources: Sequence[Source], choices: Choices, read: ReadFile
) -> Imported:
    """The same of files that are read already. Raises Unreadable."""
    found = form.drafts(sources, choices, read)
    for draft in found:
        _refuse_too_many(draft)
    drafts = combined(found)
    for draft in drafts:
        keep_what_follows(draft)
        add_remarks(draft, form.has_history)
        choose_shells(draft)
    for source in sources:
        own = [one for one in drafts if source.ledger in (one.ledger, *one.further)]
        notes = own[0].notes if own else []
        for document in (*source.documents, *source.ledger.included):
            source.ledger.sweep(document, notes)
    paths = _paths(drafts)
    workflows = {
        path: accepted(draft, path, choices.image).text
        for path, draft in zip(paths, drafts, strict=True)
    }
    secrets = {name for draft in drafts for step in draft.steps for name in step.secrets}
    reports = [_report(one.ledger) for one in sources]
    return Imported(workflows=workflows, reports=reports, secrets=sorted(secrets))


def _refuse_too_many(draft: WorkflowDraft) -> None:
    """Raises Unreadable; what follows looks at each pair of steps."""
    if len(draft.steps) > MAX_STEPS:
        place = draft.steps[MAX_STEPS].place
        message = f"it would have more than {MAX_STEPS} steps: split it"
        file = place.file or draft.ledger.file
        raise Unreadable(Problem(file=file, line=place.line, column=place.column, message=message))


def _source(path: str, content: bytes) -> Source:
    name = PurePosixPath(path).name.split(".")[0] or PurePosixPath(path).stem.lstrip(".")
    return Source(ledger=Ledger(path), documents=documents(content, path), name=name)


def _paths(drafts: Sequence[WorkflowDraft]) -> list[str]:
    if len(drafts) == 1:
        return [SINGLE_FILE]
    names: list[str] = []
    seen: set[str] = set()
    for draft in drafts:
        slug = re.sub(r"[^a-z0-9_.-]+", "-", draft.name.lower()).strip("-.") or "workflow"
        name = free_name("modules-ci" if slug == "modules" else slug[:60], seen).replace(" ", "-")
        seen.add(name)
        names.append(f"{FOLDER}/{name}.yml")
    return names


def _report(ledger: Ledger) -> Report:
    findings = sorted(ledger.findings, key=lambda one: order_of(one.place))
    return Report(
        file=ledger.file,
        carried=ledger.count(Verdict.CARRIED),
        changed=ledger.count(Verdict.CHANGED),
        left=ledger.count(Verdict.LEFT),
        findings=findings,
    )
