"""The file of modules → `Module`s, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines_schema.compose import Wording
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import (
    MAX_MODULES,
    MAX_NAME_CHARACTERS,
    MAX_PATH_BYTES,
    MAX_TARGETS,
    MODULE_NAME,
)
from pipelines_schema.modules import WHOLE_REPOSITORY, Module, Target
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode, described
from pipelines_schema.paths import BadPath, normalised_module_path
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_workflow import name_by_file
from pipelines_schema.suggestions import closest
from pipelines_schema.workflow import Workflow

MODULES_WORDING = Wording(
    whole="the file",
    too_large="a module needs only its name, path and targets",
    too_many="a module needs only its name, path and targets",
    second="a repository's modules stand in one document, so move them below the first `modules`",
    inside_itself="a module can't contain itself",
)

_NO_WORKFLOW = "this file declares modules: move the workflow to another file of `.pushrod/`"
MODULES_FILE = Vocabulary(
    where="this file",
    known=("modules",),
    synonyms={
        **dict.fromkeys(("name", "on", "env", "steps", "jobs"), _NO_WORKFLOW),
        "version": "it has no version: remove it",
        "packages": "write `modules`",
        "projects": "write `modules`",
        "components": "write `modules`",
    },
)
MODULE = Vocabulary(
    where="a module",
    known=("path", "targets"),
    synonyms={
        "name": "the module's name is its key in `modules`: remove it",
        "dir": "write `path`",
        "directory": "write `path`",
        "folder": "write `path`",
        "root": "write `path`",
        "source": "write `path`",
        "workflow": "write `targets`, such as `{default: ci}`",
        "step": "write `targets`, such as `{default: {workflow: ci, step: test}}`",
        "build": "write `targets`, such as `{default: ci}`",
    },
)
TARGET = Vocabulary(
    where="a target",
    known=("workflow", "step"),
    synonyms={
        "steps": "name one `step`: what it depends on is built with it",
        "job": "write `step`",
        "file": "write `workflow`",
        "params": "whoever builds the module gives them",
    },
)
_MODULES_HINT = "write each module as `name: {path: …, targets: {default: …}}`"
_MODULE_HINT = "write `{path: libs/core, targets: {default: ci}}`"
_TARGETS_HINT = "write what it builds, such as `{default: ci}` with the name of a workflow"
_TARGET_HINT = "write the name of a workflow, or `{workflow: ci, step: test}`"


@dataclass(frozen=True, slots=True)
class KnownWorkflows:
    """The workflow files beside the file of modules; None stands for one with mistakes."""

    by_file: Mapping[str, Workflow | None]

    def find(self, reference: str) -> list[str]:
        """The files that a workflow's name, or its file, may mean.

        One with mistakes may have any name: it is taken to have its file's.
        """
        if reference in self.by_file:
            return [reference]
        named = [file for file, one in self.by_file.items() if one and one.name == reference]
        return named or [file for file in self.broken if name_by_file(file) == reference]

    @property
    def names(self) -> list[str]:
        names = (workflow.name for workflow in self.by_file.values() if workflow is not None)
        return list(dict.fromkeys(names))

    @property
    def broken(self) -> list[str]:
        return [file for file, workflow in self.by_file.items() if workflow is None]


@dataclass(frozen=True, slots=True)
class Repository:
    """What the file of modules speaks of."""

    workflows: KnownWorkflows
    is_folder: Callable[[str], bool]


def read_modules(reading: Reading, root: Node | None, repository: Repository) -> tuple[Module, ...]:
    """The modules of a file; worth something only if no problem was noted."""
    if root is None or (isinstance(root, ScalarNode) and root.kind is Kind.NULL):
        reading.add(Place(1, 1), f"the file is empty: it needs `modules`; {_MODULES_HINT}")
        return ()
    if not isinstance(root, MapNode):
        if not (isinstance(root, ScalarNode) and root.kind is Kind.BROKEN):
            reading.add(
                root.place,
                f"this file must be a mapping, it is {described(root)}: write `modules:` and "
                "below it a mapping",
            )
        return ()
    fields = reading.fields(root, MODULES_FILE)
    if "modules" not in fields:
        if not _is_misspelt("modules", root, MODULES_FILE):
            reading.add(root.place, f"`modules` is missing: {_MODULES_HINT}")
        return ()
    return _modules(reading, fields["modules"], repository)


def _is_misspelt(name: str, node: MapNode, vocabulary: Vocabulary) -> bool:
    """Whether a problem on another key tells of this one: it is not told again as missing."""
    return any(
        name in vocabulary.synonyms.get(key.text, "") or closest(key.text, [name]) is not None
        for key, _ in node.entries
        if key.text not in vocabulary.known
    )


def _modules(reading: Reading, entry: Field, repository: Repository) -> tuple[Module, ...]:
    modules = [
        _module(reading, Field(key, value), repository)
        for key, value in _entries(reading, entry, _MODULES_HINT, MAX_MODULES, "modules")
        if _is_name(reading, key, "module")
    ]
    return tuple(module for module in modules if module is not None)


def _entries(
    reading: Reading, entry: Field, hint: str, at_most: int, what: str
) -> Sequence[tuple[ScalarNode, Node]]:
    """The entries of a mapping, at least one and not too many."""
    node = reading.mapping(entry, hint)
    if node is None:
        return ()
    if not node.entries:
        reading.add(node.place, f"{entry.label} is empty: {hint}")
    if len(node.entries) > at_most:
        reading.add(
            node.place,
            f"{entry.label} has {len(node.entries):,} {what}: at most {at_most} are allowed",
        )
        return ()
    return node.entries


def _is_name(reading: Reading, key: ScalarNode, what: str) -> bool:
    if len(key.text) <= MAX_NAME_CHARACTERS and re.fullmatch(MODULE_NAME, key.text):
        return True
    reading.add(
        key.place,
        f"the {what}'s name {shown(key.text)} must begin with a letter, a digit or `_` and go on "
        f"with these, `.` or `-`, at most {MAX_NAME_CHARACTERS} characters",
    )
    return False


def _module(reading: Reading, entry: Field, repository: Repository) -> Module | None:
    node = reading.mapping(entry, _MODULE_HINT)
    if node is None:
        return None
    fields = reading.fields(node, MODULE)
    if "path" not in fields and not _is_misspelt("path", node, MODULE):
        reading.add(node.place, f"the module {entry.label} needs `path`: {_MODULE_HINT}")
    return Module(
        name=entry.name,
        path=_path(reading, fields["path"], repository) if "path" in fields else "",
        targets=(
            _targets(reading, fields["targets"], repository.workflows)
            if "targets" in fields
            else {}
        ),
    )


def _path(reading: Reading, entry: Field, repository: Repository) -> str:
    text = reading.line_of_text(
        entry, "write the module's folder, such as `libs/core`", MAX_PATH_BYTES
    )
    if text is None:
        return ""
    try:
        path = normalised_module_path(text)
    except BadPath as error:
        reading.add(entry.place, f"{shown(text)} {error}")
        return ""
    if path != WHOLE_REPOSITORY and not repository.is_folder(path):
        reading.add(
            entry.place,
            f"there is no folder {shown(text)} in the repository: write the module's own, relative "
            f"to the root, or `{WHOLE_REPOSITORY}` for all of it",
        )
    return path


def _targets(reading: Reading, entry: Field, workflows: KnownWorkflows) -> dict[str, Target]:
    targets = {
        key.text: _target(reading, Field(key, value), workflows)
        for key, value in _entries(reading, entry, _TARGETS_HINT, MAX_TARGETS, "targets")
        if _is_name(reading, key, "target")
    }
    return {name: target for name, target in targets.items() if target is not None}


def _target(reading: Reading, entry: Field, workflows: KnownWorkflows) -> Target | None:
    """`name: workflow`, or a mapping that names a step besides."""
    if not isinstance(entry.value, MapNode):
        if isinstance(entry.value, ScalarNode) and not entry.is_null:
            file = _workflow(reading, entry, workflows)
            return None if file is None else Target(workflow=file)
        reading.mapping(entry, _TARGET_HINT)
        return None
    fields = reading.fields(entry.value, TARGET)
    if "workflow" not in fields:
        reading.add(entry.place, f"the target {entry.label} needs `workflow`: {_TARGET_HINT}")
        return None
    file = _workflow(reading, fields["workflow"], workflows)
    step = None
    if "step" in fields:
        workflow = workflows.by_file.get(file) if file is not None else None
        step = _step(reading, fields["step"], workflow)
    return None if file is None else Target(workflow=file, step=step)


def _workflow(reading: Reading, entry: Field, workflows: KnownWorkflows) -> str | None:
    """The file of the workflow named."""
    reference = reading.line_of_text(entry, "write the name of a workflow", MAX_PATH_BYTES)
    if reference is None:
        return None
    files = workflows.find(reference)
    if len(files) == 1:
        return files[0]
    if files:
        listed = " and ".join(map(shown, files[:5]))
        reading.add(
            entry.place,
            f"several workflows are named {shown(reference)}: write the file, one of {listed}",
        )
    else:
        reading.add(entry.place, _unknown_workflow(reference, workflows))
    return None


def _unknown_workflow(reference: str, workflows: KnownWorkflows) -> str:
    near = closest(reference, [*workflows.names, *workflows.by_file])
    if near is not None:
        return f"there is no workflow {shown(reference)}: did you mean {shown(near)}?"
    if not workflows.by_file:
        return (
            f"there is no workflow {shown(reference)}: the repository has none; write it to "
            ".pushrod/ci.yml"
        )
    if workflows.broken:
        listed = ", ".join(map(shown, workflows.broken[:10]))
        return (
            f"there is no workflow {shown(reference)}, unless it is one that has mistakes: mend "
            f"{listed} first, or write the file"
        )
    listed = ", ".join(map(shown, workflows.names[:10]))
    return f"there is no workflow {shown(reference)}: the repository has {listed}"


def _step(reading: Reading, entry: Field, workflow: Workflow | None) -> str | None:
    name = reading.line_of_text(entry, "write the name of a step", MAX_NAME_CHARACTERS)
    if name is None or workflow is None:
        return name
    names = [step.name for step in workflow.steps]
    if name in names:
        return name
    near = closest(name, names)
    if near is not None:
        hint = f"did you mean {shown(near)}?"
    else:
        hint = "its steps are " + ", ".join(map(shown, names[:10]))
        hint += ", …" if len(names) > 10 else ""
    reading.add(
        entry.place, f"the workflow {shown(workflow.name)} has no step {shown(name)}: {hint}"
    )
    return None
