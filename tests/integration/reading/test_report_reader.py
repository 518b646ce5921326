"""Reports that are read in a real process, with its limits, from a real store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.domain.model import Artifact
from coordinator.domain.results.packing import unpacked
from coordinator.domain.results.values import ReportKind
from coordinator.objects.blobs import ObjectBlobStore
from coordinator.objects.stores import open_store
from coordinator.ports import NotRead
from coordinator.reading.limits import Limits
from coordinator.reading.processes import ReadingProcesses
from coordinator.reading.report_reader import ReportFiles


class Reader:
    """Reports of one account."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.blobs = ObjectBlobStore(open_store(folder / "objects"))
        self.processes = ReadingProcesses(limits) if limits else ReadingProcesses()
        self.files = ReportFiles(self.blobs, folder / "reports", self.processes)
        self.files.begin()

    async def put(self, kind: ReportKind, content: bytes) -> tuple[ReportKind, Artifact]:
        async def pieces() -> AsyncIterator[bytes]:
            for begin in range(0, len(content), 1 << 20):
                yield content[begin : begin + (1 << 20)]

        await self.blobs.put("acme", pieces(), max_bytes=1 << 30)
        digest = hashlib.sha256(content).hexdigest()
        artifact = Artifact(
            step_id="s", epoch=1, name="a.xml", size=len(content), sha256=digest, mode=0o644
        )
        return kind, artifact


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    await reader.processes.close()


async def test_what_a_step_reports_is_read_elsewhere_and_nothing_of_it_stays(
    reader: Reader, tmp_path: Path
) -> None:
    junit = b"<testsuite><testcase name='a'/><testcase name='b'><error>no secret</error></testcase>"
    files = [
        await reader.put(ReportKind.JUNIT, junit + b"</testsuite>"),
        await reader.put(ReportKind.SUMMARY, b"# a"),
    ]
    read = await reader.files.read("acme", files, ["secret"])
    tests = [test for portion in read.tests for test in unpacked(portion)]
    assert [(test.name, test.details) for test in tests] == [("a", None), ("b", "no ***")]
    assert read.failed == ["b"]
    assert read.summary == [{"tag": "h1", "children": ["a"]}]
    assert list((tmp_path / "reports").iterdir()) == []


async def test_what_an_earlier_coordinator_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "reports" / "tmpx" / "0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    Reader(tmp_path)
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(seconds=1), "more than 1 s of processor time"),
        (Limits(memory_bytes=24 * 2**20), "more than 24 MiB of memory|want of memory"),
    ],
)
async def test_a_report_that_takes_too_much_ends_its_process(
    tmp_path: Path, limits: Limits, said: str
) -> None:
    reader = Reader(tmp_path, limits)
    lines = b"".join(b"<line number='%d' hits='1'/>" % number for number in range(1_000_000))
    coverage = b"<coverage><class filename='a'><lines>" + lines + b"</lines></class></coverage>"
    files = [await reader.put(ReportKind.COVERAGE, coverage)]
    try:
        with pytest.raises(NotRead, match=said):
            await reader.files.read("acme", files, ["secret"])
        small = [await reader.put(ReportKind.SUMMARY, b"fine")]
        assert (await reader.files.read("acme", small, [])).summary is not None
    finally:
        await reader.processes.close()
