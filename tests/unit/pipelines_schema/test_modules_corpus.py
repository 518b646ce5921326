"""Every file of tests/corpus/modules: good ones parse, bad ones say what their sidecar says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines_schema import Module, Workflow, parse_modules, parse_workflow
from pipelines_schema.compose import compose
from pipelines_schema.limits import MAX_PROBLEMS
from pipelines_schema.modules_schema import FILE_NAME, modules_schema, rendered
from pipelines_schema.problem import NotComposed, ProblemList
from pipelines_schema.read_modules import MODULE, MODULES_FILE, MODULES_WORDING, TARGET
from tests.unit.pipelines_schema.test_workflow_corpus import as_data, as_places, expected

CORPUS = Path(__file__).parents[2] / "corpus" / "modules"
PUBLISHED_SCHEMA = Path(__file__).parents[3] / "pipelines-schema" / FILE_NAME
VALID = sorted((CORPUS / "valid").glob("*.yml"))
INVALID = sorted((CORPUS / "invalid").glob("*.yml"))
SCHEMA = jsonschema.Draft202012Validator(modules_schema())


def workflow(name: str, *steps: str) -> Workflow:
    listed = "".join(f"  - {{name: {step}, image: base, run: 'true'}}\n" for step in steps)
    parsed = parse_workflow(f"name: {name}\nsteps:\n{listed}".encode(), "f")
    assert parsed.workflow is not None
    return parsed.workflow


SOUND: dict[str, Workflow | None] = {
    ".pushrod/ci.yml": workflow("ci", "lint", "test"),
    ".pushrod/release.yml": workflow("release", "compile", "bundle"),
    ".pushrod/twin-a.yml": workflow("twin", "a"),
    ".pushrod/twin-b.yml": workflow("twin", "b"),
}
WITH_A_BROKEN_ONE = SOUND | {".pushrod/broken.yml": None}


def is_folder(path: str) -> bool:
    return not path.startswith("missing")


def workflows_beside(file: Path) -> dict[str, Workflow | None]:
    return WITH_A_BROKEN_ONE if "with-mistakes-beside" in file.stem else SOUND


def composed(file: Path) -> Any:
    """The file's data, or None where it is not even a document."""
    problems = ProblemList(file.name)
    try:
        root = compose(file.read_bytes(), problems, wording=MODULES_WORDING).root
    except NotComposed:
        return None
    return None if problems else as_data(root)


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(VALID) >= 7
    assert len(INVALID) >= 25


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_valid_file_parses_survives_storage_and_fits_the_schema(file: Path) -> None:
    parsed = parse_modules(file.read_bytes(), file.name, workflows_beside(file), is_folder)
    assert [str(problem) for problem in parsed.problems] == []
    assert parsed.modules
    assert tuple(Module.from_json(one.to_json()) for one in parsed.modules) == parsed.modules
    SCHEMA.validate(composed(file))


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_lists_all_its_problems(file: Path) -> None:
    parsed = parse_modules(file.read_bytes(), file.name, workflows_beside(file), is_folder)
    assert parsed.modules == ()
    found = [f"{problem.line}:{problem.column} {problem.message}" for problem in parsed.problems]
    assert found == expected(file)[1]
    assert len(found) <= MAX_PROBLEMS + 1


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_the_schema_refuses_what_has_the_wrong_shape_and_nothing_else(file: Path) -> None:
    data = composed(file)
    is_refused, _ = expected(file)
    if data is None:
        assert not is_refused
    else:
        assert SCHEMA.is_valid(data) is not is_refused


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_no_message_speaks_of_the_parser_or_takes_the_file_for_a_workflow(file: Path) -> None:
    foreign = re.compile("while (scanning|parsing)|did not find|token|!!!|a workflow must|scripts")
    assert [line for line in expected(file)[1] if foreign.search(line)] == []


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_pyyaml_without_libyaml_reads_the_same(file: Path) -> None:
    fast, pure = (
        compose(file.read_bytes(), ProblemList(file.name), loader)
        for loader in (yaml.CSafeLoader, yaml.SafeLoader)
    )
    assert as_places(fast.root) == as_places(pure.root)


def test_the_published_schema_is_the_generated_one() -> None:
    assert PUBLISHED_SCHEMA.read_text(encoding="utf-8") == rendered(), (
        "run `python -m pipelines_schema.modules_schema`"
    )


def test_the_schema_is_one_of_draft_2020_12_and_has_the_parsers_keys() -> None:
    schema = modules_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    target = schema["$defs"]["target"]["anyOf"][1]
    assert tuple(schema["properties"]) == MODULES_FILE.known
    assert tuple(schema["$defs"]["module"]["properties"]) == MODULE.known
    assert tuple(target["properties"]) == TARGET.known
