from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import (
    CacheFolder,
    Step,
    Triggers,
    Workflow,
    triggered_by_push,
    workflow_from_json,
)


def step(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "imageSlug": "python-312",
        "dependsOn": [],
        "runScript": "make",
        "cacheDirs": [],
        "outputPaths": [],
        **fields,
    }


def problems_of(*steps: Any, name: Any = "ci") -> list[str]:
    parsed = workflow_from_json(name, steps)
    assert (parsed.workflow is None) == bool(parsed.problems)
    return [str(problem) for problem in parsed.problems]


def test_the_steps_of_the_specification_are_a_workflow_that_no_push_starts() -> None:
    parsed = workflow_from_json(
        "ci",
        [
            step("build", outputPaths=["/workspace/dist/"], cacheDirs=["~/.cache/pip/"]),
            step("test", dependsOn=["build"]),
        ],
    )
    assert parsed.problems == ()
    assert parsed.workflow == Workflow(
        name="ci",
        file=None,
        triggers=Triggers(),
        steps=(
            Step(
                name="build",
                image="python-312",
                script="make",
                output_paths=("dist/",),
                cache_dirs=(CacheFolder(path="~/.cache/pip"),),
            ),
            Step(name="test", image="python-312", script="make", depends_on=("build",)),
        ),
    )
    assert not triggered_by_push(parsed.workflow, "main")
    assert Workflow.from_json(parsed.workflow.to_json()) == parsed.workflow


def test_a_problem_names_its_json_path_and_no_line() -> None:
    parsed = workflow_from_json("ci", [step("a"), step("b", dependsOn=["c-c"])])
    (problem,) = parsed.problems
    assert problem.to_json() == {
        "path": "steps[1].dependsOn[0]",
        "message": "there is no step `c-c`: `dependsOn` names steps of this workflow",
    }
    assert str(problem).startswith("steps[1].dependsOn[0]: there is no step")


def test_the_rules_of_files_hold_for_json() -> None:
    assert problems_of(
        step("a", dependsOn=["b"], outputPaths=["../x"]),
        step("b", dependsOn=["a"], runScript="echo ${{ branch }}"),
        step("b", cacheDirs=["../x"], timeout="2w"),
        step("c/d", nmae=1, env={"A-B": "x"}),
    ) == [
        "steps[0].outputPaths[0]: the path `../x` of `outputPaths` must lie in the workspace: "
        "write a path relative to it, such as `dist/`, or `/workspace/…`",
        'steps[1].runScript: `${{ branch }}` is not replaced: write "$PUSHROD_BRANCH"',
        "steps[2].cacheDirs[0]: the path `../x` of `cacheDirs` must not hold `..`: write the path "
        "it means",
        "steps[2].timeout: `timeout` is no duration: write a duration such as `90s`, `10m` or "
        "`1h30m`, or a whole number of seconds",
        "steps[3].nmae: unknown key `nmae`: did you mean `name`?",
        "steps[3].name: the step's name `c/d` must not hold `/`: write `-` or a space",
        "steps[3].env['A-B']: the variable `A-B` must be named by letters, digits and `_`, and "
        "not begin with a digit",
        "steps[2].name: a second step is named `b` (the first at steps[1].name): give it another "
        "name",
        "steps[0].dependsOn[0]: these steps wait for one another: `a → b → a`; remove one of "
        "these dependencies",
    ]


def test_a_number_is_no_text_in_json() -> None:
    assert problems_of(step("a", imageSlug=5), name=7) == [
        "name: `name` must be text, this is a number: write the workflow's name",
        "steps[0].imageSlug: `imageSlug` must be text, this is a number: write a slug or an image "
        "reference",
    ]


def test_no_steps_and_wrong_steps_are_problems() -> None:
    assert problems_of() == ["steps: `steps` is empty: begin each step with `- name: …`"]
    assert problems_of(5, None) == [
        "steps[0]: step 1 must be a mapping, this is a number: begin it with `- name: …`",
        "steps[1]: step 2 must be a mapping, this is empty: begin it with `- name: …`",
    ]


def test_a_name_is_checked_as_in_a_file() -> None:
    assert problems_of(step("a"), name="") == [
        "name: `name` is empty: write at least one character"
    ]
    assert problems_of(step("a"), name="x" * 101) == [
        "name: `name` is longer than 100 characters: it has 101"
    ]


def test_half_a_surrogate_pair_and_a_nul_byte_are_refused() -> None:
    assert problems_of(step("a", runScript="\ud800"), step("b", runScript="a\0b")) == [
        "steps[0].runScript: this text holds half of a surrogate pair: it is not valid Unicode",
        "steps[1].runScript: `runScript` holds a NUL byte: remove it",
    ]


def test_a_request_of_any_size_is_answered_with_one_problem() -> None:
    dense = [step(str(n), dependsOn=[str(m) for m in range(500)]) for n in range(500)]
    (problem,) = problems_of(*dense)
    assert problem.endswith("the workflow has more than 20,000 values: split it")


def test_a_value_nested_too_deep_is_refused() -> None:
    deep: Any = "x"
    for _ in range(3000):
        deep = [deep]
    (problem,) = problems_of(step("a", env={"X": deep}))
    assert problem.endswith("this is nested more than 50 levels deep: make it flatter")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
keys = st.sampled_from([*step("a"), "env", "timeout", "retries", "agents", "image", "run"])


@given(json_values, st.lists(st.dictionaries(keys, json_values) | json_values, max_size=4))
@settings(deadline=None)
def test_any_json_is_a_workflow_or_problems(name: Any, steps: list[Any]) -> None:
    problems_of(*steps, name=name)
