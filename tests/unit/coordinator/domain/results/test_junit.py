"""Test results as tools write them, and as nobody should."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.results import limits
from coordinator.domain.results.packing import packed, unpacked
from coordinator.domain.results.read_files import read_all
from coordinator.domain.results.values import (
    Counts,
    ReadResults,
    ReportKind,
    Result,
    TestResult,
)

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" tests="4">
<testcase classname="tests.test_a" name="test_ok" time="0.5" />
<testcase classname="tests.test_a" name="test_later" time="0.001">
  <skipped type="pytest.skip" message="later">/w/tests/test_a.py:4: later</skipped></testcase>
<testcase classname="tests.test_a" name="test_p[\\xe9 &amp; &#65;]" time="1.25">
  <failure message="AssertionError: numbers&#10;assert 1 == 2">def test_p():
&gt;       assert 1 == 2
E       assert 1 == 2

tests/test_a.py:7: AssertionError</failure></testcase>
<testcase classname="tests.test_b" name="test_broken" time="0.25">
  <error message="failed on setup">fixture</error></testcase>
</testsuite></testsuites>
"""


def read(*contents: bytes, piece: int = 1 << 20) -> ReadResults:
    return read_all(
        (ReportKind.JUNIT, f"{number}.xml", pieces(content, piece))
        for number, content in enumerate(contents)
    )


def pieces(content: bytes, size: int) -> Iterable[bytes]:
    return (content[begin : begin + size] for begin in range(0, len(content), size))


def by_name(results: ReadResults) -> dict[str, TestResult]:
    return {test.name: test for portion in results.tests for test in unpacked(portion)}


def case(inside: str = "", **attributes: str) -> bytes:
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<testsuite name='s'><testcase{written}>{inside}</testcase></testsuite>".encode()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_pytests_report_is_read_in_pieces_of_any_size(piece: int) -> None:
    results = read(PYTEST, piece=piece)
    assert results.warnings == []
    assert results.counts == Counts(tests=4, failed=2, skipped=1, milliseconds=2001)
    assert results.failed == ["test_p[\\xe9 & A]", "test_broken"]
    tests = by_name(results)
    failed = tests["test_p[\\xe9 & A]"]
    assert failed.message == "AssertionError: numbers\nassert 1 == 2"
    assert failed.details is not None
    assert failed.details.endswith("tests/test_a.py:7: AssertionError")
    assert (failed.file, failed.line) == ("tests/test_a.py", 7)
    assert (failed.suite, failed.milliseconds) == ("tests.test_a", 1250)
    assert tests["test_later"].message == "later"
    assert tests["test_ok"].result is Result.PASSED
    assert tests["test_broken"].result is Result.FAILED


def test_a_test_without_a_class_is_its_innermost_suites() -> None:
    nested = (
        b"<testsuites><testsuite name='all'><testsuite name='inner'><testcase name='a'/>"
        b"</testsuite><testcase name='b'/></testsuite></testsuites>"
    )
    assert {name: test.suite for name, test in by_name(read(nested)).items()} == {
        "a": "inner",
        "b": "all",
    }


def test_the_place_that_the_tool_names_wins() -> None:
    failure = "<failure>x.py:3: no</failure>"
    told = by_name(read(case(failure, name="a", file="src/a.ts", line="12")))["a"]
    assert (told.file, told.line) == ("src/a.ts", 12)
    python = '<failure>  File "tests/a.py", line 9, in test</failure>'
    assert by_name(read(case(python, name="a")))["a"].line == 9
    assert by_name(read(case("<failure>/usr/lib/x.py:3: no</failure>", name="a")))["a"].file is None


def test_a_test_that_is_reported_twice_counts_once_and_failed_where_it_failed_once() -> None:
    both = case("<failure>a</failure>", name="a"), case(name="a")
    for order in (both, both[::-1]):
        results = read(*order)
        assert results.counts is not None
        assert (results.counts.tests, results.counts.failed) == (1, 1)
        assert by_name(results)["a"].flaky
    twice = read(case("<failure>a</failure>", name="a"), case("<error>b</error>", name="a"))
    assert not by_name(twice)["a"].flaky
    assert by_name(twice)["a"].message == "a"


def test_a_failure_that_a_further_try_mended_is_told_as_flaky() -> None:
    test = by_name(read(case("<flakyFailure message='m'>x</flakyFailure>", name="a")))["a"]
    assert (test.result, test.flaky) == (Result.PASSED, True)


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("1,234.5", 1234500), ("", 0), ("nan", 0), ("inf", 0), ("-3", 0), ("x", 0), ("1e999", 0)],
)
def test_a_time_is_what_it_can_be(written: str, milliseconds: int) -> None:
    assert by_name(read(case(name="a", time=written)))["a"].milliseconds == milliseconds


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not well-formed XML (no element found"),
        (b"nonsense", "is not well-formed XML"),
        (b"<html><body/></html>", "is no report of JUnit's form: it begins with `<html>`"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><testsuite/>', "declares entities"),
        (b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd">%x;]><testsuite/>', "declares"),
        (b'<!DOCTYPE a [<!ATTLIST testcase name CDATA "x">]><testsuite/>', "declares"),
        (b"<testsuite>" + b"<a>" * 300, "more than 200 deep"),
        (b'<?xml version="1.0" encoding="utf-99"?><testsuite/>', "encoding"),
        (b"<testsuite name='\0'/>", "is not well-formed XML"),
        (b"<testsuite name='\xff'/>", "is not well-formed XML"),
    ],
)
def test_a_file_that_is_no_report_is_a_warning(content: bytes, said: str) -> None:
    results = read(content, PYTEST)
    (warning,) = results.warnings
    assert warning.startswith("reports: 0.xml ")
    assert said in warning
    assert results.counts is not None
    assert results.counts.tests == 4


def test_of_a_file_that_breaks_off_what_stands_before_counts() -> None:
    results = read(PYTEST[: PYTEST.index(b"<error")])
    assert results.counts == Counts(tests=3, failed=1, skipped=1, milliseconds=1751)
    assert results.warnings[0].endswith("; the 3 tests before it counted")


def test_other_encodings_are_read() -> None:
    text = "<?xml version='1.0' encoding='{}'?><testsuite><testcase name='é'/></testsuite>"
    for encoding in ("utf-16", "iso-8859-1", "windows-1252"):
        assert "é" in by_name(read(text.format(encoding).encode(encoding))), encoding


def test_an_entity_that_nobody_declares_is_no_way_out() -> None:
    doctype = b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><testsuite><testcase name="a&x;"/>'
    assert read(doctype + b"</testsuite>").counts is not None


def test_a_name_and_a_text_of_a_megabyte_are_shortened() -> None:
    long = "n" * 2**20
    test = next(iter(by_name(read(case(f"<failure>a{long}z</failure>", name=long))).values()))
    assert len(test.name) == limits.MAX_NAME_CHARACTERS
    assert test.details is not None
    assert test.details.startswith("an")
    assert test.details.endswith("nz")
    assert "characters left out" in test.details
    assert len(test.details) < limits.MAX_DETAILS_CHARACTERS + 100


def test_a_test_beyond_the_hundred_thousandth_is_left_out_and_that_is_said() -> None:
    many = b"".join(b"<testcase name='t%d'/>" % n for n in range(limits.MAX_TESTS + 5))
    results = read(b"<testsuite>" + many + b"</testsuite>")
    assert results.counts is not None
    assert results.counts.tests == limits.MAX_TESTS
    assert "more than 100,000 tests" in results.warnings[0]
    assert sum(len(unpacked(portion)) for portion in results.tests) == limits.MAX_TESTS


def test_two_hundred_megabytes_of_output_take_no_memory() -> None:
    def content() -> Iterable[bytes]:
        yield b"<testsuite><testcase name='a'><system-out>"
        for _ in range(200):
            yield b"x" * 2**20
        yield b"</system-out><failure>no</failure></testcase></testsuite>"

    tracemalloc.start()
    try:
        results = read_all([(ReportKind.JUNIT, "a.xml", content())])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert results.failed == ["a"]
    assert most < 16 * 2**20


@given(
    st.lists(
        st.sampled_from(
            [
                b"<testsuite>",
                b"<testcase name='",
                b"'>",
                b"<failure>",
                b"a",
                b"</failure>",
                b"</testcase>",
                b"</testsuite>",
                b"\0",
                b"\xff",
                b"&x;",
                b"<![CDATA[",
                b"]]>",
                b"<!DOCTYPE a [",
                b"]>",
            ]
        )
    )
)
def test_no_bytes_at_all_are_more_than_a_warning(parts: list[bytes]) -> None:
    results = read(b"".join(parts))
    assert len(results.warnings) <= 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(
        st.builds(
            TestResult,
            suite=texts,
            name=texts,
            result=st.sampled_from(Result),
            milliseconds=st.integers(0, 10**12),
            flaky=st.booleans(),
            message=st.none() | texts,
            details=st.none() | texts,
            file=st.none() | texts,
            line=st.none() | st.integers(0, 10**8),
        )
    )
)
def test_what_is_packed_comes_out_as_it_was(tests: list[TestResult]) -> None:
    assert unpacked(packed(tests)) == tests
