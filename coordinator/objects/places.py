"""Where objects are kept, a folder or a bucket, and whether that can be worked with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, S3Store, from_url

from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.signing import SignableStore, SignedAddresses
from coordinator.objects.stores import open_store
from coordinator.services.keys import PublicFile, read_private

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

    from coordinator.objects.unfinished import UnfinishedUploads

PROBE_KEY = ".pushrod/create-only"
MOVING_KEY = ".pushrod/moving"
"""An object that is there while others are moved to its store: no coordinator starts on half of
them. It holds the number of that move."""
PROBE = b"Made by pushrod, to see that an object is created once and never replaced.\n"
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
"""Of one request; a large object goes in parts."""
RETRY_SECONDS = 15
MAX_CREDENTIALS_BYTES = 64 * 1024
_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*)")
_METADATA_SERVERS = ("169.254.169.254", "metadata.google.internal")
"""Asked for credentials where nobody gave any."""
_WORDS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsPlace:
    location: str | Path
    """A folder, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`."""
    endpoint: str | None = None
    """Of an S3-compatible store; none: the cloud's own."""
    region: str | None = None
    credentials_file: Path | None = None
    """Lines `KEY=value`, by the names that the environment has them; none: the environment."""
    signed_seconds: int | None = None
    """How long addresses that the store hands out itself are good; none: there are none."""

    @property
    def folder(self) -> Path | None:
        return self.location if isinstance(self.location, Path) else None


def open_objects(place: ObjectsPlace) -> ObjectStore:
    """No request is made. Raises ObjectsUnusable."""
    if isinstance(place.location, Path):
        return open_store(place.location)
    config: dict[str, str] = {}
    if place.credentials_file is not None:
        config |= _credentials(place.location, place.credentials_file)
    if place.endpoint is not None:
        config["endpoint"] = place.endpoint
    if place.region is not None:
        config["region"] = place.region
    try:
        return _OPEN(
            place.location,
            config=config,
            client_options=_client(place.endpoint),
            retry_config=_RETRIES,
        )
    except (BaseError, ValueError) as error:
        raise ObjectsUnusable(place.location, first_line(error)) from error


def addresses_of(place: ObjectsPlace, store: ObjectStore) -> SignedAddresses | None:
    """Those of the store that was opened there. Raises ObjectsUnusable."""
    if place.signed_seconds is None:
        return None
    if not isinstance(store, SignableStore):
        raise ObjectsUnusable(
            str(place.location),
            "a folder hands out no signed addresses: leave objects_signed_seconds out, or name a "
            "bucket in objects",
        )
    return SignedAddresses(store, place.signed_seconds, _secret_of(store))


def unfinished_uploads(store: ObjectStore) -> UnfinishedUploads | None:
    """Of a bucket whose key we know; elsewhere a rule of the bucket has to remove them."""
    secret = _secret_of(store)
    if not isinstance(store, S3Store) or not secret:
        return None
    # Few have one: what it needs is loaded here.
    from coordinator.objects.unfinished import UnfinishedUploads

    return UnfinishedUploads(store, secret)


def _secret_of(store: ObjectStore) -> str | None:
    """S3's secret key, where it is in the file or in the environment."""
    given = store.config.get("secret_access_key") if isinstance(store, S3Store) else None
    return str(given) if given else os.environ.get("AWS_SECRET_ACCESS_KEY")


_OPEN: Callable[..., ObjectStore] = from_url
"""Each kind of store has a configuration of its own: what does not fit is told by its name."""
_RETRIES: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}


def _client(endpoint: str | None) -> ClientConfig:
    return {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "allow_http": endpoint is not None and urlsplit(endpoint).scheme == "http",
    }


def _credentials(location: str, path: Path) -> Mapping[str, str]:
    """Raises ObjectsUnusable, which never shows a value."""
    try:
        text = read_private(path, MAX_CREDENTIALS_BYTES).decode("utf-8")
    except PublicFile as error:
        raise ObjectsUnusable(location, str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ObjectsUnusable(location, f"{path} can't be read: {why}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assigned = _ASSIGNED.fullmatch(line.strip())
        if assigned is None:
            raise ObjectsUnusable(location, f"{path}, line {number}: write KEY=value")
        found[assigned[1]] = assigned[2].strip().strip("'\"")
    return found


@dataclass(slots=True)
class ObjectsCheck:
    """Implements object_ports.ObjectsCheck for what is not this machine's own disk."""

    store: ObjectStore
    place: ObjectsPlace
    _verified: bool = field(default=False, init=False)

    async def look(self) -> None:
        """One request, until the store was seen to keep what we need of it at most three.

        Raises ObjectsUnusable, and obstore's errors for what may pass.
        """
        try:
            if self._verified:
                # Of a key that is not there a store answers the same with and without a bucket.
                await obstore.list(self.store, PROBE_KEY, chunk_size=1).collect_async()
            else:
                await self._see_that_objects_are_created_once()
        except FileNotFoundError as error:
            raise self._unusable("there is no such bucket: make it, or name another") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise self._unusable(
                "its credentials may not list and create objects: " + first_line(error)
            ) from error
        except BaseError as error:
            if "NoSuchBucket" in str(error):
                raise self._unusable("there is no such bucket: make it, or name another") from error
            if any(server in str(error) for server in _METADATA_SERVERS):
                raise self._unusable(
                    "nobody gave credentials: set objects_credentials_file, or the variables "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or those of your cloud)"
                ) from error
            raise

    async def _see_that_objects_are_created_once(self) -> None:
        """A log stands on this: who comes late with a chunk must not replace another's."""
        for _ in range(2):
            try:
                await obstore.put_async(self.store, PROBE_KEY, PROBE, mode="create")
            except AlreadyExistsError:
                self._verified = True
                return
        raise self._unusable(
            "it lets an object be created twice (it ignores If-None-Match), by which lines of a "
            "log could be lost: use a store that has conditional writes"
        )

    def _unusable(self, words: str) -> ObjectsUnusable:
        return ObjectsUnusable(str(self.place.location), words)


def first_line(error: Exception) -> str:
    """Without what the library adds for its own makers."""
    lines = str(error).splitlines()
    return lines[0][:_WORDS_MAX] if lines else type(error).__name__
