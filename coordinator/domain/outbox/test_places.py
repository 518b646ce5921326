"""Failed tests as problems of files, which a forge shows beside the code. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.domain.results.values import TestResult
from pipelines_schema.paths import WORKSPACE


def problems_of_tests(
    failed: Sequence[tuple[str, TestResult]], step: str | None
) -> list[Mapping[str, Any]]:
    """`failed` have their step's name; `step` is the only one that is told of. A test whose file
    lies elsewhere than in the repository has no place in it."""
    return [
        {"file": file, "line": test.line or 1, "message": _words(name, test)}
        for name, test in failed
        if step in (None, name) and (file := _in_repository(test.file)) is not None
    ]


def _in_repository(file: str | None) -> str | None:
    path = (file or "").removeprefix(f"{WORKSPACE}/").removeprefix("./")
    parts = path.split("/")
    is_inside = path and not path.startswith("/") and "\\" not in path and ".." not in parts
    return path if is_inside else None


def _words(step: str, test: TestResult) -> str:
    said = f": {test.message}" if test.message else ""
    return f"{test.name} failed in {step}{said}"
