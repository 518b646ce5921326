from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines_schema.step_outputs import (
    MAX_OUTPUT_BYTES,
    MAX_VARIABLE_BYTES,
    OutputsError,
    check_outputs,
    output_variables,
    read_outputs,
)

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


def written_as(key: str, value: str) -> str:
    word = "END"
    while word in value.split("\n"):
        word += "_"
    return f"{key}<<{word}\n{value}\n{word}\n"


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_values_of_any_text_come_back(values: dict[str, str]) -> None:
    text = "".join(written_as(key, value) for key, value in values.items())
    assert read_outputs(text.encode()) == values


@given(st.dictionaries(KEYS, VALUES.filter(lambda text: "\n" not in text), max_size=8))
def test_a_line_is_a_value(values: dict[str, str]) -> None:
    text = "\n".join(f"{key}={value}" for key, value in values.items())
    assert read_outputs(text.encode()) == values


@given(st.binary(max_size=200))
def test_what_is_read_of_any_bytes_can_be_kept(written: bytes) -> None:
    values = {}
    with suppress(OutputsError):
        values = read_outputs(written)
    check_outputs(values)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("", {}),
        ("\n  \na=1\n", {"a": "1"}),
        ("a=1\na=2\n", {"a": "2"}),
        ("a=b<<c\n", {"a": "b<<c"}),
        ("a=\n", {"a": ""}),
        ("a= b \n", {"a": " b "}),
        ("a<<END\nEND\n", {"a": ""}),
        ("a<<END\n\nEND\n", {"a": ""}),
        ("a<<END\nx=1\n END\nEND\nb=2", {"a": "x=1\n END", "b": "2"}),
        ("build-app.sha=x", {"build-app.sha": "x"}),
    ],
)
def test_lines_mean(written: str, values: dict[str, str]) -> None:
    assert read_outputs(written.encode()) == values


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"a=1\nhello\n", "line 2: write `key=value`"),
        (b"=x\n", "line 1: this is no key"),
        (b"a b=x\n", "line 1: this is no key"),
        (b"1a=x\n", "line 1: this is no key"),
        (b"\xc3\xa9=x\n", "line 1: this is no key"),
        (b"a<<\nx\n", "line 1: a word is missing"),
        (b"a<<END\nx\n", "line 1: the line that ends this value"),
        (b"a=1\nb=\xff\n", "line 2: this is not UTF-8"),
        (b"a=x\0y\n", "line 1: the value of `a` has a NUL byte"),
        (b"a-b=1\na_b=2\n", "`a-b` and `a_b` become one variable"),
        (b"a=1\nA=2\n", "`a` and `A` become one variable"),
        (b"a=" + b"x" * MAX_OUTPUT_BYTES, "a step may write 64 KiB"),
    ],
)
def test_a_mistake_is_told_with_its_line(written: bytes, said: str) -> None:
    with pytest.raises(OutputsError) as caught:
        read_outputs(written)
    assert said in str(caught.value)
    assert "hello" not in str(caught.value)


def test_as_much_as_is_allowed_is_read() -> None:
    assert len(read_outputs(b"a=" + b"x" * (MAX_OUTPUT_BYTES - 2))["a"]) == MAX_OUTPUT_BYTES - 2


def test_a_variable_has_the_step_and_the_key() -> None:
    assert output_variables({"build app (3.12)": {"image-tag": "v1"}, "plan": {"a": "é"}}) == {
        "PUSHROD_OUTPUT_BUILD_APP__3_12__IMAGE_TAG": "v1",
        "PUSHROD_OUTPUT_PLAN_A": "é",
    }


def test_two_that_become_one_variable_are_refused_by_their_names() -> None:
    with pytest.raises(OutputsError, match="`b_c` of step `a` and `c` of step `a-b`"):
        output_variables({"a": {"b_c": "1"}, "a-b": {"c": "2"}})


def test_more_than_a_script_can_be_given_is_refused() -> None:
    each = {"k": "x" * (MAX_OUTPUT_BYTES - 100)}
    many = {f"s{number}": each for number in range(MAX_VARIABLE_BYTES // MAX_OUTPUT_BYTES + 1)}
    with pytest.raises(OutputsError, match="put the larger ones into `outputPaths`"):
        output_variables(many)
