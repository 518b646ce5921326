"""What is stored of a repository that is no coordinator's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from coordinator.domain.pushes.deliveries import BRANCH

OWN_REFS = "refs/pushrod/"
"""Keep what was fetched; the last one to fetch is right."""


class RefsMoved(Exception):
    """Somebody else was first; the message is for whoever pushed."""


PackPlace = tuple[int | None, str]
"""When a pack was put aside as garbage, if it was, in seconds since 1970; and its name, such as
`pack-<40 hexadecimal digits>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """A pack and its index, one after the other in one object."""

    object: str
    """The object's key, which no other object ever has."""
    pack_bytes: int
    index_bytes: int
    sha256: str
    """Of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPack(StoredObject):
    name: str
    aside: int | None
    created_at: datetime

    @property
    def place(self) -> PackPlace:
        return self.aside, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RefMove:
    """Of a branch."""

    ref: str
    old: str | None
    new: str
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRepository:
    """Names of refs that are not UTF-8 have their odd bytes as `\\xNN`."""

    stamp: str
    """Of its last change; no other change of any repository has it."""
    head: str
    """The full name of what HEAD names."""
    refs: Mapping[str, str]
    packs: Sequence[StoredPack]
    moves: Sequence[RefMove]
    """In the order in which they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRefs:
    """As StoredRepository has them."""

    head: str
    refs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefChange:
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryChange:
    refs: Mapping[str, RefChange] = field(default_factory=dict)
    head: str | None = None
    """None: it stays."""
    new_packs: Sequence[StoredPack] = ()
    gone_packs: Sequence[PackPlace] = ()
    moves: Sequence[RefMove] | None = None
    """None: those that follow from the refs."""

    def moves_at(self, now: datetime) -> Sequence[RefMove]:
        if self.moves is not None:
            return self.moves
        return [
            RefMove(ref=ref, old=change.old, new=change.new, moved_at=now)
            for ref, change in self.refs.items()
            if change.new is not None and ref.startswith(BRANCH)
        ]

    @property
    def gone_refs(self) -> Sequence[str]:
        return [ref for ref, change in self.refs.items() if change.new is None]


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Mapping[str, RefChange]:
    """By ref."""
    return {
        ref: RefChange(old=before.get(ref), new=after.get(ref))
        for ref in sorted(before.keys() | after.keys())
        if before.get(ref) != after.get(ref)
    }


def rebased(
    changes: Mapping[str, RefChange], current: Mapping[str, str]
) -> Mapping[str, RefChange]:
    """The changes as they are made to refs that others may have moved since. Raises RefsMoved."""
    made: dict[str, RefChange] = {}
    for ref, change in changes.items():
        now = current.get(ref)
        if now == change.new:
            continue
        if now != change.old:
            if not ref.startswith(OWN_REFS):
                raise RefsMoved(f"{ref} was moved by another push meanwhile: fetch, and push again")
            if change.new is None:
                continue  # it was fetched anew
        made[ref] = RefChange(old=now, new=change.new)
    _check_names(made, current)
    return made


def _check_names(made: Mapping[str, RefChange], current: Mapping[str, str]) -> None:
    """A ref and a folder of refs can't have one name. Raises RefsMoved."""
    added = [ref for ref, change in made.items() if change.old is None]
    if not added:
        return
    names = set(changed(current, made))
    folders = {ref[:at] for ref in names for at, letter in enumerate(ref) if letter == "/"}
    for ref in added:
        parents = (ref[:at] for at, letter in enumerate(ref) if letter == "/")
        if ref in folders or not names.isdisjoint(parents):
            raise RefsMoved(f"{ref} can't be beside what another push made meanwhile: fetch first")


def changed(refs: Mapping[str, str], changes: Mapping[str, RefChange]) -> dict[str, str]:
    after = dict(refs)
    for ref, change in changes.items():
        if change.new is None:
            after.pop(ref, None)
        else:
            after[ref] = change.new
    return after
