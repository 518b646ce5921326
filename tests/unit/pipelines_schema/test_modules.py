"""What a module's target builds, and that no bytes break the reader of modules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import parse_modules, parse_workflow, steps_for
from pipelines_schema.workflow import Workflow
from tests.unit.pipelines_schema.test_modules_corpus import INVALID, SOUND, VALID, is_folder

DIAMOND = """
steps:
  - {name: prepare, image: base, run: 'true'}
  - {name: lint, image: base, run: 'true'}
  - {name: test, image: base, run: 'true', dependsOn: prepare, matrix: {python: [a, b]}}
  - {name: bundle, image: base, run: 'true', dependsOn: test}
  - {name: publish, image: base, run: 'true', dependsOn: [bundle, lint]}
"""
CORPUS = [file.read_bytes() for file in [*VALID, *INVALID] if file.stat().st_size < 5000]


def diamond() -> Workflow:
    parsed = parse_workflow(DIAMOND.encode(), "ci.yml")
    assert parsed.workflow is not None
    return parsed.workflow


@pytest.mark.parametrize(
    ("step", "built"),
    [
        (None, ["prepare", "lint", "test", "bundle", "publish"]),
        ("prepare", ["prepare"]),
        ("bundle", ["prepare", "test", "bundle"]),
        ("publish", ["prepare", "lint", "test", "bundle", "publish"]),
    ],
)
def test_a_step_is_built_with_all_it_depends_on_and_nothing_else(
    step: str | None, built: list[str]
) -> None:
    assert [one.name for one in steps_for(diamond(), step).steps] == built


def test_a_step_that_there_is_not_can_not_be_built() -> None:
    with pytest.raises(KeyError):
        steps_for(diamond(), "deploy")


def test_a_target_is_kept_by_the_workflows_file_whichever_way_it_was_named() -> None:
    content = b"modules: {a: {path: ./a/, targets: {x: ci, y: .pushrod/ci.yml}}}"
    [module] = parse_modules(content, "f", SOUND, is_folder).modules
    assert {target.workflow for target in module.targets.values()} == {".pushrod/ci.yml"}
    assert module.path == "a"


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A file of the corpus with a piece cut out, doubled or replaced."""
    content = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 20)))
        piece = draw(st.sampled_from([b"", content[start:end] * 2, b"*a", b"\n", b": ", b"\xff"]))
        content = content[:start] + piece + content[end:]
    return content


@settings(max_examples=300, deadline=None)
@given(st.one_of(mangled(), st.binary(max_size=200)))
def test_any_bytes_are_either_modules_or_problems_with_a_place(content: bytes) -> None:
    parsed = parse_modules(content, "modules.yml", SOUND, is_folder)
    assert bool(parsed.modules) is not bool(parsed.problems)
    for problem in parsed.problems:
        assert problem.file == "modules.yml"
        assert problem.line is not None
        assert problem.line > 0
        assert problem.column is not None
        assert problem.column > 0
