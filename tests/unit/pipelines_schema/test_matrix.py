"""A matrix written out."""

from __future__ import annotations

from pipelines_schema import Workflow, expanded_steps, parse_workflow, substituted


def parsed(text: str) -> Workflow:
    result = parse_workflow(text.encode(), ".pushrod.yml")
    assert result.workflow is not None, result.problems
    return result.workflow


def test_the_last_axis_turns_fastest_and_included_ones_come_last() -> None:
    workflow = parsed(
        "steps:\n"
        "- {name: t, image: i, run: r, matrix: {a: [1, 2], b: [x, y], "
        "exclude: [{a: 1, b: y}], include: [{b: z, c: w}]}}\n"
    )
    names = [step.name for step in expanded_steps(workflow.steps)]
    assert names == ["t (1, x)", "t (2, x)", "t (2, y)", "t (z, w)"]


def test_a_dependency_between_two_matrices_is_one_of_each_on_all() -> None:
    workflow = parsed(
        "steps:\n"
        "- {name: u, image: i, run: r, dependsOn: [t, s], matrix: {a: [1, 2]}}\n"
        "- {name: t, image: i, run: r, matrix: {a: [1, 2]}}\n"
        "- {name: s, image: i, run: r}\n"
    )
    first, second, *_ = expanded_steps(workflow.steps)
    assert first.depends_on == second.depends_on == ("t (1)", "t (2)", "s")


def test_values_are_put_where_they_are_named_and_nowhere_else() -> None:
    workflow = parsed(
        "env: {N: $a}\nsteps:\n- {name: t, image: 'i:${{matrix.a}}', matrix: {a: ['1']}, "
        "run: 'echo ${{ matrix.a }} ${a} ${{ build.id }} ${{', env: {E: 'x${{ matrix.a }}'}}\n"
    )
    (step,) = expanded_steps(workflow.steps)
    assert (step.image, step.script) == ("i:1", "echo 1 ${a} ${{ build.id }} ${{")
    assert (step.env, step.matrix_values) == ({"E": "x1"}, {"a": "1"})


def test_what_a_value_looks_like_is_not_replaced_again() -> None:
    assert substituted("${{ a }}${{ b }}", {"a": "${{ b }}", "b": "1"}) == "${{ b }}1"


def test_included_values_are_added_to_those_that_agree_and_the_rest_stands_by_itself() -> None:
    workflow = parsed(
        "steps:\n"
        "- {name: t, image: i, run: r, matrix: {fruit: [apple, pear], animal: [cat, dog], "
        "exclude: [{fruit: pear, animal: dog}], include: [{color: green}, "
        "{color: pink, animal: cat}, {fruit: apple, shape: circle}, {fruit: banana}, "
        "{fruit: banana, animal: cat}, {fruit: pear, animal: dog, color: red}]}}\n"
    )
    found = {step.name: dict(step.matrix_values) for step in expanded_steps(workflow.steps)}
    apple, pear = {"fruit": "apple", "shape": "circle"}, {"fruit": "pear"}
    assert found == {
        "t (apple, cat)": {**apple, "animal": "cat", "color": "pink"},
        "t (apple, dog)": {**apple, "animal": "dog", "color": "green"},
        "t (pear, cat)": {**pear, "animal": "cat", "color": "pink"},
        "t (banana)": {"fruit": "banana"},
        "t (banana, cat)": {"fruit": "banana", "animal": "cat"},
        "t (pear, dog, red)": {**pear, "animal": "dog", "color": "red"},
    }


def test_an_object_is_called_by_its_name_else_by_its_values() -> None:
    workflow = parsed(
        "steps:\n"
        "- {name: t, image: '${{ matrix.p.os }}', run: 'r ${{ matrix.p.os }}', "
        "matrix: {p: [{os: debian, flags: -x}, {os: a/b, flags: ''}, {name: win, os: w}]}}\n"
    )
    steps = expanded_steps(workflow.steps)
    assert [step.name for step in steps] == ["t (debian, -x)", "t (a-b)", "t (win)"]
    assert [step.image for step in steps] == ["debian", "a/b", "w"]
    assert steps[1].matrix_values == {"p.os": "a/b", "p.flags": ""}


def test_a_dependency_names_one_combination_or_every_other_step() -> None:
    workflow = parsed(
        "steps:\n"
        "- {name: t, image: i, run: r, matrix: {a: [1, 2]}}\n"
        "- {name: one, image: i, run: r, dependsOn: ['t (2)']}\n"
        "- {name: all, image: i, run: r, dependsOn: '*', matrix: {a: [1, 2]}}\n"
    )
    waits = {step.name: step.depends_on for step in expanded_steps(workflow.steps)}
    assert waits["one"] == ("t (2)",)
    assert waits["all (1)"] == waits["all (2)"] == ("t (1)", "t (2)", "one")
