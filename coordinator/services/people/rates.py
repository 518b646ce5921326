"""How often somebody may do something: fixed windows, in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b

MAX_KEYS = 20_000
"""Beyond these the oldest windows are forgotten: memory is bounded whatever comes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where somebody stands in the window that is open."""

    limit: int
    used: int
    resets_at: datetime

    @property
    def remaining(self) -> int:
        return max(self.limit - self.used, 0)

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit


@dataclass(slots=True)
class Rates:
    """At most `limit` in `window`, which opens with the first and is the key's own."""

    limit: int
    window: timedelta
    _windows: OrderedDict[bytes, Standing] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        """How many windows are remembered."""
        return len(self._windows)

    def take(self, key: str, now: datetime) -> Standing:
        """Count one more; one that exceeds the limit is counted no further."""
        digest = _digest(key)
        standing = self._open(digest, now)
        if not standing.exceeded:
            standing = replace(standing, used=standing.used + 1)
        self._windows[digest] = standing
        return standing

    def give_back(self, key: str, now: datetime) -> None:
        digest = _digest(key)
        standing = self._open(digest, now)
        if standing.used:
            self._windows[digest] = replace(standing, used=standing.used - 1)

    def _open(self, digest: bytes, now: datetime) -> Standing:
        known = self._windows.get(digest)
        if known is not None and now < known.resets_at:
            return known
        self._windows.pop(digest, None)
        # Windows are as long as each other, so the first one opened is the first to end.
        while self._windows and (
            len(self._windows) >= MAX_KEYS or next(iter(self._windows.values())).resets_at <= now
        ):
            self._windows.popitem(last=False)
        return Standing(limit=self.limit, used=0, resets_at=now + self.window)


def _digest(key: str) -> bytes:
    """Strangers choose keys: remembered so, a long one takes no more memory than a short one."""
    return blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
