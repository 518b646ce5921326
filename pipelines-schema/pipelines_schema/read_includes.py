"""The `include` of a workflow, and the files that it names, with every mistake noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines_schema.compose import FASTEST_LOADER, Wording, compose
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.includes import Include, Included, IncludedFile, PinnedInclude
from pipelines_schema.limits import (
    MAX_BRANCH_PATTERN_CHARACTERS,
    MAX_INCLUDED_BYTES,
    MAX_INCLUDES,
)
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described
from pipelines_schema.paths import BadPath, normalised_include
from pipelines_schema.problem import NotComposed, Place, ProblemList, shown

BROUGHT = ("env", "defaults", "templates")
"""What an included file may say."""
_WHERE = "an included file brings `templates`, `defaults` and `env`"
INCLUDED = Vocabulary(
    where="an included file",
    known=BROUGHT,
    has_extensions=True,
    synonyms={
        "steps": f"{_WHERE}: write a template here, and a step that uses it in the workflow",
        "on": f"{_WHERE}: write `on` in the workflow",
        "name": f"{_WHERE}: remove it",
        "include": f"{_WHERE}: include the other file in the workflow itself",
        "template": "write `templates`",
        "default": "write `defaults`",
    },
)
INCLUDE = Vocabulary(
    where="`include`",
    known=("project", "ref", "file"),
    synonyms={
        "local": "write the file's path alone, such as `- ci/common.yml`",
        "path": "write `file`",
        "repo": "write `project`, the name of a project of this account",
        "repository": "write `project`, the name of a project of this account",
        "remote": "only projects of this account can be included: copy the file into one",
        "url": "only projects of this account can be included: copy the file into one",
        "branch": "write `ref`",
        "tag": "write `ref`",
        "sha": "write `ref`",
        "commit": "write `ref`",
        "inputs": "write them in the `with` of the step that uses a template",
    },
)
_HINT = (
    "write paths of this repository, such as `ci/common.yml`, or `{project: shared-ci, ref: v1, "
    "file: python.yml}`"
)
_WORDING = Wording(
    whole="the included file",
    second="an included file is one document",
    inside_itself="a file can't contain itself",
)


@dataclass(slots=True)
class Brought:
    """What the included files say, in their order."""

    fields: dict[str, list[Field]] = field(default_factory=lambda: {key: [] for key in BROUGHT})
    pinned: list[PinnedInclude] = field(default_factory=list)
    is_whole: bool = True
    """False: what one of them says is not known."""


def read_include(reading: Reading, entry: Field | None) -> list[Include]:
    """The files that are named."""
    if entry is None:
        return []
    if isinstance(entry.value, MapNode) or reading.is_text(entry.value):
        items: tuple[Node, ...] = (entry.value,)
    else:
        node = reading.list(entry, _HINT)
        items = () if node is None else node.items
        if node is not None and not items:
            reading.add(entry.place, f"`include` is empty: {_HINT}, or remove it")
    if len(items) > MAX_INCLUDES:
        reading.add(
            entry.place,
            f"`include` names {len(items)} files: at most {MAX_INCLUDES} are allowed, so put some "
            "of them together",
        )
        return []
    found: dict[Include, None] = {}
    for item in items:
        one = _include(reading, entry, item)
        if one is not None and one in found:
            reading.add(item.place, f"{shown(str(one))} is included twice: remove one of them")
        elif one is not None:
            found[one] = None
    return list(found)


def _include(reading: Reading, entry: Field, item: Node) -> Include | None:
    if isinstance(item, MapNode):
        return _of_mapping(reading, item)
    if isinstance(item, ListNode):
        reading.add(item.place, f"an item of `include` must be a path or a mapping: {_HINT}")
        return None
    path = _path(reading, Field(entry.key, item))
    return None if path is None else Include(file=path, place=item.place)


def _of_mapping(reading: Reading, node: MapNode) -> Include | None:
    fields = reading.fields(node, INCLUDE)
    if "file" not in fields:
        reading.add(node.place, f"an item of `include` needs `file`: {_HINT}")
        return None
    path = _path(reading, fields["file"])
    project = _word(reading, fields.get("project"), "write its name, as in its address")
    ref = _word(reading, fields.get("ref"), "write a tag, a branch or a commit")
    if "ref" in fields and "project" not in fields:
        reading.add(
            fields["ref"].key.place,
            "`ref` is of another project: add `project`, or remove it, as files of this "
            "repository are taken at the same commit",
        )
        return None
    is_faulty = ("project" in fields and project is None) or ("ref" in fields and ref is None)
    if path is None or is_faulty:
        return None
    return Include(file=path, project=project, ref=ref, place=node.place)


def _word(reading: Reading, entry: Field | None, hint: str) -> str | None:
    if entry is None:
        return None
    text = reading.line_of_text(entry, hint, MAX_BRANCH_PATTERN_CHARACTERS)
    if text is not None and " " in text:
        reading.add(entry.place, f"{entry.label} must not hold spaces: {hint}")
        return None
    return text


def _path(reading: Reading, entry: Field) -> str | None:
    text = reading.text(entry, _HINT)
    if text is None or reading.refuse_expressions(entry.value, instead="write the path itself"):
        return None
    try:
        return normalised_include(text)
    except BadPath as error:
        reading.add(entry.place, f"the path {shown(text)} of `include` {error}")
        return None


def read_included(reading: Reading, wanted: Sequence[Include], included: Included) -> Brought:
    """What the files say. Raises TooManyProblems."""
    brought = Brought()
    size = 0
    for one in wanted:
        found = included.get(one, IncludedFile())
        place = one.place or Place(1, 1)
        size += len(found.content or b"")
        if size > MAX_INCLUDED_BYTES:
            most = f"{MAX_INCLUDED_BYTES >> 20} MiB"
            reading.add(place, f"with this file more than {most} are included: make it smaller")
            brought.is_whole = False
            return brought
        if found.fault is not None:
            reading.add(place, found.fault)
        fields = None if found.content is None else _fields(reading, one, found.content)
        if fields is None:
            brought.is_whole = False
            continue
        for key, value in fields.items():
            brought.fields[key].append(value)
        if one.project is not None and found.sha is not None:
            brought.pinned.append(
                PinnedInclude(project=one.project, ref=one.ref, file=one.file, sha=found.sha)
            )
    return brought


def _fields(reading: Reading, one: Include, content: bytes) -> dict[str, Field] | None:
    """None where it is no document of keys."""
    name = str(one)
    problems = ProblemList(name)
    try:
        document = compose(content, problems, FASTEST_LOADER, _WORDING, name)
    except NotComposed:
        return None
    finally:
        reading.problems.take(problems)
    reading.lines_of_file[name] = document.lines
    root = document.root
    if isinstance(root, MapNode):
        return reading.fields(root, INCLUDED)
    if root is None or (isinstance(root, ScalarNode) and root.kind is Kind.NULL):
        reading.add(Place(1, 1, file=name), f"the file is empty: {_WHERE}")
    elif not (isinstance(root, ScalarNode) and root.kind is Kind.BROKEN):
        said = f"an included file must be a mapping, this is {described(root)}"
        reading.add(root.place, f"{said}: {_WHERE}")
    return None
