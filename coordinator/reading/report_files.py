"""What the process of a reading does with the files of a step's reports. It loads little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coordinator.domain.results.values import ReadResults, ReportKind
from pipelines_schema import Watch

PIECE_BYTES = 1 << 20


def read_files(
    watch: Watch, files: Sequence[tuple[ReportKind, str, str]], secrets: Sequence[str]
) -> ReadResults:
    """Of each its kind, its name for people, and where it is. The secrets are the step's own, which
    had them when it wrote the files."""
    # Here, for the coordinator itself has no use for parsers.
    from coordinator.domain.results.read_files import read_all

    return read_all(((kind, name, _pieces(path)) for kind, name, path in files), secrets)


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
