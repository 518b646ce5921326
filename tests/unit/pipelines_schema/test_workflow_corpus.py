"""Every file of tests/corpus: good ones parse, bad ones say what their sidecar says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines_schema.compose import compose
from pipelines_schema.includes import Include, IncludedFile
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, integer
from pipelines_schema.parse import Parsed, parse_workflow
from pipelines_schema.problem import NotComposed, Problem, ProblemList
from pipelines_schema.schema import FILE_NAME, rendered, workflow_schema
from pipelines_schema.workflow import Workflow

CORPUS = Path(__file__).parents[2] / "corpus"
PUBLISHED_SCHEMA = Path(__file__).parents[3] / "pipelines-schema" / FILE_NAME
MEANT_BEFORE = CORPUS / "meant-before.sha256"
VALID = sorted((CORPUS / "valid").glob("*.yml"))
INVALID = sorted((CORPUS / "invalid").glob("*.yml"))
INCLUDED = sorted((CORPUS / "included").rglob("*.yml"))
REFUSED_BY_SCHEMA = "# the schema refuses it"
"""First line of the sidecars of files whose very shape is wrong."""
SCHEMA = jsonschema.Draft202012Validator(workflow_schema())
DEFS = workflow_schema()["$defs"]


def as_data(node: Node | None) -> Any:
    """A document as an editor's validator sees it."""
    match node:
        case None:
            return None
        case MapNode():
            return {key.text: as_data(value) for key, value in node.entries}
        case ListNode():
            return [as_data(item) for item in node.items]
    match node.kind:
        case Kind.NULL:
            return None
        case Kind.BOOLEAN:
            return node.text.lower() == "true"
        case Kind.INTEGER:
            value = integer(node)
            return 10**40 if value is None else value
        case Kind.FLOAT:
            return float(node.text.replace(".nan", "nan"))
        case _:
            return node.text


def parsed(file: Path, name: str) -> Parsed:
    """As the coordinator reads it: what it includes lies in tests/corpus/included."""
    first = parse_workflow(file.read_bytes(), name)
    if not first.includes:
        return first
    included = {one: included_file(one) for one in first.includes}
    return parse_workflow(file.read_bytes(), name, included=included)


def included_file(one: Include) -> IncludedFile:
    path = CORPUS / "included" / (one.project or "") / one.file
    if not path.is_file():
        return IncludedFile(fault=one.not_there)
    sha = None if one.project is None else "9" * 40
    return IncludedFile(content=path.read_bytes(), sha=sha)


def line_of(problem: Problem) -> str:
    """As in the sidecars, which name only the included files."""
    where = f"{problem.line}:{problem.column} {problem.message}"
    is_included = problem.file is not None and not (CORPUS / "invalid" / problem.file).exists()
    return f"{problem.file}:{where}" if is_included else where


def composed(file: Path) -> Any:
    """The file's data, or None where it is not even a document."""
    problems = ProblemList(file.name)
    try:
        root = compose(file.read_bytes(), problems).root
    except NotComposed:
        return None
    return None if problems else as_data(root)


def expected(file: Path) -> tuple[bool, list[str]]:
    lines = file.with_suffix(".problems").read_text(encoding="utf-8").split("\n")[:-1]
    is_refused = lines[0] == REFUSED_BY_SCHEMA
    return is_refused, lines[1:] if is_refused else lines


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(VALID) >= 80
    assert len(INVALID) >= 170


def keys_of(schema: Any) -> set[str]:
    """All keys that a workflow may have, at any place."""
    if isinstance(schema, list):
        return set().union(*map(keys_of, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())).union(*map(keys_of, schema.values()))


@pytest.mark.parametrize("key", sorted(keys_of(workflow_schema())))
def test_each_key_is_in_a_good_file_and_in_a_bad_one(key: str) -> None:
    written = re.compile(rf'(?<![\w-])"?{re.escape(key)}"?\s*:'.encode())
    for files in (VALID, INVALID):
        assert any(written.search(file.read_bytes()) for file in files)


def meant_before() -> list[list[str]]:
    """What each good file meant to the last release without `defaults`, `templates` and all that
    came with them: a digest of the workflow's JSON, and the file. Nothing in them is to mean
    anything else, but for `include` of a matrix."""
    return [line.split("  ") for line in MEANT_BEFORE.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("digest", "name"), meant_before(), ids=lambda text: text[:40])
def test_old_workflows_mean_what_they_meant(digest: str, name: str) -> None:
    was_called = name.replace("-of-before", "")
    read = parsed(CORPUS / "valid" / name, f".pushrod/{was_called}")
    assert read.workflow is not None
    text = json.dumps(
        read.workflow.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hashlib.sha256(text.encode()).hexdigest() == digest, text


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_valid_file_parses_and_survives_storage(file: Path) -> None:
    read = parsed(file, f".pushrod/{file.name}")
    assert [str(problem) for problem in read.problems] == []
    assert read.workflow is not None
    assert Workflow.from_json(read.workflow.to_json()) == read.workflow


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_valid_file_fits_the_schema(file: Path) -> None:
    SCHEMA.validate(composed(file))


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_lists_all_its_problems(file: Path) -> None:
    read = parsed(file, file.name)
    assert read.workflow is None
    assert [line_of(problem) for problem in read.problems] == expected(file)[1]


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_the_schema_refuses_what_has_the_wrong_shape_and_nothing_else(file: Path) -> None:
    data = composed(file)
    is_refused, _ = expected(file)
    if data is None:
        assert not is_refused
    else:
        assert SCHEMA.is_valid(data) is not is_refused


@pytest.mark.parametrize("file", INCLUDED, ids=lambda file: file.stem)
def test_an_included_file_fits_its_own_schema_unless_it_is_a_bad_one(file: Path) -> None:
    is_good = not file.name.startswith("bad-")
    data = composed(file)
    schema = SCHEMA.evolve(schema={**workflow_schema()["$defs"]["included"], "$defs": DEFS})
    assert (data is not None and schema.is_valid(data)) is is_good


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_no_message_shows_the_parsers_own_words(file: Path) -> None:
    foreign = re.compile("while (scanning|parsing)|did not find|could not|token|!!!")
    assert [line for line in expected(file)[1] if foreign.search(line)] == []


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_pyyaml_without_libyaml_reads_the_same(file: Path) -> None:
    fast, pure = (
        compose(file.read_bytes(), ProblemList(file.name), loader)
        for loader in (yaml.CSafeLoader, yaml.SafeLoader)
    )
    assert as_places(fast.root) == as_places(pure.root)


def as_places(node: Node | None) -> Any:
    """Text, kind and place of everything in a document."""
    match node:
        case None:
            return None
        case MapNode():
            return node.place, [(as_places(key), as_places(value)) for key, value in node.entries]
        case ListNode():
            return node.place, [as_places(item) for item in node.items]
        case _:
            return node.place, node.kind, node.text


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_pyyaml_without_libyaml_finds_the_same_syntax_errors(file: Path) -> None:
    fast, pure = (problems_of(file, loader) for loader in (yaml.CSafeLoader, yaml.SafeLoader))
    assert [(p.line, p.message) for p in fast] == [(p.line, p.message) for p in pure]


def problems_of(file: Path, loader: Any) -> Any:
    problems = ProblemList(file.name)
    with contextlib.suppress(NotComposed):
        compose(file.read_bytes(), problems, loader)
    return problems.in_order()


def test_the_published_schema_is_the_generated_one() -> None:
    assert PUBLISHED_SCHEMA.read_text(encoding="utf-8") == rendered(), (
        "run `python -m pipelines_schema.schema`"
    )


def test_the_schema_is_one_of_draft_2020_12_and_describes_each_key() -> None:
    jsonschema.Draft202012Validator.check_schema(workflow_schema())
    step = workflow_schema()["$defs"]["step"]["properties"]
    described = {
        name
        for name, schema in step.items()
        if "description" in schema
        or "description" in workflow_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    }
    assert described == set(step)
