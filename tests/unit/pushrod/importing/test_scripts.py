"""Scripts that import puts together, run by bash."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import Circumstances, holds
from pushrod.importing.bash_conditions import NotInBash, bash_test
from pushrod.importing.formats.github.job import AT_END, part, part_at_end
from pushrod.importing.shell_text import (
    Expansion,
    expanded,
    exported,
    inside_double_quotes,
    interpreted,
    kept_expansions,
    with_ending,
)


def bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a step runs it."""
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=20,
    )


EVIL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    [
        "$(echo no)",
        "`echo no`",
        "'; echo no; '",
        '"; echo no; "',
        "a b  c",
        "*",
        "\\",
        "$HOME",
        "-n",
    ]
)


@settings(max_examples=40, deadline=None)
@given(EVIL)
def test_what_outsiders_write_stays_data_wherever_its_expression_stood(value: str) -> None:
    script = (
        "printf '[%s]' ${{ x }}\n"
        'printf "[%s]" "${{ x }}"\n'
        "printf '[%s]' 'a ${{ x }} b'\n"
        "# it's ${{ x }}\n"
        "cat <<END\n${{ x }}\nEND\n"
        "printf '[%s]' \"it's ${{ x }}\"\n"
    )
    done, stuck = expanded(script, lambda _: Expansion("$V"))
    ran = bash(done, V=value)
    assert not stuck
    assert ran.stderr == ""
    assert ran.stdout == f"[{value}][{value}][a {value} b]{value}\n[it's {value}]"


def test_where_bash_expands_nothing_it_is_told() -> None:
    assert expanded("cat <<'END'\n${{ x }}\nEND\n", lambda _: Expansion("$V"))[1]
    assert not expanded("cat <<'END'\nx\nEND\necho ${{ x }}", lambda _: Expansion("$V"))[1]


@settings(max_examples=40, deadline=None)
@given(EVIL)
def test_a_value_that_is_exported_is_what_it_was(value: str) -> None:
    ran = bash(exported("A", inside_double_quotes(value)) + 'printf %s "$A"')
    assert (ran.stdout, ran.stderr) == (value, "")


def test_variables_in_values_are_still_expanded() -> None:
    text = 'x $B ${B} "$$B" `no` $(no) $5 \\ $'
    ran = bash(exported("A", kept_expansions(text)) + 'printf %s "$A"', B="b")
    assert ran.stdout == 'x b b "$B" `no` $(no) $5 \\ $'


def test_a_name_that_no_variable_has_is_told_and_runs_nothing() -> None:
    ran = bash(exported("A; echo no", "x") + "echo yes")
    assert (ran.returncode, ran.stdout) == (0, "yes\n")
    assert "A; echo no" in ran.stderr


def test_a_part_in_a_shell_of_its_own_leaves_nothing_behind() -> None:
    ran = bash(part("one", "cd /\nexport A=1", folder="/tmp", exports="export B=2\n") + "pwd")
    assert ran.stdout.strip() != "/"


@pytest.mark.parametrize("line", ["false\necho no", "cd /\nfalse\necho no"])
def test_a_part_that_fails_ends_the_script_unless_it_may(line: str) -> None:
    ran = bash(part(None, line) + "echo after")
    assert (ran.returncode, ran.stdout) == (1, "")
    allowed = bash(part(None, line, may_fail=True) + "echo after")
    assert (allowed.returncode, allowed.stdout) == (0, "after\n")


@pytest.mark.parametrize(("code", "said"), [(0, "always\n"), (3, "failed\nalways\n")])
def test_parts_for_the_end_run_when_the_script_has_ended(code: int, said: str) -> None:
    ends = part_at_end("echo failed", True, None) + part_at_end("echo always", False, None)
    ran = bash(AT_END % ends + f"exit {code}")
    assert (ran.returncode, ran.stdout) == (code, said)


def test_a_part_for_the_end_that_fails_fails_the_script() -> None:
    assert bash(AT_END % part_at_end("exit 4", False, None) + "true").returncode == 4


@pytest.mark.parametrize("code", [0, 5])
def test_an_ending_that_fails_counts_for_nothing(code: int) -> None:
    ran = bash(with_ending(f"echo script\nexit {code}\n", "echo ending\nfalse\n"))
    assert (ran.returncode, ran.stdout) == (code, "script\nending\n")


def test_a_script_for_another_program_is_read_to_its_end() -> None:
    ran = bash(interpreted("a\nIMPORTED_SCRIPT\n$b", "cat"))
    assert ran.stdout == "a\nIMPORTED_SCRIPT\n$b\n"


CONDITIONS = [
    'event == "push"',
    'event != "pullRequest" && branch == "main"',
    'event in ["push", "tag"]',
    '!(event == "push") || tag != ""',
    '(branch + tag) == "main"',
    'branch.matches("^release/[^/]*$")',
    '!branch.matches("^(.*/)?main$")',
    'message.contains("skip it") || message.startsWith("a $b")',
    'message.endsWith("`x`\\"") && !(tag == "v1")',
    'env.LEVEL == "2" && matrix.os == "linux"',
    '(event == "push" || event == "tag") && !(branch == "main" || tag == "v2")',
    'ref == "refs/tags/v1"',
]
BUILDS: list[Mapping[str, str]] = [
    {"event": event, "branch": branch, "tag": tag, "ref": ref, "message": message}
    for (event, branch, tag, ref), message in product(
        [
            ("push", "main", "", "refs/heads/main"),
            ("push", "release/1", "", "refs/heads/release/1"),
            ("tag", "", "v1", "refs/tags/v1"),
            ("pullRequest", "main", "", "refs/pull/1/head"),
        ],
        ["please skip it", 'a $b `x`"', ""],
    )
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_in_bash_says_what_it_says_in_cel(condition: str) -> None:
    test = bash_test(condition)
    for build in BUILDS:
        wanted = holds(
            condition,
            Circumstances(**build, params={}, matrix={"os": "linux"}, env={"LEVEL": "2"}),
        )
        ran = bash(
            f"if {test}; then echo yes; else echo no; fi",
            PUSHROD_EVENT=build["event"],
            PUSHROD_BRANCH=build["branch"],
            PUSHROD_TAG=build["tag"],
            PUSHROD_REF=build["ref"],
            PUSHROD_COMMIT_MESSAGE=build["message"],
            PUSHROD_MATRIX_OS="linux",
            LEVEL="2",
        )
        assert (ran.stdout, ran.stderr) == ("yes\n" if wanted else "no\n", ""), build


@pytest.mark.parametrize(
    "condition",
    ['changed("src/**")', '"a" in labels', "draft", 'branch.matches("\\\\d")', "(((", ""],
)
def test_what_no_script_can_tell_is_refused(condition: str) -> None:
    with pytest.raises(NotInBash):
        bash_test(condition)
