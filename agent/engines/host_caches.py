"""The host engine's caches: folders that several attempts may use at once, and that may go."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agent.engines.host_trees import copy_as, owner_of, remove_tree
from agent.engines.protocol import CacheMount, StepRequest
from agent.settings import KEEP_DAYS


class HostCaches:
    """One folder for each cache. What nobody needs any more goes once nobody uses it.

    A cache goes when a clean build's has taken its place, and a clean build's own when the script
    that was to fill it failed. After kill -9 of the agent the latter stays; nothing reads it.
    """

    def __init__(self, folder: Path, *, keep_days: int = KEEP_DAYS) -> None:
        """A cache that no attempt has used for `keep_days` goes, too."""
        self.folder = folder
        self._keep_seconds = keep_days * 86_400.0
        self._users: Counter[str] = Counter()
        self._unwanted: set[str] = set()

    def path(self, cache_id: str) -> Path:
        """Raises OSError for what is no cache's identity: it comes from elsewhere."""
        path = self.folder / cache_id
        if path.name in ("", ".", "..") or path.parent != self.folder:
            raise OSError(f"cacheDirs: {cache_id!r} is not a cache's identity")
        return path

    def make(self, mount: CacheMount, uid: int | None) -> bool:
        """The cache's folder, the user's own; whether it has begun as a copy of another. Blocking.

        One of another user is begun anew, not handed on: who filled it may have put hard links
        there, to files that would change hands with it.
        """
        cache = self.path(mount.id)
        if cache.is_dir() and uid is not None and owner_of(cache) != uid:
            remove_tree(self.put_aside(cache))
        begun = not cache.exists() and any(
            self._copied(self.path(other), cache, uid) for other in mount.begins_as
        )
        cache.mkdir(mode=0o700, exist_ok=True)
        os.utime(cache)  # by which it is known when it was used last
        if uid is not None:
            os.chown(cache, uid, uid, follow_symlinks=False)
        return begun

    def _copied(self, other: Path, cache: Path, uid: int | None) -> bool:
        """Whether the cache is a copy now of the other, as far as the user may read that."""
        if not other.is_dir() or (uid is not None and owner_of(other) != uid):
            return False
        begun = cache.with_name(f"begun-{cache.name}-{secrets.token_hex(4)}")
        begun.mkdir(mode=0o700)
        if uid is not None:
            os.chown(begun, uid, uid, follow_symlinks=False)
        copy_as(uid, other, begun)
        try:
            begun.rename(cache)  # in one step: another attempt may have made the same meanwhile
        except OSError:
            remove_tree(begun)
            return False
        return True

    def borrow(self, request: StepRequest) -> None:
        self._users.update(mount.id for mount in request.cache_mounts)

    def give_back(self, request: StepRequest, *, succeeded: bool) -> Sequence[Path]:
        """The folders to remove now, out of the reach of attempts that begin meanwhile."""
        for mount in request.cache_mounts:
            self._users[mount.id] -= 1
            if mount.replaces is not None:
                self._unwanted.add(mount.replaces)
            if succeeded:
                self._unwanted.update(mount.outlived)
            if request.clean and not succeeded:
                self._unwanted.add(mount.id)
        going = [one for one in sorted(self._unwanted) if self._users[one] <= 0]
        self._unwanted.difference_update(going)
        self._users = +self._users
        going += self._unused(going)
        return [self.put_aside(path) for path in map(self.path, going) if path.is_dir()]

    def _unused(self, going: Sequence[str]) -> list[str]:
        """Names of caches whose time is over. What this process made aside is removed by it."""
        before, found = time.time() - self._keep_seconds, []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                is_busy = self._users[entry.name] > 0 or entry.name in going
                if not is_busy and entry.stat(follow_symlinks=False).st_mtime < before:
                    found.append(entry.name)
        return found

    def put_aside(self, path: Path) -> Path:
        return path.rename(path.with_name(f"going-{path.name}-{secrets.token_hex(4)}"))
