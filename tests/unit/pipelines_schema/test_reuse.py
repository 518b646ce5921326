"""What steps take from elsewhere: merge keys and `defaults`."""

from __future__ import annotations

from pipelines_schema import Step, parse_workflow


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
