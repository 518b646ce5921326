"""Whatever a file holds, import ends with sound workflows, or with a place and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines_schema import parse_workflow
from pipelines_schema.limits import MAX_FILE_BYTES
from pipelines_schema.problem import Problem
from pushrod.importing import FORMATS, Format, Imported, Unreadable, imported
from tests.unit.pushrod.importing.samples import CHOICES, format_of, samples

FILES = [one for one in samples() if not one.is_dir()]
PIECES = [
    *(b"{", b"}", b"[", b"]", b":", b"- ", b"\n", b"*x", b"&x ", b"<<: ", b"!reference [a, b]"),
    *(b"null", b"${{", b"}}", b"'", b'"', b"|", b"\t", b"\x00", b"\xff", b"true", b"123", b"~"),
    *(b"$X", b"..", b"/", b"!x y", b"steps", b"name: a/b", b"---\n", b"\xe2\x80\xa8", b"%", b"#"),
]
QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Format, bytes]:
    """A sample with a few pieces cut out, doubled, or put in."""
    sample: Path = draw(st.sampled_from(FILES))
    content = sample.read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 12))
        piece = draw(st.sampled_from([b"", content[start : start + length], *PIECES]))
        content = content[:start] + piece + content[start + length :]
    return format_of(sample), content


def ends_well(form: Format, content: bytes) -> None:
    file = form.patterns[0].replace("*", "x")
    done = imported_or_problems(form, file, content)
    if isinstance(done, Imported):
        assert done.workflows
        for path, text in done.workflows.items():
            assert parse_workflow(text.encode(), path).problems == ()
    else:
        assert done
        assert all(one.line and one.column and one.message for one in done)
        assert all(one.file == file for one in done)


def imported_or_problems(form: Format, file: str, content: bytes) -> Imported | Sequence[Problem]:
    try:
        return imported(form, {file: content}, CHOICES, lambda name: None)
    except Unreadable as error:
        return error.problems


@QUICK
@given(damaged())
def test_a_damaged_file_is_imported_or_told_with_its_place(one: tuple[Format, bytes]) -> None:
    ends_well(*one)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_any_bytes_end_well(form: Format, content: bytes) -> None:
    ends_well(form, content)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds nothing"),
        (b"- a\n- b\n", "is a mapping of keys"),
        (b"a: [", "a value is expected here"),
        (b"a: !unknown x\n", "the tag `!unknown` is not supported"),
        (b"a: 1\na: 2\n", "stands here a second time"),
        (b"a: *nobody\n", "there is no `&nobody`"),
        (b"a: &a [*a]\n", "nothing can"),
        (b"x: " + b"[" * 60 + b"]" * 60, "nested more than"),
        (b"#" * (MAX_FILE_BYTES + 1), "the file is larger than"),
        (b"\xff\xfe\x00", "UTF-16"),
        (b"a: \x00", "NUL"),
    ],
)
def test_what_is_no_sound_yaml_is_told_with_its_place(
    form: Format, content: bytes, message: str
) -> None:
    with pytest.raises(Unreadable) as raised:
        imported(form, {"x.yml": content}, CHOICES, lambda name: None)
    problem = raised.value.problems[0]
    assert message in problem.message
    assert (problem.file, bool(problem.line)) == ("x.yml", True)


def test_aliases_that_would_become_a_million_keys_are_refused() -> None:
    lines = ["a0: &a0 {k: v, l: w}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(Unreadable, match="once its aliases are written out"):
        imported(FORMATS[0], {"x.yml": "\n".join(lines).encode()}, CHOICES, lambda name: None)


def test_what_extends_what_extends_it_is_told() -> None:
    form = next(one for one in FORMATS if one.name == "gitlab")
    with pytest.raises(Unreadable, match=r"x\.yml:2:14: .*in a circle"):
        imported(form, {"x.yml": b"a: {extends: b}\nb: {extends: a}\n"}, CHOICES, lambda name: None)


def test_jobs_without_end_are_told() -> None:
    jobs = "".join(f"  j{n}: {{runs-on: x, steps: [{{run: a}}]}}\n" for n in range(600))
    with pytest.raises(Unreadable, match="500"):
        imported(
            FORMATS[0], {"x.yml": f"on: push\njobs:\n{jobs}".encode()}, CHOICES, lambda name: None
        )
