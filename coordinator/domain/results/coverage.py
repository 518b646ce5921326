"""Which lines tests ran: Cobertura's XML or LCOV, told apart by how a file begins."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from coordinator.domain.results.limits import MAX_COVERED_LINES
from coordinator.domain.results.texts import one_line
from coordinator.domain.results.values import Coverage
from coordinator.domain.results.xml_events import Attributes, MalformedReport, XmlEvents

_BRANCHES = re.compile(r"\((\d{1,6})/(\d{1,6})\)")
_MAX_LCOV_LINE = 64 * 1024
_MAX_DIGITS = 18


@dataclass(slots=True)
class _File:
    lines: dict[int, bool] = field(default_factory=dict)
    branches: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    """How many there are at a place, and how many were taken."""


class CollectedCoverage:
    """Of all files of a step: a line that two reports name counts once, and as run where either
    says so. Whether the repository has such a file is not asked."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._known = 0

    def file(self, name: str) -> _File:
        return self._files.setdefault(name[:1000], _File())

    def line(self, file: _File, number: int, *, covered: bool) -> None:
        """Raises MalformedReport where there are too many."""
        if number not in file.lines:
            self._count()
        file.lines[number] = covered or file.lines.get(number, False)

    def branch(self, file: _File, place: tuple[int, str], *, all_of: int, taken: int) -> None:
        if place not in file.branches:
            self._count()
        _, before = file.branches.get(place, (0, 0))
        file.branches[place] = all_of, min(all_of, max(before, taken))

    def _count(self) -> None:
        self._known += 1
        if self._known > MAX_COVERED_LINES:
            raise MalformedReport(
                f"has more than {MAX_COVERED_LINES:,} lines: the rest is left out"
            )

    @property
    def totals(self) -> Coverage | None:
        """None where nothing was measured."""
        files = self._files.values()
        if not any(file.lines for file in files):
            return None
        return Coverage(
            lines=sum(len(file.lines) for file in files),
            lines_covered=sum(sum(file.lines.values()) for file in files),
            branches=sum(all_of for file in files for all_of, _ in file.branches.values()),
            branches_covered=sum(taken for file in files for _, taken in file.branches.values()),
        )


class CoverageReader:
    """One file. What it has told before a mistake counts."""

    def __init__(self, collected: CollectedCoverage) -> None:
        self._collected = collected
        self._reader: _Cobertura | _Lcov | None = None
        self._begin = b""

    def feed(self, data: bytes) -> None:
        """Raises MalformedReport."""
        if self._reader is None:
            self._begin += data
            text = self._begin.lstrip(b"\xef\xbb\xbf \t\r\n")
            if not text:
                self._begin = b""
                return
            is_xml = text[:1] == b"<" or text[:2] in (b"\xff\xfe", b"\xfe\xff")
            self._reader = (_Cobertura if is_xml else _Lcov)(self._collected)
            data, self._begin = self._begin if is_xml else text, b""
        self._reader.feed(data)

    def close(self) -> None:
        """Raises MalformedReport."""
        if self._reader is None:
            raise MalformedReport("is empty")
        self._reader.close()


class _Cobertura:
    def __init__(self, collected: CollectedCoverage) -> None:
        self._collected = collected
        self._xml = XmlEvents(self._begin, lambda _: None, lambda _: None)
        self._root = ""
        self._file: _File | None = None

    def feed(self, data: bytes) -> None:
        self._xml.feed(data)

    def close(self) -> None:
        self._xml.close()

    def _begin(self, name: str, attributes: Attributes) -> None:
        if not self._root:
            self._root = name
            if name != "coverage":
                root = one_line(name, 40)
                raise MalformedReport(
                    f"is neither Cobertura's XML nor LCOV: it begins with `<{root}>`"
                )
        if name == "class":
            self._file = self._collected.file(attributes.get("filename", ""))
        elif name == "line" and self._file is not None:
            self._line(self._file, attributes)

    def _line(self, file: _File, attributes: Attributes) -> None:
        number, hits = _whole(attributes.get("number", "")), _whole(attributes.get("hits", ""))
        if number is None or hits is None:
            return
        self._collected.line(file, number, covered=hits > 0)
        if found := _BRANCHES.search(attributes.get("condition-coverage", "")[:200]):
            taken, all_of = int(found[1]), int(found[2])
            self._collected.branch(file, (number, ""), all_of=all_of, taken=taken)


class _Lcov:
    def __init__(self, collected: CollectedCoverage) -> None:
        self._collected = collected
        self._rest = b""
        self._file: _File | None = None
        self._is_lcov = False

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _MAX_LCOV_LINE:
            raise MalformedReport("is neither Cobertura's XML nor LCOV: it has very long lines")

    def close(self) -> None:
        self._line(self._rest)
        if not self._is_lcov:
            raise MalformedReport("is neither Cobertura's XML nor LCOV")

    def _line(self, line: bytes) -> None:
        key, colon, value = line.decode("utf-8", "replace").strip().partition(":")
        if not colon:
            return
        if key == "SF":
            self._is_lcov = True
            self._file = self._collected.file(value)
        elif self._file is not None and key == "DA":
            self._data(self._file, value.split(","))
        elif self._file is not None and key == "BRDA":
            self._branch(self._file, value.split(","))

    def _data(self, file: _File, parts: list[str]) -> None:
        number, hits = _whole(parts[0]), _whole(parts[1]) if len(parts) > 1 else None
        if number is not None and hits is not None:
            self._collected.line(file, number, covered=hits > 0)

    def _branch(self, file: _File, parts: list[str]) -> None:
        number = _whole(parts[0])
        if number is None or len(parts) != 4:
            return
        place = number, f"{parts[1][:40]},{parts[2][:40]}"
        self._collected.branch(file, place, all_of=1, taken=int((_whole(parts[3]) or 0) > 0))


def _whole(text: str) -> int | None:
    """What some tools write below zero means that a line was run too often to be counted."""
    text = text.strip()
    if text.startswith("-"):
        return 1 if _is_number(text[1:]) else None
    return int(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
