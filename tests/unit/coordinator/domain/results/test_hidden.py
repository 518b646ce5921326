"""Secrets in reports."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

import pytest

from coordinator.domain.results.hidden import hidden_in_summary
from coordinator.domain.results.limits import (
    MAX_DETAILS_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_SUMMARY_BYTES,
)
from coordinator.domain.results.packing import unpacked
from coordinator.domain.results.read_files import read_all
from coordinator.domain.results.values import ReadResults, ReportKind, TestResult
from pipelines_schema.masking import Masker

SECRET = 's3cret <ü> of "more" than a word'


def read(content: str, piece: int, kind: ReportKind = ReportKind.JUNIT) -> ReadResults:
    data = content.encode()
    pieces = (data[begin : begin + piece] for begin in range(0, len(data), piece))
    return read_all([(kind, f"{SECRET}.xml", pieces)], ["other", SECRET])


def failed_test(suite: str, name: str, message: str, details: str, file: str) -> str:
    return (
        f"<testsuite><testcase classname={quoteattr(suite)} name={quoteattr(name)} "
        f"file={quoteattr(file)}><failure message={quoteattr(message)}>{escaped(details)}"
        "</failure></testcase></testsuite>"
    )


def escaped(text: str) -> str:
    return quoteattr(text)[1:-1].replace("&quot;", '"')


def one_test(results: ReadResults) -> TestResult:
    (test,) = [test for portion in results.tests for test in unpacked(portion)]
    return test


def texts(test: TestResult) -> Iterable[str | None]:
    return test.suite, test.name, test.message, test.details, test.file


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_secret_is_hidden_wherever_a_test_shows_it(piece: int) -> None:
    written = failed_test(SECRET, f"a[{SECRET}]", f"no {SECRET}", f"{SECRET}\nmore", f"{SECRET}.py")
    test = one_test(read(written, piece))
    assert list(texts(test)) == ["***", "a[***]", "no ***", "***\nmore", "***.py"]


@pytest.mark.parametrize("before", range(0, len(SECRET) + 3, 5))
def test_no_piece_of_a_secret_is_left_where_a_text_is_shortened(before: int) -> None:
    """Secrets one after the other, so that each cut goes through one of them."""

    def around(most: int) -> str:
        return "." * before + SECRET * (3 * most // len(SECRET))

    name, message = around(MAX_NAME_CHARACTERS), around(MAX_MESSAGE_CHARACTERS)
    details = around(MAX_DETAILS_CHARACTERS)
    results = read(failed_test(name, name, message, details, name), 1 << 20)
    for text in (*texts(one_test(results)), *results.failed):
        assert text is not None
        assert set(text) <= set(".*… \n[]0123456789,charters left out"), text
        assert "s3" not in text


def test_a_file_of_another_form_is_told_without_the_secret_that_it_begins_with() -> None:
    word = "w" * 60
    (warning,) = read_all(
        [(ReportKind.JUNIT, "a.xml", iter([f"<{word}/>".encode()]))], [word]
    ).warnings
    assert warning == "reports: a.xml is no report of JUnit's form: it begins with `<***>`"


def test_a_secret_is_hidden_in_all_of_a_summary() -> None:
    link = {"tag": "a", "children": ["s3cret"], "href": "https://s3cret.example"}
    summary = [{"tag": "p", "children": [link, "s3cret"]}, "x"]
    assert hidden_in_summary(summary, Masker(["s3cret\n"])) == [
        {
            "tag": "p",
            "children": [{"tag": "a", "children": ["***"], "href": "https://***.example"}, "***"],
        },
        "x",
    ]


def test_of_a_summary_whose_first_line_is_too_long_nothing_is_shown() -> None:
    content = "." * (MAX_SUMMARY_BYTES - 5) + SECRET
    results = read(content, 1 << 20, ReportKind.SUMMARY)
    assert results.summary == []
    assert results.warnings == [
        "reports: ***.xml has a first line of more than 64 KiB: nothing of it is shown"
    ]


def test_the_longest_goes_first_and_the_shortest_stay() -> None:
    masker = Masker(["abc", "abcdef", "ab", "}"])
    assert masker.hide("abcdef abc ab }") == "*** *** ab }"


def test_each_line_and_each_spelling_of_a_secret_is_hidden() -> None:
    key = "-----BEGIN KEY-----\nMIIabc/def+0\n-----END KEY-----\n"
    shown = f"got 'MIIabc/def+0' and MIIabc%2Fdef%2B0, {key!r}"
    assert "MII" not in Masker([key]).hide(shown)
    assert Masker(['pass"word']).hide('pass\\"word') == "***"
