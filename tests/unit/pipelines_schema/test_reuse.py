"""What steps take from elsewhere: merge keys, `defaults` and `templates`."""

from __future__ import annotations

import sys

from pipelines_schema import Step, expanded_steps, parse_workflow, workflow_from_json


def steps_of(text: str) -> dict[str, Step]:
    parsed = parse_workflow(text.encode(), ".pushrod.yml")
    assert [str(problem) for problem in parsed.problems] == []
    assert parsed.workflow is not None
    return {step.name: step for step in parsed.workflow.steps}


def test_of_merged_mappings_the_earlier_wins_and_the_own_key_over_both() -> None:
    steps = steps_of(
        """
        x-a: &a {image: of-a, timeout: 1m, grace: 1s}
        x-b: &b {image: of-b, timeout: 2m, grace: 2s, run: b}
        steps:
          - {name: one, grace: 3s, <<: [*a, *b]}
        """
    )
    one = steps["one"]
    assert (one.image, one.timeout_seconds, one.grace_seconds) == ("of-a", 60, 3)
    assert one.script == "b"


def test_a_merged_matrix_keeps_the_order_of_its_axes() -> None:
    steps = steps_of(
        """
        x-m: &m {a: ["1"], b: ["2"]}
        steps:
          - {name: one, image: i, run: r, matrix: {c: ["4"], <<: *m, a: ["3"]}}
        """
    )
    matrix = steps["one"].matrix
    assert matrix is not None
    assert dict(matrix.axes) == {"a": ("3",), "b": ("2",), "c": ("4",)}
    assert list(matrix.axes) == ["a", "b", "c"]


def test_a_step_says_what_a_default_would() -> None:
    steps = steps_of(
        """
        defaults: {image: debian, timeout: 20m, env: {A: "1", B: "1"}, agents: {os: linux}}
        steps:
          - {name: silent, run: r}
          - {name: own, run: r, imageSlug: alpine, env: {B: "2"}, agents: {size: xl, os: bsd}}
        """
    )
    silent, own = steps["silent"], steps["own"]
    assert (silent.image, silent.timeout_seconds) == ("debian", 1200)
    assert silent.env == {"A": "1", "B": "1"}
    assert own.image == "alpine"
    assert own.env == {"A": "1", "B": "2"}
    assert own.agents == {"os": "bsd", "size": "xl"}


def test_default_lines_run_before_each_script() -> None:
    steps = steps_of(
        """
        defaults: {image: debian, before: [set -x, "umask ${{ build.number }}"]}
        steps: [{name: one, run: "true"}, {name: image, build: {}}]
        """
    )
    assert steps["one"].script == "set -x\numask ${{ build.number }}\ntrue"
    assert steps["image"].script == ""


def test_a_default_without_a_place_is_passed_over() -> None:
    steps = steps_of(
        """
        defaults: {image: debian, env: {A: "1"}, runOn: [failure], retries: 3, user: "1"}
        steps:
          - {name: image, build: {}}
          - {name: first, run: r}
          - {name: after, run: r, dependsOn: first}
          - {name: once, run: r, atMostOnce: true}
        """
    )
    assert (steps["image"].image, steps["image"].env, steps["image"].user) == (None, {}, None)
    assert [ending.value for ending in steps["first"].run_on] == ["success"]
    assert [ending.value for ending in steps["after"].run_on] == ["failure"]
    assert steps["once"].at_most_once
    assert steps["first"].retries.max == 3


def test_a_template_lies_between_the_defaults_and_the_step() -> None:
    steps = steps_of(
        """
        defaults: {image: debian, timeout: 1m, grace: 1s, env: {A: "1", B: "1", C: "1"}}
        templates:
          t: {timeout: 2m, grace: 2s, env: {B: "2", C: "2"}, run: of-t}
        steps: [{name: a, use: t, grace: 3s, env: {C: "3"}}]
        """
    )
    a = steps["a"]
    assert (a.image, a.timeout_seconds, a.grace_seconds, a.script) == ("debian", 120, 3, "of-t")
    assert a.env == {"A": "1", "B": "2", "C": "3"}


def test_a_value_stands_in_the_templates_keys_and_reaches_the_script_as_a_variable() -> None:
    steps = steps_of(
        """
        templates:
          t:
            params: {version: {default: "3.12"}, limit: , tries: {default: "2"}}
            image: "python:${{ with.version }}"
            timeout: ${{ with.limit }}
            retries: ${{ with.tries }}
            agents: {python: "${{ with.version }}"}
            run: pytest
        steps:
          - {name: a, use: t, with: {limit: 5m}}
          - name: b
            use: t
            with: {limit: 7m, version: "; rm -rf /"}
            image: debian
            agents: {python: any}
        """
    )
    a = steps["a"]
    assert (a.image, a.timeout_seconds, a.retries.max) == ("python:3.12", 300, 2)
    assert a.agents == {"python": "3.12"}
    assert a.env == {
        "PUSHROD_WITH_VERSION": "3.12",
        "PUSHROD_WITH_LIMIT": "5m",
        "PUSHROD_WITH_TRIES": "2",
    }
    assert steps["b"].script == "pytest"
    assert steps["b"].env["PUSHROD_WITH_VERSION"] == "; rm -rf /"


def test_a_value_of_the_matrix_is_given_to_a_template() -> None:
    parsed = parse_workflow(
        b"""
        templates:
          t: {params: {v: }, image: "python:${{ with.v }}", run: r}
        steps: [{name: a, use: t, with: {v: "${{ matrix.p }}"}, matrix: {p: ["3.11", "3.12"]}}]
        """,
        ".pushrod.yml",
    )
    assert parsed.workflow is not None
    expanded = {step.name: step for step in expanded_steps(parsed.workflow.steps)}
    assert expanded["a (3.12)"].image == "python:3.12"
    assert expanded["a (3.12)"].env == {"PUSHROD_WITH_V": "3.12"}


def test_a_script_finds_the_values_of_the_template_that_it_stands_in() -> None:
    text = """
        templates:
          inner: {params: {v: {default: of-inner}}, image: i, run: inner}
          outer: {params: {v: {default: of-outer}}, use: inner}
          scripted: {params: {v: {default: of-scripted}}, use: inner, run: scripted}
        steps:
          - {name: inner, use: outer}
          - {name: scripted, use: scripted}
          - {name: own, use: outer, run: own}
        """
    found = {name: step.env["PUSHROD_WITH_V"] for name, step in steps_of(text).items()}
    assert found == {"inner": "of-inner", "scripted": "of-scripted", "own": "of-outer"}


def test_an_api_workflow_has_no_templates() -> None:
    parsed = workflow_from_json("a", [{"name": "a", "image": "b", "run": "c", "use": "t"}])
    assert [str(problem) for problem in parsed.problems] == [
        "steps[0].use: there is no template `t`: only a workflow file has templates; write the "
        "step's keys out"
    ]


def test_five_hundred_steps_of_a_template_cost_about_as_much_as_written_out() -> None:
    body = "image: i, timeout: 5m, env: {A: '1', B: '2'}, run: r"
    written = "\n".join(f"  - {{name: s{n}, {body}}}" for n in range(500))
    used = "\n".join(f"  - {{name: s{n}, use: t, with: {{v: '{n}'}}}}" for n in range(500))
    plain = calls_made(f"steps:\n{written}")
    reused = calls_made(f"templates:\n  t: {{params: {{v: }}, {body}}}\nsteps:\n{used}")
    assert reused < 3 * plain


def calls_made(text: str) -> int:
    """How many functions are called to read it: the same on any machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        steps_of(text)
    finally:
        sys.setprofile(None)
    return calls
