"""Refs, HEAD and the logs of branches as git has them in files. Blocking.

Of a repository whose truth is elsewhere the refs are one file, which is replaced as a whole. Names
that are not UTF-8 have their odd bytes as `\\xNN`: no ref's name holds a backslash.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from coordinator.domain.pushes.deliveries import BRANCH
from coordinator.domain.pushes.stored_repository import RefMove

PACKED = "packed-refs"
_HEADER = b"# pack-refs with: sorted \n"
_SYMBOLIC = "ref: "
_SHA = re.compile(rb"[0-9a-f]{40}")
_ODD = re.compile(rb"\\x([0-9a-f]{2})")
_NO_COMMIT = "0" * 40
_LOGGED = re.compile(r"([0-9a-f]{40}) ([0-9a-f]{40}) [^\t]*> (\d+) [+-]\d{4}(\t|$)")


def name_of(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def raw_of(name: str) -> bytes:
    return _ODD.sub(lambda found: bytes([int(found[1], 16)]), name.encode())


def read_refs(repository: Path) -> dict[str, str]:
    """Every direct ref below `refs/`."""
    refs: dict[str, str] = {}
    with suppress(FileNotFoundError):
        for line in (repository / PACKED).read_bytes().splitlines():
            sha, _, name = line.partition(b" ")
            if _SHA.fullmatch(sha):
                refs[name_of(name)] = sha.decode()
    root = os.fsencode(repository)
    for folder, _, names in os.walk(root + b"/refs"):
        for name in names:
            if name.endswith(b".lock"):
                continue  # of a git that was killed: no ref is called so
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError), open(path, "rb") as file:
                sha = file.read(41).strip()
                if _SHA.fullmatch(sha):
                    refs[name_of(path[len(root) + 1 :])] = sha.decode()
    return refs


def write_refs(repository: Path, refs: Mapping[str, str]) -> None:
    """All of them, at once; no other file has any afterwards."""
    lines = sorted((raw_of(name), sha) for name, sha in refs.items())
    body = b"".join(b"%s %s\n" % (sha.encode(), name) for name, sha in lines)
    replace_file(repository / PACKED, _HEADER + body)
    for one in (repository / "refs").iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()


def read_head(repository: Path) -> str:
    text = (repository / "HEAD").read_bytes().decode(errors="backslashreplace").strip()
    return text.removeprefix(_SYMBOLIC)


def write_head(repository: Path, ref: str) -> None:
    replace_file(repository / "HEAD", f"{_SYMBOLIC}".encode() + raw_of(ref) + b"\n")


def replace_file(path: Path, content: bytes) -> None:
    """At once, and on the disk when this returns, but for its name."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def read_moves(repository: Path) -> Sequence[RefMove]:
    """Of the branches that there are, each one's in order."""
    moves = []
    for ref in sorted(read_refs(repository)):
        if not ref.startswith(BRANCH):
            continue
        with suppress(FileNotFoundError), open(_log(repository, ref), "rb") as file:
            for line in file:
                if found := _LOGGED.match(line.decode(errors="replace").rstrip("\n")):
                    old = None if found[1] == _NO_COMMIT else found[1]
                    at = datetime.fromtimestamp(int(found[3]), UTC)
                    moves.append(RefMove(ref=ref, old=old, new=found[2], moved_at=at))
    return moves


def add_moves(repository: Path, moves: Iterable[RefMove]) -> None:
    for move in moves:
        path = _log(repository, move.ref)
        with suppress(FileExistsError):
            os.makedirs(os.path.dirname(path))
        with open(path, "ab") as file:
            seconds = int(move.moved_at.timestamp())
            who = f"pushrod <pushrod@localhost> {seconds} +0000\tpush"
            file.write(f"{move.old or _NO_COMMIT} {move.new} {who}\n".encode())


def drop_logs(repository: Path, refs: Iterable[str]) -> None:
    """Of refs that are gone, with the folders that stood for them alone."""
    root = os.path.join(os.fsencode(repository), b"logs", b"refs", b"heads")
    for ref in refs:
        path = _log(repository, ref)
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(path)
        folder = os.path.dirname(path)
        with suppress(OSError):
            while folder.startswith(root + b"/"):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def write_moves(repository: Path, moves: Iterable[RefMove]) -> None:
    """These, and no others."""
    shutil.rmtree(repository / "logs", ignore_errors=True)
    add_moves(repository, moves)


def _log(repository: Path, ref: str) -> bytes:
    return os.path.join(os.fsencode(repository), b"logs", raw_of(ref))
