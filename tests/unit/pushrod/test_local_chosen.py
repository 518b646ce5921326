from __future__ import annotations

import pytest

from pipelines_schema import Parsed, Workflow, parse_workflow
from pushrod.local.chosen import check_gates, choose_workflow, missing_secrets, only_chosen
from pushrod.local.errors import CannotRun

STEPS = """\
name: ci
on: {push: {}}
notify: [{on: [failed], email: [team@example.org]}]
steps:
  - {name: lint, image: debian, run: ruff}
  - name: unit
    image: debian
    run: pytest
    dependsOn: [lint]
    matrix: {python: ["3.11", "3.12"], os: [debian, alpine]}
  - {name: docs, image: debian, run: sphinx, secrets: [DOCS_KEY]}
  - {name: deploy, image: debian, run: ./deploy, dependsOn: [unit, docs]}
"""


def parsed(text: str = STEPS, path: str = ".pushrod.yml") -> Parsed:
    return parse_workflow(text.encode(), path)


def workflow() -> Workflow:
    found = parsed().workflow
    assert found is not None
    return found


def names(chosen: Workflow) -> list[str]:
    return [step.name for step in chosen.steps]


def named(name: str) -> str:
    return STEPS.replace("name: ci", f"name: {name}")


FILES = {
    ".pushrod/ci.yml": parsed(named("everything"), ".pushrod/ci.yml"),
    ".pushrod/nightly.yml": parsed(named("nightly"), ".pushrod/nightly.yml"),
}


@pytest.mark.parametrize("word", ["everything", "ci", "ci.yml", ".pushrod/ci.yml"])
def test_a_workflow_is_found_by_its_name_and_by_its_file(word: str) -> None:
    path, found = choose_workflow(FILES, word)
    assert (path, found.name) == (".pushrod/ci.yml", "everything")


def test_the_only_workflow_needs_no_word() -> None:
    path, _ = choose_workflow({".pushrod/ci.yml": parsed()}, None)
    assert path == ".pushrod/ci.yml"


def test_that_of_the_single_file_goes_before_those_of_the_folder() -> None:
    path, _ = choose_workflow({**FILES, ".pushrod.yml": parsed()}, None)
    assert path == ".pushrod.yml"


def test_of_several_one_must_be_named() -> None:
    with pytest.raises(CannotRun, match="name one of everything, nightly"):
        choose_workflow(FILES, None)


def test_an_unknown_workflow_is_answered_with_near_names() -> None:
    with pytest.raises(CannotRun, match="did you mean nightly"):
        choose_workflow(FILES, "nigthly")


def test_without_any_workflow_it_is_said_where_to_write_one() -> None:
    with pytest.raises(CannotRun, match=r"write one to \.pushrod\.yml"):
        choose_workflow({}, None)


def test_all_mistakes_are_told_with_their_places() -> None:
    broken = parsed("name: ci\non: {push: {}}\nsteps:\n  - {name: a, rnu: x}\n  - {name: a}\n")
    with pytest.raises(CannotRun) as caught:
        choose_workflow({".pushrod.yml": broken}, None)
    assert ".pushrod.yml:4:" in caught.value.message
    assert ".pushrod.yml:5:" in caught.value.message


def test_everything_is_run_unless_something_is_chosen() -> None:
    assert len(only_chosen(workflow(), [], {}).steps) == 7


def test_nobody_is_notified_of_a_run() -> None:
    assert only_chosen(workflow(), [], {}).notify == ()


def test_a_step_brings_what_it_depends_on() -> None:
    chosen = only_chosen(workflow(), ["unit (3.11, debian)"], {})
    assert names(chosen) == ["lint", "unit (3.11, debian)"]


def test_a_matrix_is_named_by_its_step() -> None:
    chosen = only_chosen(workflow(), ["unit"], {})
    assert len(names(chosen)) == 5


def test_values_of_a_matrix_leave_the_other_combinations_out() -> None:
    chosen = only_chosen(workflow(), [], {"python": "3.12", "os": "alpine"})
    assert names(chosen) == ["lint", "unit (3.12, alpine)", "docs", "deploy"]
    assert chosen.steps[3].depends_on == ("unit (3.12, alpine)", "docs")


@pytest.mark.parametrize(
    ("steps", "matrix", "said"),
    [
        (["unti"], {}, "did you mean unit"),
        ([], {"pyton": "3.12"}, "did you mean python"),
        ([], {"python": "3.13"}, "no 'python=3.13'"),
    ],
)
def test_what_is_unknown_is_answered_with_what_there_is(
    steps: list[str], matrix: dict[str, str], said: str
) -> None:
    with pytest.raises(CannotRun, match=said):
        only_chosen(workflow(), steps, matrix)


def test_only_a_gate_can_be_approved() -> None:
    gate = "  - {name: release, dependsOn: [unit], approve: {}}\n"
    found = parsed(STEPS + gate).workflow
    assert found is not None
    check_gates(found, ["release", "all"])
    with pytest.raises(CannotRun, match="did you mean release"):
        check_gates(found, ["relase"])
    with pytest.raises(CannotRun, match="no step asks for one"):
        check_gates(workflow(), ["release"])


def test_a_missing_secret_is_told_with_its_place_and_only_for_what_is_run() -> None:
    [line] = missing_secrets(only_chosen(workflow(), [], {}), {})
    assert line.startswith(".pushrod.yml:11:")
    assert "--secrets-file" in line
    assert missing_secrets(only_chosen(workflow(), ["unit"], {}), {}) == []
    assert missing_secrets(workflow(), {"DOCS_KEY": "x"}) == []
