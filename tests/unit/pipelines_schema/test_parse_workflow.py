from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import (
    DEFAULT_RETRIES,
    NEVER,
    CacheFolder,
    Parsed,
    Problem,
    PushTrigger,
    Retries,
    RetryCause,
    Step,
    Triggers,
    Workflow,
    parse_workflow,
    step_environment,
)
from pipelines_schema.limits import MAX_FILE_BYTES, MAX_SCRIPT_BYTES

CORPUS = [
    file.read_bytes()
    for file in sorted((Path(__file__).parents[2] / "corpus").glob("*/*.yml"))
    if file.stat().st_size < 5000
]
STEP = "steps:\n  - name: test\n    image: python-312\n    run: pytest -q\n"


def workflow_of(text: str, file: str = ".pushrod/ci.yml") -> Workflow:
    parsed = parse_workflow(text.encode(), file)
    assert [str(problem) for problem in parsed.problems] == []
    assert parsed.workflow is not None
    return parsed.workflow


def problems_of(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in parse_workflow(content, "f").problems]


def step_of(lines: str) -> Step:
    return workflow_of(STEP + "".join(f"    {line}\n" for line in lines.split("\n"))).steps[0]


def test_a_whole_workflow_is_understood() -> None:
    assert workflow_of("""
name: release
on: {push: {branches: [main, "release/*"]}}
env: {CI: 1}
steps:
  - name: lint
    imageSlug: python-312
    runScript: ruff check .
  - name: test
    image: python:3.12
    dependsOn: lint
    run: |
      pytest -q
    env: {PY: 3.10}
    cacheDirs: [/root//.cache/pip/, ~/.cache/uv]
    outputPaths: [/workspace/reports//, ./dist/*.whl]
    timeout: 1h30m
    retries: {max: 2, on: [timeout, lost]}
    agents: {os: linux}
""") == Workflow(
        name="release",
        file=".pushrod/ci.yml",
        triggers=Triggers(push=PushTrigger(branches=("main", "release/*"))),
        env={"CI": "1"},
        steps=(
            Step(name="lint", image="python-312", script="ruff check ."),
            Step(
                name="test",
                image="python:3.12",
                script="pytest -q\n",
                depends_on=("lint",),
                env={"PY": "3.10"},
                cache_dirs=(
                    CacheFolder(path="/root/.cache/pip"),
                    CacheFolder(path="~/.cache/uv"),
                ),
                output_paths=("reports/", "dist/*.whl"),
                timeout_seconds=5400,
                retries=Retries(max=2, on=(RetryCause.LOST, RetryCause.TIMEOUT)),
                agents={"os": "linux"},
            ),
        ),
    )


def test_what_is_left_out_has_its_default() -> None:
    step = workflow_of(STEP).steps[0]
    assert (step.timeout_seconds, step.retries) == (3600, DEFAULT_RETRIES)
    assert (step.queue_timeout_seconds, step.at_most_once) == (None, False)
    assert (step.depends_on, step.env, step.cache_dirs, step.output_paths, step.agents) == (
        (), {}, (), (), {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (".pushrod.yml", "pushrod"),
        (".pushrod/ci.yml", "ci"),
        (".pushrod/a.b.yaml", "a.b"),
        ("a/b", "workflow"),
    ],
)
def test_the_file_names_a_workflow_without_a_name(file: str, name: str) -> None:
    assert workflow_of(STEP, file).name == name


def test_a_file_whose_name_can_not_be_shown_needs_a_name_inside() -> None:
    (problem,) = parse_workflow(STEP.encode(), ".pushrod/a\udcffb.yml").problems
    assert problem.message == "the file's name `a\\udcffb` can't be the workflow's: write `name`"


@pytest.mark.parametrize(
    "written",
    ["3.10", "22:30", "no", "yes", "on", "off", "true", "017", "0o17", "1e3", "1_000", "2024-01-31",
     ".nan", "12345678901234567890123"],
)  # fmt: skip
def test_an_unquoted_value_keeps_the_text_it_is_written_with(written: str) -> None:
    assert step_of(f"env: {{X: {written}}}").env == {"X": written}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("24h", 86400), ("7", 7), ("1h0m1s", 3601)],
)
def test_a_timeout_may_be_written_with_units_or_in_seconds(written: str, seconds: int) -> None:
    assert step_of(f"timeout: {written}").timeout_seconds == seconds


def test_a_steps_own_variables_win_over_the_workflows() -> None:
    workflow = workflow_of("env: {A: 1, B: 1}\n" + STEP + "    env: {B: 2, C: 2}\n")
    environment = step_environment(workflow, workflow.steps[0])
    assert environment == {"A": "1", "B": "2", "C": "2"}


def test_a_byte_order_mark_shifts_no_column() -> None:
    assert problems_of("\ufeffnmae: x\n" + STEP) == [
        "f:1:1: unknown key `nmae`: did you mean `name`?"
    ]


def test_a_file_of_a_mebibyte_is_read_and_one_byte_more_refused() -> None:
    full = STEP + "#" * (MAX_FILE_BYTES - len(STEP))
    assert problems_of(full) == []
    assert problems_of(full + "#") == [
        "f:1:1: the file is larger than 1024 KiB: move long scripts into files of the repository"
    ]


def test_a_script_may_have_512_kibibytes_and_not_one_more() -> None:
    text = "steps: [{name: a, image: b, run: '%s'}]"
    assert problems_of(text % ("x" * MAX_SCRIPT_BYTES)) == []
    assert problems_of(text % ("x" * (MAX_SCRIPT_BYTES + 1))) == [
        "f:1:34: `run` has 524,289 bytes, more than 512 KiB: move it into a file of the repository"
    ]


def test_a_variable_may_be_as_long_as_linux_allows_and_not_longer() -> None:
    def env(length: int) -> str:
        return "env: {LONG: " + "x" * length + "}\n" + STEP

    assert problems_of(env(131_066)) == []
    (problem,) = problems_of(env(131_067))
    assert problem.startswith("f:1:13: the variable `LONG` is longer than the 128 KiB that Linux")


def test_a_name_that_could_move_a_cursor_is_shown_escaped() -> None:
    (problem,) = problems_of(STEP + '    "\\e[2Jx": 1\n')
    assert problem.startswith("f:5:5: unknown key `\\x1b[2Jx`")


def test_an_expression_in_an_aliased_script_is_reported_once_where_it_stands() -> None:
    assert problems_of(
        "steps:\n  - {name: a, image: b, run: &r 'echo ${{ ref }}'}\n"
        "  - {name: c, image: b, run: *r}\n"
    ) == ['f:2:39: `${{ ref }}` is not replaced: write "$PUSHROD_REF"']


def test_an_expression_hidden_by_an_escape_is_reported_at_its_text() -> None:
    (problem,) = problems_of('steps:\n  - {name: a, image: b, run: "\\x24{{ branch }}"}\n')
    assert problem == 'f:2:30: `${{ branch }}` is not replaced: write "$PUSHROD_BRANCH"'


def test_scripts_full_of_open_expressions_are_read_in_linear_time() -> None:
    started = time.process_time()
    assert problems_of("steps: [{name: a, image: b, run: '" + "${{" * 170_000 + "'}]") == []
    assert time.process_time() - started < 5  # quadratic reading took minutes


def test_problems_print_as_a_compiler_prints_them_and_survive_json() -> None:
    (problem,) = parse_workflow(b"steps: []", ".pushrod.yml").problems
    assert str(problem) == ".pushrod.yml:1:8: `steps` is empty: begin each step with `- name: …`"
    assert problem.to_json() == {
        "file": ".pushrod.yml",
        "line": 1,
        "column": 8,
        "message": "`steps` is empty: begin each step with `- name: …`",
    }
    assert Problem.from_json(problem.to_json()) == problem


def check(parsed: Parsed, content: bytes) -> None:
    """What holds for every file there can be."""
    assert (parsed.workflow is None) == bool(parsed.problems or parsed.includes)
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for problem in parsed.problems:
        assert problem.line is not None
        assert problem.column is not None
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert "\n" not in problem.message
    if parsed.workflow is not None:
        stored = parsed.workflow.to_json()
        assert Workflow.from_json(stored) == parsed.workflow


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_workflow_or_problems(content: bytes) -> None:
    check(parse_workflow(content, "f.yml"), content)


@given(st.text(alphabet="\t\n\r -:[]{},&*!|>'\"%@`#?ab0~\\xué\u2028🙂", max_size=80))
@settings(max_examples=400, deadline=None)
def test_any_soup_of_indicators_is_a_workflow_or_problems(text: str) -> None:
    check(parse_workflow(text.encode(), "f.yml"), text.encode())


PIECES = [b"", b"*x ", b"&x ", b"- ", b": ", b"\t", b"\n", b"'", b'"', b"${{ sha }}", b"!!str "]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file of the corpus with a few pieces cut out, doubled or replaced."""
    content = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 30, len(content))))
        doubled = content[start:end] * 2
        piece = draw(st.binary(max_size=5) | st.sampled_from([*PIECES, doubled]))
        content = content[:start] + piece + content[end:]
    return content


@given(mutated())
@settings(max_examples=300, deadline=None)
def test_any_mutation_of_a_workflow_is_a_workflow_or_problems(content: bytes) -> None:
    check(parse_workflow(content, "f.yml"), content)


@pytest.mark.parametrize("written", ["0", "{max: 0}", "{max: 0, on: [lost]}"])
def test_no_retries_are_none_for_any_reason(written: str) -> None:
    assert workflow_of(STEP.replace("run:", f"retries: {written}\n    run:")).steps[0].retries == (
        NEVER
    )
