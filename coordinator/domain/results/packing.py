"""Tests in portions, on their way from the process that reads them to the database."""

from __future__ import annotations

import json
from collections.abc import Sequence

from coordinator.domain.results.values import Result, TestResult


def packed(tests: Sequence[TestResult]) -> bytes:
    rows = [
        [
            test.suite,
            test.name,
            test.result.value,
            test.milliseconds,
            test.flaky,
            test.message,
            test.details,
            test.file,
            test.line,
        ]
        for test in tests
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(portion: bytes) -> list[TestResult]:
    """What was `packed`."""
    return [
        TestResult(
            suite=suite,
            name=name,
            result=Result(result),
            milliseconds=milliseconds,
            flaky=flaky,
            message=message,
            details=details,
            file=file,
            line=line,
        )
        for suite, name, result, milliseconds, flaky, message, details, file, line in json.loads(
            portion
        )
    ]
