"""The tests of all files of a step, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from coordinator.domain.results.limits import MAX_TESTS, MAX_TEXT_CHARACTERS, TESTS_AT_ONCE
from coordinator.domain.results.packing import packed
from coordinator.domain.results.values import Counts, Result, TestResult

NAMED = 20
"""Failed tests that are named to whoever makes a sentence of them."""


class TooManyTests(Exception):
    """No further test is taken."""


class CollectedTests:
    """A test that is reported twice has failed where it failed once."""

    __test__ = False

    def __init__(self) -> None:
        self._tests: dict[tuple[str, str], TestResult] = {}
        self._characters = 0
        self.left_out = False
        """There were more tests, or more text of them, than is kept."""

    def __len__(self) -> int:
        return len(self._tests)

    def add(self, test: TestResult) -> None:
        """Raises TooManyTests."""
        key = test.suite, test.name
        before = self._tests.get(key)
        if before is None and len(self._tests) >= MAX_TESTS:
            self.left_out = True
            raise TooManyTests
        self._characters += _characters(test)
        if self._characters > MAX_TEXT_CHARACTERS:
            self.left_out = True
            test = replace(test, message=None, details=None)
            if self._characters > 2 * MAX_TEXT_CHARACTERS:
                raise TooManyTests
        self._tests[key] = test if before is None else _both(before, test)

    @property
    def counts(self) -> Counts:
        tests = self._tests.values()
        return Counts(
            tests=len(tests),
            failed=sum(test.result is Result.FAILED for test in tests),
            skipped=sum(test.result is Result.SKIPPED for test in tests),
            milliseconds=sum(test.milliseconds for test in tests),
        )

    @property
    def failed(self) -> Sequence[str]:
        """The names of the first of them."""
        names = (test.name for test in self._tests.values() if test.result is Result.FAILED)
        return [name for name, _ in zip(names, range(NAMED), strict=False)]

    def portions(self) -> Iterator[bytes]:
        tests = list(self._tests.values())
        for begin in range(0, len(tests), TESTS_AT_ONCE):
            yield packed(tests[begin : begin + TESTS_AT_ONCE])


def _characters(test: TestResult) -> int:
    texts = (test.suite, test.name, test.message, test.details, test.file)
    return sum(len(text) for text in texts if text)


def _both(first: TestResult, second: TestResult) -> TestResult:
    """Tools that try a test again report it again; pytest does so for an error after a failure."""
    results = {first.result, second.result}
    shown = second if first.result is not Result.FAILED else first
    if results == {Result.PASSED, Result.SKIPPED}:
        shown = first if first.result is Result.PASSED else second
    return replace(
        shown,
        milliseconds=first.milliseconds + second.milliseconds,
        flaky=first.flaky or second.flaky or results == {Result.PASSED, Result.FAILED},
    )
