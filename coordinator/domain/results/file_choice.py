"""Which of a step's artifacts are its reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from coordinator.domain.model import Artifact
from coordinator.domain.results.limits import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES
from coordinator.domain.results.values import ReportKind
from pipelines_schema import StepReports

_ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    files: Sequence[tuple[ReportKind, Artifact]]
    warnings: Sequence[str]


def chosen_files(reports: StepReports, artifacts: Sequence[Artifact]) -> Chosen:
    """With a warning for each path that names none, and for what is too large to be read."""
    files: list[tuple[ReportKind, Artifact]] = []
    warnings: list[str] = []
    total = 0
    for kind, pattern in _patterns(reports):
        found = [one for one in artifacts if is_named_by(pattern, one.name)]
        if not found:
            warnings.append(f"reports: no file for `{kind.value}: {pattern}`")
        for artifact in found:
            if (kind, artifact) in files:
                continue
            total += artifact.size
            if artifact.size > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES or len(files) >= MAX_FILES:
                warnings.append(f"reports: {artifact.name} {_too_much(artifact)}")
                total -= artifact.size
            else:
                files.append((kind, artifact))
    return Chosen(files=files, warnings=warnings)


def _patterns(reports: StepReports) -> Iterator[tuple[ReportKind, str]]:
    yield from ((ReportKind.JUNIT, one) for one in reports.junit)
    yield from ((ReportKind.COVERAGE, one) for one in reports.coverage)
    if reports.summary is not None:
        yield ReportKind.SUMMARY, reports.summary


def _too_much(artifact: Artifact) -> str:
    if artifact.size > MAX_FILE_BYTES:
        return (
            f"was not read: it has {artifact.size:,} bytes, more than "
            f"{MAX_FILE_BYTES // 1024**2} MiB; write several files, or less output into it"
        )
    return (
        f"was not read: a step's reports may be {MAX_FILES} files of "
        f"{MAX_TOTAL_BYTES // 1024**2} MiB together"
    )


def is_named_by(pattern: str, name: str) -> bool:
    """As agents take what `outputPaths` name: also a file below a folder that is named."""
    if name == pattern or name.startswith(f"{pattern}/"):
        return True
    names = name.split("/")
    return any(_matches(pattern.split("/"), names[:end]) for end in range(1, len(names) + 1))


def _matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    reached = {0}
    for name in names:
        reached = _past_stars(pattern, reached)
        following = {at for at in reached if at < len(pattern) and pattern[at] == _ANY_DEPTH}
        following |= {
            at + 1
            for at in reached
            if at < len(pattern) and pattern[at] != _ANY_DEPTH and fnmatchcase(name, pattern[at])
        }
        reached = following
    return len(pattern) in _past_stars(pattern, reached)


def _past_stars(pattern: Sequence[str], reached: set[int]) -> set[int]:
    past = set(reached)
    for at in reached:
        while at < len(pattern) and pattern[at] == _ANY_DEPTH:
            at += 1
            past.add(at)
    return past
