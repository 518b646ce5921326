"""Test results in the form that JUnit made usual, which every tool writes a little differently."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from coordinator.domain.results.collected_tests import CollectedTests
from coordinator.domain.results.limits import MAX_MESSAGE_CHARACTERS
from coordinator.domain.results.texts import MiddleOut, one_line, storable
from coordinator.domain.results.values import Result, TestResult
from coordinator.domain.results.xml_events import Attributes, MalformedReport, XmlEvents
from pipelines_schema.masking import Masker

_SUITES = frozenset({"testsuite", "testsuites"})
_RESULTS: Mapping[str, Result] = {
    "failure": Result.FAILED,
    "error": Result.FAILED,
    "skipped": Result.SKIPPED,
    "disabled": Result.SKIPPED,
}
_TRIED_AGAIN = frozenset({"flakyFailure", "flakyError"})
"""Of Surefire and Gradle: the test failed, and passed when it was tried again."""
_MOST_MILLISECONDS = 10**12
_PLACE = re.compile(
    r"^\s*(?:File \")?([\w@.+-][\w@./+ -]{0,300}\.\w{1,10})(?:\"?, line |:)(\d{1,8})\b"
)
"""At a line's begin, `tests/test_a.py:7: AssertionError`: a relative path and a line."""


class JUnitReader:
    """One file. What it has told before a mistake counts."""

    def __init__(self, tests: CollectedTests, masker: Masker) -> None:
        self._tests = tests
        self._masker = masker
        self._xml = XmlEvents(self._begin, self._end, self._text)
        self._suites: list[str] = []
        self._root = ""
        self._case: _Case | None = None

    def feed(self, data: bytes) -> None:
        """Raises MalformedReport, TooManyTests."""
        self._xml.feed(data)

    def close(self) -> None:
        """Raises MalformedReport, TooManyTests."""
        self._xml.close()
        if self._root not in (*_SUITES, "testcase"):
            root = one_line(self._masker.hide(self._root), 40)
            raise MalformedReport(f"is no report of JUnit's form: it begins with `<{root}>`")

    def _begin(self, name: str, attributes: Attributes) -> None:
        self._root = self._root or name
        if self._case is not None:
            self._case.begin(name, attributes)
        elif name == "testsuite":
            self._suites.append(attributes.get("name", ""))
        elif name == "testcase":
            suite = next(filter(None, reversed(self._suites)), "")
            self._case = _Case(attributes, suite, self._masker)

    def _end(self, name: str) -> None:
        if self._case is None:
            if name == "testsuite" and self._suites:
                self._suites.pop()
        elif name == "testcase":
            test, self._case = self._case.result(), None
            self._tests.add(test)
        else:
            self._case.end(name)

    def _text(self, text: str) -> None:
        if self._case is not None:
            self._case.text(text)


class _Case:
    """A `testcase` on its way."""

    def __init__(self, attributes: Attributes, suite: str, masker: Masker) -> None:
        self._attributes = attributes
        self._suite = attributes.get("classname") or suite
        self._result = Result.PASSED
        self._flaky = False
        self._message: str | None = None
        self._hide = masker.hide
        self._details = MiddleOut(masker.fresh())
        self._inside: str | None = None

    def begin(self, name: str, attributes: Attributes) -> None:
        if name in _TRIED_AGAIN:
            self._flaky = True
        result = _RESULTS.get(name)
        if result is None or self._inside is not None:
            return
        self._inside = name
        if self._result is not Result.FAILED:
            self._result = result
            self._message = attributes.get("message") or attributes.get("type")

    def end(self, name: str) -> None:
        if name == self._inside:
            self._inside = None

    def text(self, text: str) -> None:
        if self._inside is not None:
            self._details.add(text)

    def result(self) -> TestResult:
        hide, details = self._hide, self._details.end().strip("\n")
        message = hide(self._message or "") or details.strip().partition("\n")[0]
        file, line = self._place(details)
        return TestResult(
            suite=one_line(hide(self._suite)),
            name=one_line(hide(self._attributes.get("name", ""))) or "(without a name)",
            result=self._result,
            milliseconds=_milliseconds(self._attributes.get("time", "")),
            flaky=self._flaky,
            message=storable(message, MAX_MESSAGE_CHARACTERS) or None
            if self._result is not Result.PASSED
            else None,
            details=details or None if self._result is Result.FAILED else None,
            file=one_line(hide(file)) or None,
            line=line,
        )

    def _place(self, details: str) -> tuple[str, int | None]:
        """What the tool says, else the last place that a failure's text names."""
        file, line = self._attributes.get("file", ""), self._attributes.get("line", "")
        if file:
            return file, int(line) if re.fullmatch(r"[0-9]{1,8}", line) else None
        if self._result is not Result.FAILED:
            return "", None
        for text in reversed(details.splitlines()[-200:]):
            if found := _PLACE.match(text[:400]):
                return found[1], int(found[2])
        return "", None


def _milliseconds(seconds: str) -> int:
    """`1,234.5` is what some write; what is no number is 0."""
    try:
        value = float(seconds[:40].replace(",", "") or 0) * 1000
    except ValueError:
        return 0
    return round(min(value, _MOST_MILLISECONDS)) if math.isfinite(value) and value > 0 else 0
