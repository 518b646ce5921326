"""Coverage as tools write it."""

from __future__ import annotations

import pytest

from coordinator.domain.results.read_files import read_all
from coordinator.domain.results.values import Coverage, ReadResults, ReportKind

COBERTURA = b"""<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage version="7.4" lines-valid="4" lines-covered="3" line-rate="0.75">
<packages><package name="p"><classes><class name="a.py" filename="src/a.py">
<methods><method name="f"><lines><line number="1" hits="1"/></lines></method></methods>
<lines><line number="1" hits="1"/><line number="2" hits="0"/>
<line number="3" hits="7" branch="true" condition-coverage="50% (1/2)"/></lines></class>
<class name="gone.py" filename="no/such/file.py"><lines><line number="1" hits="1"/></lines></class>
</classes></package></packages></coverage>
"""
LCOV = b"""TN:
SF:src/a.py
DA:1,1
DA:2,5,checksum
DA:4,0
BRDA:4,0,0,-
BRDA:4,0,1,3
LF:3
LH:2
end_of_record
"""


def read(*contents: bytes, piece: int = 1 << 20) -> ReadResults:
    return read_all(
        (
            ReportKind.COVERAGE,
            f"{number}.xml",
            (content[at : at + piece] for at in range(0, len(content), piece)),
        )
        for number, content in enumerate(contents)
    )


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_coberturas_lines_are_counted_once_each(piece: int) -> None:
    results = read(COBERTURA, piece=piece)
    assert results.warnings == []
    assert results.coverage == Coverage(lines=4, lines_covered=3, branches=2, branches_covered=1)
    assert results.coverage.percent == 75.0
    assert results.counts is None


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_lcov_is_known_by_how_it_begins(piece: int) -> None:
    results = read(b"\n" + LCOV, piece=piece)
    assert results.warnings == []
    assert results.coverage == Coverage(lines=3, lines_covered=2, branches=2, branches_covered=1)


def test_a_line_that_two_reports_name_is_covered_where_either_says_so() -> None:
    assert read(COBERTURA, LCOV).coverage == Coverage(
        lines=5, lines_covered=4, branches=4, branches_covered=2
    )
    assert read(LCOV.replace(b"DA:1,1", b"DA:1,0"), LCOV).coverage == read(LCOV).coverage


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"<report/>", "neither Cobertura's XML nor LCOV: it begins with `<report>`"),
        (b"just words", "is neither Cobertura's XML nor LCOV"),
        (b"x" * 100_000, "very long lines"),
        (b"<coverage><", "is not well-formed XML"),
        (b'<!DOCTYPE coverage [<!ENTITY a "b">]><coverage/>', "declares entities"),
    ],
)
def test_a_file_that_is_no_coverage_is_a_warning(content: bytes, said: str) -> None:
    results = read(content)
    assert said in results.warnings[0]
    assert results.coverage is None


def test_numbers_that_are_none_are_passed_over() -> None:
    odd = b"SF:a\nDA:x,1\nDA:1\nDA:2,-1\nDA:3,99999999999999999999\nDA:4,0\nBRDA:1,2\nDA\n"
    assert read(odd).coverage == Coverage(lines=2, lines_covered=1)


def test_of_a_coverage_without_any_line_there_is_nothing_to_say() -> None:
    results = read(b"<coverage line-rate='1'><packages/></coverage>")
    assert results.coverage is None
    assert results.warnings == []
