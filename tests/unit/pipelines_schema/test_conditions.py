"""Conditions of steps."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

import pytest

from pipelines_schema import Circumstances, ConditionFault, holds
from pipelines_schema.conditions import check

PUSH = Circumstances(
    event="push",
    branch="release/1",
    message="fix: a thing\n\nmore",
    author="Ada <ada@example.org>",
    params={"target": "staging"},
    matrix={"python": "3.10"},
    ref="refs/heads/release/1",
    labels=["full-ci", "needs: review"],
    draft=True,
    env={"TARGET": "shop"},
)


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        ('event == "push" && branch.startsWith("release/")', True),
        ("event in ['tag', 'manual']", False),
        ('tag == ""', True),
        ('message.matches("^fix(\\\\(.*\\\\))?:")', True),
        ('author.endsWith("@example.org>")', True),
        ('params.target == "staging" ? matrix.python == "3.10" : false', True),
        ('has(params.other) && params.other == "x"', False),
        ("!(size(message) > 3)", False),
        ("true", True),
        ('"full-ci" in labels && !("docs" in labels)', True),
        ("draft", True),
        ("!draft || size(labels) == 0", False),
        ('ref == "refs/heads/release/1"', True),
        ('env.TARGET == "shop" && !has(env.OTHER)', True),
    ],
)
def test_a_condition_asks_about_the_build(expression: str, truth: bool) -> None:
    assert holds(expression, PUSH) is truth


@pytest.mark.parametrize(
    ("patterns", "files", "truth"),
    [
        ('"src/**"', ["docs/a", "src/x/y"], True),
        ('"src/**"', ["docs/a", "lib/src/x"], False),
        ('"src/**"', [], False),
        ('"src/**"', None, True),
        ('"a/**", "!a/b/**"', ["a/b/c"], False),
        ('"a/**", "!a/b/**", "a/b/c"', ["a/b/c"], True),
        ('"!a/b/**", "a/**"', ["a/b/c"], True),
        ('"!docs/**", "!*.md"', ["docs/x", "README.md"], False),
        ('"!docs/**", "!*.md"', ["docs/x", "src/README.md"], True),
        ("env.TARGET + '/**'", ["shop/x"], True),
    ],
)
def test_a_condition_asks_which_files_differ(
    patterns: str, files: list[str] | None, truth: bool
) -> None:
    assert holds(f"changed({patterns})", replace(PUSH, changed=files)) is truth


def test_many_files_are_compared_with_many_patterns_in_time() -> None:
    patterns = ", ".join(f'"packages/{number}/**/*.py"' for number in range(30))
    files = [f"packages/{number}/src/deep/down/file.txt" for number in range(3000)]
    began = time.process_time()
    assert not holds(f"changed({patterns})", replace(PUSH, changed=files))
    assert time.process_time() - began < 2.0  # a build's condition has 0.25 s


@pytest.mark.parametrize(
    ("expression", "macro"),
    [
        ("[0].all(x, true)", "all"),
        ("[0].//\nall(x, true)", "all"),
        ("[0] . // one\r\n // two )\n exists // three\n (x, true)", "exists"),
        ('r"\\" + [0].map(x, true) + "', "map"),
        ('"""\\"""".filter(x, true)', "filter"),
        ('// "\n[0].exists_one(x, true) // "', "exists_one"),
        ("[0].existsOne(x, true)", "existsOne"),
        ("[[0].all(x, true)].size() == 1", "all"),
    ],
)
def test_a_loop_is_refused_wherever_comments_and_quotes_stand(expression: str, macro: str) -> None:
    with pytest.raises(ConditionFault, match=rf"^can't use `{macro}\(…\)`"):
        holds(expression, PUSH)


@pytest.mark.parametrize(
    "expression",
    [
        'branch != "x.all(y, z)"',
        "branch != '.map('",
        'branch != r".map(\\"',
        'branch != """a".map(x, y)"""',
        "true // [0].all(x, x)",
    ],
)
def test_what_only_looks_like_a_loop_is_text(expression: str) -> None:
    assert holds(expression, PUSH)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("branch", "is neither true nor false, but text"),
        ("1", "is neither true nor false, but a number"),
        ("int(branch) > 1", "can't be worked out"),
        ("1 / 0 == 1", "can't be worked out"),
        ('params.other == "x"', "asks for `other`, which there is not"),
        ('event + 1 == "push1"', "different kinds"),
        ('shell("id") == ""', "calls `shell`, which there is not"),
        ("event ==", "is no CEL from here on"),
        ("[1, 2].all(x, x > 0)", "can't use `all(…)`"),
        ("changed()", "calls `changed` without a file"),
        ('changed(["a"])', "with what is no text"),
        ('changed("src/")', "names a folder, but files change: write `src/**`"),
    ],
)
def test_a_condition_without_a_truth_value_says_why(expression: str, said: str) -> None:
    with pytest.raises(ConditionFault) as fault:
        holds(expression, PUSH)
    assert said in str(fault.value)


def test_a_macros_name_in_a_text_is_text() -> None:
    assert not holds('message.contains(".map(")', PUSH)


def test_what_depends_on_the_build_is_left_to_the_build() -> None:
    check("int(branch) > 3", {}, {}, {})
    with pytest.raises(ConditionFault, match="did you mean `branch`"):
        check('brnch == "main"', {}, {}, {})
    with pytest.raises(ConditionFault, match="asks for `os`"):
        check('matrix.os == "linux"', {}, {"python": "3.12"}, {})
    with pytest.raises(ConditionFault, match="asks for `TARGETS`"):
        check('env.TARGETS == "a"', {}, {}, {"TARGET": "a"})


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 490 + "true" + ")" * 490,
        "!" * 990 + "true",
        "[" * 490 + "]" * 490 + " == []",
        'message.matches("(a*)*(a*)*(a*)*(a*)*(a*)*b")',
        'message.matches("((a{1,1000}){1,1000}){1,1000}")',
        "true" + " && true" * 120,
    ],
)
def test_no_condition_takes_long_or_brings_the_process_down(expression: str) -> None:
    began = time.process_time()
    circumstances = Circumstances(event="push", message="a" * 10_000, params={}, matrix={})
    with contextlib.suppress(ConditionFault):
        holds(expression, circumstances)
    assert time.process_time() - began < 1
