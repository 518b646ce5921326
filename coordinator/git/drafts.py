"""A copy of a repository in which a change is made before anybody sees it.

It borrows the objects of the repository. Whatever becomes of a push in it, the repository is as it
was until the change is stored; then the new packs are moved there, and the refs written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.domain.pushes.stored_repository import PackPlace, RefChange, differences
from coordinator.git.pack_files import GARBAGE, folder_of, link_pack, packs_of
from coordinator.git.ref_files import PACKED, read_head, read_refs

DRAFTS = ".changing-"
_BASE = "refs-before"
_CONFIG = b"""
[transfer]
	unpackLimit = 1
[core]
	alternateRefsPrefixes = refs/none/
	logAllRefUpdates = false
	fsync = objects,derived-metadata
"""
"""Packs are kept as they come, and on the disk; the refs whose objects are borrowed are its own
anyway, and what it has of them lasts for as long as it does."""
_NOTES = ("roots", "unneeded")
"""What garbage.py remembers of its last look."""


@dataclass(slots=True)
class Draft:
    path: Path
    """The repository to change, below `root` as it is named among the others."""
    packs: frozenset[PackPlace] = frozenset()
    """Those that it began with."""
    whole: bool = False
    """It has packs and logs of its own, and what goes from it is to go from the repository."""
    is_kept: bool = field(default=True, init=False)

    @property
    def root(self) -> Path:
        return self.path.parent

    def abandon(self) -> None:
        """What was changed is not to be kept. In a repository of this machine's own it is."""
        self.is_kept = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was changed in a draft."""

    refs: Mapping[str, RefChange]
    head: str | None
    """None: it stays."""
    new_packs: Mapping[PackPlace, Path]
    gone_packs: frozenset[PackPlace]

    @property
    def is_nothing(self) -> bool:
        return not (self.refs or self.head or self.new_packs or self.gone_packs)


def make_draft(repository: Path, *, whole: bool) -> Draft:
    """Blocking, as all here."""
    root = Path(tempfile.mkdtemp(prefix=DRAFTS, dir=repository.parent))
    path = root / repository.name
    (path / "refs").mkdir(parents=True)
    (path / "config").write_bytes((repository / "config").read_bytes() + _CONFIG)
    (root / _BASE).mkdir()
    for folder in (path, root / _BASE):
        shutil.copyfile(repository / "HEAD", folder / "HEAD")
    if (repository / PACKED).exists():
        # git never writes into it: it puts another in its place.
        os.link(repository / PACKED, path / PACKED)
        os.link(repository / PACKED, root / _BASE / PACKED)
    (path / "objects" / "pack").mkdir(parents=True)
    packs = packs_of(repository) if whole else {}
    if whole:
        for (aside, _), pack in packs.items():
            link_pack(pack, folder_of(path, aside))
        if (repository / "logs").is_dir():
            shutil.copytree(repository / "logs", path / "logs")
        _copy_notes(repository, path)
    else:
        (path / "objects" / "info").mkdir()
        alternate = os.fsencode(repository.absolute() / "objects")
        (path / "objects" / "info" / "alternates").write_bytes(alternate + b"\n")
    return Draft(path, frozenset(packs), whole)


def _copy_notes(source: Path, target: Path) -> None:
    for name in _NOTES:
        note = source / GARBAGE / name
        if note.exists():
            (target / GARBAGE).mkdir(exist_ok=True)
            shutil.copy2(note, target / GARBAGE / name)


def found_in(draft: Draft) -> Found:
    base = draft.root / _BASE
    head, packs = read_head(draft.path), packs_of(draft.path)
    return Found(
        refs=differences(read_refs(base), read_refs(draft.path)),
        head=head if head != read_head(base) else None,
        new_packs={place: path for place, path in packs.items() if place not in draft.packs},
        gone_packs=draft.packs - packs.keys(),
    )


def take_notes(draft: Draft, repository: Path) -> None:
    if draft.whole:
        _copy_notes(draft.path, repository)


def remove_draft(draft: Draft) -> None:
    shutil.rmtree(draft.root, ignore_errors=True)
