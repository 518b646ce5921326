"""Which files are reports, and what is said of them."""

from __future__ import annotations

import pytest

from coordinator.domain.model import Artifact
from coordinator.domain.results.file_choice import chosen_files, is_named_by
from coordinator.domain.results.limits import MAX_FILE_BYTES
from coordinator.domain.results.values import Counts, ReportKind
from coordinator.domain.results.words import failed_tests
from pipelines_schema import StepReports


def artifact(name: str, size: int = 1) -> Artifact:
    return Artifact(step_id="s", epoch=1, name=name, size=size, sha256="0", mode=0o644)


@pytest.mark.parametrize(
    ("pattern", "name", "is_named"),
    [
        ("a.xml", "a.xml", True),
        ("a.xml", "b/a.xml", False),
        ("r/*.xml", "r/a.xml", True),
        ("r/*.xml", "r/a/b.xml", False),
        ("**/T-?.xml", "T-1.xml", True),
        ("**/T-?.xml", "a/b/T-1.xml", True),
        ("**/T-?.xml", "a/b/T-12.xml", False),
        ("r", "r/a/b.xml", True),
        ("r*", "reports/b.xml", True),
        ("[ab].xml", "b.xml", True),
        ("[ab].xml", "[ab].xml", True),
    ],
)
def test_a_report_is_what_the_pattern_names(pattern: str, name: str, is_named: bool) -> None:
    assert is_named_by(pattern, name) is is_named


def test_what_is_missing_or_too_large_is_a_warning() -> None:
    reports = StepReports(junit=("r/*.xml", "no.xml"), coverage=("big.xml",), summary="s.md")
    files = [artifact("r/a.xml"), artifact("s.md"), artifact("big.xml", MAX_FILE_BYTES + 1)]
    chosen = chosen_files(reports, files)
    assert [(kind, one.name) for kind, one in chosen.files] == [
        (ReportKind.JUNIT, "r/a.xml"),
        (ReportKind.SUMMARY, "s.md"),
    ]
    missing, large = chosen.warnings
    assert missing == "reports: no file for `junit: no.xml`"
    assert "big.xml was not read: it has 67,108,865 bytes, more than 64 MiB" in large


def test_a_file_that_two_patterns_name_is_read_once() -> None:
    chosen = chosen_files(StepReports(junit=("a.xml", "*.xml")), [artifact("a.xml")])
    assert len(chosen.files) == 1
    assert chosen.warnings == []


def test_no_more_than_so_much_is_read_of_one_step() -> None:
    files = [artifact(f"{number}.xml", MAX_FILE_BYTES) for number in range(6)]
    chosen = chosen_files(StepReports(junit=("*.xml",)), files)
    assert len(chosen.files) == 4
    assert len(chosen.warnings) == 2


def counts(tests: int, failed: int) -> Counts:
    return Counts(tests=tests, failed=failed, skipped=0, milliseconds=0)


def test_failed_tests_are_told_in_a_sentence() -> None:
    assert failed_tests(None, []) is None
    assert failed_tests(counts(3, 0), []) is None
    assert failed_tests(counts(1, 1), ["a"]) == "1 of 1 test failed: a"
    assert failed_tests(counts(1204, 2), ["a", "b"]) == "2 of 1,204 tests failed: a, b"
    many = failed_tests(counts(1204, 7), ["a\n\x1b[31m", "b" * 200, "c", "d"])
    assert many is not None
    assert many.startswith("7 of 1,204 tests failed: a [31m, bbb")
    assert many.endswith("…, c, …")
