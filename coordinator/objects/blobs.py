"""Content-addressed blobs in an object store."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from coordinator.object_ports import Arrived, Blob, BlobDiffers, BlobTooLarge, ListedBlob
from coordinator.objects.signing import SignedAddresses
from coordinator.objects.stores import make_all_durable, make_durable
from coordinator.objects.timed import Used, nobody_counts, timed

if TYPE_CHECKING:
    from obstore import ObjectMeta

PREFIX = "blobs/"
LISTED_AT_ONCE = 1000
"""As many as an S3 store has in a page."""
_IN_MEMORY_BYTES = 1024 * 1024
_STREAM_BYTES = 256 * 1024
_PUTS_AT_ONCE = 8
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ObjectBlobStore:
    """Implements object_ports.BlobStore: `blobs/<account>/<first two digits>/<sha256>`.

    A blob comes in through an unnamed temporary file, which a crash leaves nothing of, and is
    stored only when its digest is known: one that is there already is not stored again.
    """

    def __init__(
        self,
        store: ObjectStore,
        used: Used = nobody_counts,
        addresses: SignedAddresses | None = None,
        listed_at_once: int = LISTED_AT_ONCE,
    ) -> None:
        """`used` is told of each `put` (with the bytes' arrival), `get` and `delete`. `addresses`
        are those of the store."""
        self._store, self._used, self._addresses = store, used, addresses
        self._listed_at_once = listed_at_once

    @timed("put")
    async def put(
        self,
        account_id: str,
        chunks: AsyncIterator[bytes],
        *,
        max_bytes: int,
        sha256: str | None = None,
        arrived: Arrived | None = None,
    ) -> Blob:
        with SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
            blob = await _receive(chunks, spool, max_bytes)
            if sha256 not in (None, blob.sha256):
                raise BlobDiffers(f"it has the sha256 {blob.sha256}, not {sha256}")
            if arrived is not None:
                await arrived(blob.sha256)
            key = _key(account_id, blob.sha256)
            if await self._size(key) != blob.size:
                spool.seek(0)
                await obstore.put_async(self._store, key, spool, max_concurrency=2)
            # Also where it was there: another put may be about to make it so.
            await make_durable(self._store, key)
        return blob

    @timed("put")
    async def put_all(
        self, account_id: str, contents: Mapping[str, bytes], *, arrived: Arrived
    ) -> None:
        for sha256 in contents:
            await arrived(sha256)
        gate = asyncio.Semaphore(_PUTS_AT_ONCE)

        async def put_one(key: str, content: bytes) -> None:
            async with gate:
                try:
                    await obstore.put_async(self._store, key, content, mode="create")
                except AlreadyExistsError:
                    if await self._size(key) != len(content):
                        await obstore.put_async(self._store, key, content)

        keys = {_key(account_id, sha256): content for sha256, content in contents.items()}
        async with asyncio.TaskGroup() as group:
            for key, content in keys.items():
                group.create_task(put_one(key, content))
        await make_all_durable(self._store, keys)

    @timed("get")
    async def get_small(self, account_id: str, sha256: str) -> bytes:
        if not _SHA256.fullmatch(sha256):
            raise KeyError(sha256)
        try:
            found = await obstore.get_async(self._store, _key(account_id, sha256))
        except FileNotFoundError as error:
            raise KeyError(sha256) from error
        return bytes(await found.bytes_async())

    async def get(
        self, account_id: str, sha256: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream bytes `start` to `end` (exclusive), nothing where they lie beyond the end.

        KeyError is raised by the first iteration, not by the call.
        """
        size = await self.size(account_id, sha256)
        stop = size if end is None else min(end, size)
        if start >= stop:
            return
        result = await obstore.get_async(
            self._store, _key(account_id, sha256), options={"range": (start, stop)}
        )
        async for chunk in result.stream(min_chunk_size=_STREAM_BYTES):
            yield bytes(chunk)

    async def address(self, account_id: str, sha256: str, *, disposition: str) -> str | None:
        if self._addresses is None or not _SHA256.fullmatch(sha256):
            return None
        return await self._addresses.of(_key(account_id, sha256), disposition)

    async def exists(self, account_id: str, sha256: str) -> bool:
        return (
            _SHA256.fullmatch(sha256) is not None
            and await self._size(_key(account_id, sha256)) is not None
        )

    @timed("delete")
    async def delete(self, account_id: str, sha256: str) -> None:
        with suppress(FileNotFoundError):
            if _SHA256.fullmatch(sha256):
                await obstore.delete_async(self._store, _key(account_id, sha256))

    async def listed(self, before: datetime) -> AsyncIterator[Sequence[ListedBlob]]:
        async for some in obstore.list(self._store, PREFIX, chunk_size=self._listed_at_once):
            page = [_blob_of(one) for one in some if one["last_modified"] < before]
            if blobs := [one for one in page if one is not None]:
                yield blobs

    async def size(self, account_id: str, sha256: str) -> int:
        """Raises KeyError where there is no such blob."""
        size = await self._size(_key(account_id, sha256)) if _SHA256.fullmatch(sha256) else None
        if size is None:
            raise KeyError(sha256)
        return size

    async def _size(self, key: str) -> int | None:
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except FileNotFoundError:
            return None


def _key(account_id: str, sha256: str) -> str:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise ValueError(f"an account id has letters, digits and -, unlike {account_id!r}")
    return f"{PREFIX}{account_id}/{sha256[:2]}/{sha256}"


def _blob_of(listed: ObjectMeta) -> ListedBlob | None:
    """None: it is no key of ours."""
    account_id, _, rest = listed["path"].removeprefix(PREFIX).partition("/")
    sha256 = rest.rpartition("/")[2]
    if not _ACCOUNT_ID.fullmatch(account_id) or not _SHA256.fullmatch(sha256):
        return None
    if listed["path"] != _key(account_id, sha256):
        return None
    return ListedBlob(account_id=account_id, sha256=sha256, size=listed["size"])


async def _receive(chunks: AsyncIterator[bytes], spool: IO[bytes], max_bytes: int) -> Blob:
    digest, size = hashlib.sha256(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise BlobTooLarge
        await asyncio.to_thread(_take, chunk, digest, spool)
    return Blob(sha256=digest.hexdigest(), size=size)


def _take(chunk: bytes, digest: hashlib._Hash, spool: IO[bytes]) -> None:
    digest.update(chunk)
    spool.write(chunk)
