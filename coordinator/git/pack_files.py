"""The packs of a repository, as files: its own, and those that were put aside. Blocking."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from coordinator.domain.pushes.stored_repository import PackPlace

GARBAGE = "garbage"
"""Where packs are put aside, each in `<seconds since 1970>/pack`; see garbage.py."""
INDEX_LAST = (".mtimes", ".rev", ".pack", ".idx")
"""Whoever sees the index finds the rest."""
_PACK = re.compile(r"pack-[0-9a-f]{40}")
_LOOSE = re.compile(r"[0-9a-f]{2}")


def packs_of(repository: Path) -> Mapping[PackPlace, Path]:
    """Place → its file without the suffix; those with an index alone."""
    return {
        (aside, index.stem): index.with_suffix("")
        for aside, folder in folders_of(repository)
        for index in folder.glob("pack-*.idx")
        if _PACK.fullmatch(index.stem) and index.with_suffix(".pack").is_file()
    }


def folders_of(repository: Path) -> Iterator[tuple[int | None, Path]]:
    yield None, repository / "objects" / "pack"
    garbage = repository / GARBAGE
    for folder in sorted(garbage.iterdir()) if garbage.is_dir() else ():
        if folder.name.isdigit():
            yield int(folder.name), folder / "pack"


def folder_of(repository: Path, aside: int | None) -> Path:
    if aside is None:
        return repository / "objects" / "pack"
    return repository / GARBAGE / str(aside) / "pack"


def move_pack(source: Path, folder: Path) -> None:
    """`source` is without the suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in INDEX_LAST:
        with suppress(FileNotFoundError):
            os.replace(source.with_suffix(suffix), folder / f"{source.name}{suffix}")


def link_pack(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in INDEX_LAST:
        with suppress(FileNotFoundError):
            os.link(source.with_suffix(suffix), folder / f"{source.name}{suffix}")


def remove_pack(repository: Path, place: PackPlace) -> None:
    aside, name = place
    folder = folder_of(repository, aside)
    for suffix in reversed(INDEX_LAST):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
    if aside is not None:
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()


def remove_strangers(repository: Path, known: Collection[PackPlace]) -> None:
    """Every object but those of these packs."""
    for aside, folder in list(folders_of(repository)):
        for file in list(folder.iterdir()) if folder.is_dir() else ():
            if (aside, file.name.partition(".")[0]) not in known:
                file.unlink()
        if aside is not None and not any(place[0] == aside for place in known):
            shutil.rmtree(folder.parent)
    for folder in (repository / "objects").iterdir():
        if folder.name != "pack":
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def loose_objects(repository: Path) -> Mapping[str, Path]:
    """Name → file."""
    return {
        folder.name + file.name: file
        for folder in (repository / "objects").iterdir()
        if _LOOSE.fullmatch(folder.name)
        for file in folder.iterdir()
        if not file.name.startswith("tmp_")
    }
