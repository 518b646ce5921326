"""All report files of a step, each read in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from coordinator.domain.results.collected_tests import CollectedTests, TooManyTests
from coordinator.domain.results.coverage import CollectedCoverage, CoverageReader
from coordinator.domain.results.hidden import hidden_in_summary
from coordinator.domain.results.junit import JUnitReader
from coordinator.domain.results.limits import MAX_SUMMARY_BYTES, MAX_TESTS
from coordinator.domain.results.summary import read_summary
from coordinator.domain.results.values import ReadResults, ReportKind, Summary
from coordinator.domain.results.xml_events import MalformedReport
from pipelines_schema.masking import Masker

Pieces = Iterable[bytes]


def read_all(
    files: Iterable[tuple[ReportKind, str, Pieces]], secrets: Sequence[str] = ()
) -> ReadResults:
    """Of each file its kind, its name for people, and its bytes. A file with a mistake is a
    warning; what stands before it counts. Nothing that is told shows one of the secrets."""
    tests, coverage, masker = CollectedTests(), CollectedCoverage(), Masker(secrets)
    has_tests = False
    summary: Summary | None = None
    warnings: list[str] = []
    for kind, name, pieces in files:
        try:
            if kind is ReportKind.JUNIT:
                has_tests = True
                _read_tests(pieces, tests, masker)
            elif kind is ReportKind.COVERAGE:
                _feed(CoverageReader(coverage), pieces)
            else:
                summary, what_is_cut = _read_summary(pieces)
                if what_is_cut:
                    raise MalformedReport(what_is_cut)
        except MalformedReport as error:
            warnings.append(masker.hide(f"reports: {name} {error}"))
    if tests.left_out:
        warnings.append(
            f"reports: there are more than {MAX_TESTS:,} tests, or too much is said of them: "
            "the rest is left out"
        )
    return ReadResults(
        counts=tests.counts if has_tests else None,
        tests=tuple(tests.portions()),
        failed=tests.failed,
        coverage=coverage.totals,
        summary=None if summary is None else hidden_in_summary(summary, masker),
        warnings=warnings,
    )


def _read_tests(pieces: Pieces, tests: CollectedTests, masker: Masker) -> None:
    before = len(tests)
    try:
        _feed(JUnitReader(tests, masker), pieces)
    except TooManyTests:
        return
    except MalformedReport as error:
        read = len(tests) - before
        if not read:
            raise
        raise MalformedReport(f"{error}; {_counted(read)} before it counted") from error


def _counted(tests: int) -> str:
    return f"the {tests:,} tests" if tests > 1 else "the test"


def _feed(reader: JUnitReader | CoverageReader, pieces: Pieces) -> None:
    for piece in pieces:
        reader.feed(piece)
    reader.close()


def _read_summary(pieces: Pieces) -> tuple[Summary, str]:
    """And what is to be said where there was more than is read. Only lines are shown whole, for a
    secret is known by one."""
    content = bytes(_first(pieces, MAX_SUMMARY_BYTES + 1))
    if len(content) <= MAX_SUMMARY_BYTES:
        return read_summary(content), ""
    kibibytes = MAX_SUMMARY_BYTES // 1024
    whole_lines = content[:MAX_SUMMARY_BYTES].rpartition(b"\n")[0]
    if not whole_lines:
        return [], f"has a first line of more than {kibibytes} KiB: nothing of it is shown"
    return read_summary(whole_lines), f"is long: only its first {kibibytes} KiB are shown"


def _first(pieces: Pieces, most: int) -> Iterator[int]:
    yield from (byte for byte, _ in zip(chain.from_iterable(pieces), range(most), strict=False))
