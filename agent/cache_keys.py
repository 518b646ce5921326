"""Caches that are one for each content of some files.

What the identity is for one content is worked out here, where the files are; the part of it that
nobody else can guess is the coordinator's. Which contents a folder had lately stands in one small
file for each, written when a step has succeeded: without it a new cache begins empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.engines.protocol import CacheMount
from agent.settings import is_safe_name
from pipelines_schema.contract import CacheDir
from pipelines_schema.patterns import chosen_by

KEPT = 5
"""The caches of so many contents of one folder's key are kept where nothing else removes them."""
_DIGITS = 32


class CacheKeys:
    """All of it blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mounts(self, caches: Sequence[CacheDir], source: Path | None) -> list[CacheMount]:
        """`source` is the tree of the commit's files; None where there is none."""
        return [self._keyed(one, source) if one.key else _plain(one) for one in caches]

    def succeeded(self, caches: Sequence[CacheDir], mounts: Sequence[CacheMount]) -> None:
        """A step with these mounts, made of these caches, has filled them."""
        for cache, mount in zip(caches, mounts, strict=True):
            if cache.key:
                word = mount.id.removeprefix(f"{cache.id}-")
                self._save(cache.id, _newest_last(self._lately(cache.id), word)[-KEPT:])

    def _keyed(self, cache: CacheDir, source: Path | None) -> CacheMount:
        word = _digest(source, cache.key)
        lately = self._lately(cache.id)
        begins_as = [f"{cache.id}-{one}" for one in reversed(lately) if one != word][:1]
        for other in cache.begins_as:
            newest = self._lately(other)[-1:]
            begins_as += [f"{other}-{one}" for one in dict.fromkeys([word, *newest])]
        return CacheMount(
            id=f"{cache.id}-{word}",
            path=cache.path,
            replaces=None if cache.replaces is None else f"{cache.replaces}-{word}",
            begins_as=begins_as,
            outlived=[f"{cache.id}-{one}" for one in _newest_last(lately, word)[:-KEPT]],
        )

    def _lately(self, cache_id: str) -> list[str]:
        """The words of its last contents, the newest last."""
        try:
            words = json.loads(self._file(cache_id).read_text("ascii"))
            return [word for word in words if is_safe_name(word)]
        except (OSError, ValueError, TypeError):
            return []

    def _save(self, cache_id: str, words: Sequence[str]) -> None:
        """Whole or not at all; the last of several steps that end at once wins."""
        self._folder.mkdir(exist_ok=True)
        begun = self._file(f"{cache_id}-{secrets.token_hex(4)}")
        begun.write_text(json.dumps(list(words)), "ascii")
        begun.replace(self._file(cache_id))

    def _file(self, name: str) -> Path:
        if not is_safe_name(name):
            raise OSError(f"cacheDirs: {name!r} is not a cache's identity")
        return self._folder / name


def _plain(cache: CacheDir) -> CacheMount:
    return CacheMount(
        id=cache.id, path=cache.path, replaces=cache.replaces, begins_as=cache.begins_as
    )


def _newest_last(words: Sequence[str], word: str) -> list[str]:
    return [*(one for one in words if one != word), word]


def _digest(source: Path | None, patterns: Sequence[str]) -> str:
    """Of the names and contents of the files that match; of a link, what it says."""
    digest = hashlib.sha256()
    if source is None:
        return digest.hexdigest()[:_DIGITS]
    for name in sorted(_matching(source, patterns)):
        file = os.fsencode(source / name)
        digest.update(os.fsencode(name) + b"\0")
        if os.path.islink(file):
            digest.update(b"link" + os.readlink(file))
            continue
        with contextlib.suppress(FileNotFoundError), open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def _matching(source: Path, patterns: Sequence[str]) -> Iterator[str]:
    if not any(set(pattern) & set("*?!") for pattern in patterns):
        yield from (name for name in patterns if _is_file(source / name))
        return
    yield from (name for name in _files(source) if chosen_by(patterns, name))


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _files(source: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(source):
        below = os.path.relpath(folder, source)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            yield name if below == "." else f"{below}/{name}"
