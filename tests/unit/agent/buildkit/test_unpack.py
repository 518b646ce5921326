from __future__ import annotations

import io
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from agent.engines.buildkit.unpack import (
    ChunkReader,
    UnsafeStreamError,
    engine_patterns,
    safe_parts,
    unpack,
)


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_files_keep_content_and_permissions_and_folders_are_made(tmp_path: Path) -> None:
    unpack(
        archive(
            (member("f", tarfile.DIRTYPE), b""),
            (member("f/empty", tarfile.DIRTYPE), b""),
            (member("f/bin/run", mode=0o755), b"run"),
        ),
        tmp_path,
    )

    assert (tmp_path / "bin/run").read_bytes() == b"run"
    assert (tmp_path / "bin/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "empty").is_dir()


def test_a_second_name_of_a_file_is_a_copy(tmp_path: Path) -> None:
    unpack(archive((member("f/a"), b"a"), (member("f/b", tarfile.LNKTYPE, "f/a"), b"")), tmp_path)

    assert (tmp_path / "b").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "f/../../x", "f/a/../../../x"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with pytest.raises(UnsafeStreamError):
        unpack(archive((member(name), b"x")), folder)

    assert sorted(tmp_path.rglob("*")) == [folder]


def test_nothing_is_written_through_a_link_of_the_stream(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    stream = archive(
        (member("f/out", tarfile.SYMTYPE, str(outside)), b""), (member("f/out/file"), b"x")
    )

    with pytest.raises(OSError, match="exists"):
        unpack(stream, folder)

    assert list(outside.iterdir()) == []


def test_a_hard_link_to_a_file_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeStreamError):
        unpack(archive((member("f/a", tarfile.LNKTYPE, "../../etc/passwd"), b"")), tmp_path)


def test_a_link_stays_what_it_is(tmp_path: Path) -> None:
    unpack(
        archive((member("f/l", tarfile.SYMTYPE, "/workspace/a"), b""), (member("f/a"), b"a")),
        tmp_path,
    )

    assert str((tmp_path / "l").readlink()) == "/workspace/a"


def test_a_device_becomes_a_harmless_stand_in(tmp_path: Path) -> None:
    made = {"dev": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE}
    stream = archive(*((member(f"f/d/{name}", kind), b"") for name, kind in made.items()))
    stands_for = unpack(stream, tmp_path)

    assert all((tmp_path / "d" / name).is_fifo() for name in made)
    assert stands_for == {"d/dev": stat.S_IFCHR, "d/disk": stat.S_IFBLK, "d/pipe": stat.S_IFIFO}


def test_names_of_the_engine_itself_are_taken_apart() -> None:
    assert safe_parts("./f/a/") == ("f", "a")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        (["dist/*.whl", "reports/"], ("dist/*.whl", "reports")),
        (["**"], ("**",)),
        (["."], ("**",)),
        (["a[1]/b", "!c", "d\\e"], ("*/b", "*")),
        (["../x", "/etc", ""], ("**",)),
        (["../x", "/etc"], ()),
    ],
)
def test_the_engine_is_asked_for_at_least_what_is_meant(
    written: list[str], asked: tuple[str, ...]
) -> None:
    assert engine_patterns(written) == asked


def test_what_the_loop_puts_in_one_thread_reads_whole() -> None:
    chunks = ChunkReader()
    pieces = [bytes([number]) * 1000 for number in range(200)]

    def put_all() -> None:
        for piece in [*pieces, b""]:
            chunks.put(piece)

    writer = threading.Thread(target=put_all)
    writer.start()
    read = io.BufferedReader(chunks, 333).read()
    writer.join()

    assert read == b"".join(pieces)


def test_a_full_reader_takes_no_more_until_it_is_drained() -> None:
    chunks = ChunkReader()
    while chunks.offer(b"x"):
        pass
    ender = threading.Thread(target=chunks.put, args=(b"",))
    ender.start()

    chunks.drain()
    ender.join()

    assert chunks.read() == b""
