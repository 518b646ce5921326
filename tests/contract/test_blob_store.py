"""One suite over every implementation of object_ports.BlobStore."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import obstore
import pytest
from obstore.store import ObjectStore

from coordinator.object_ports import Blob, BlobTooLarge
from coordinator.objects.blobs import ObjectBlobStore

ACCOUNT = "5f0c8d7e-93d1-4b53-9a51-0d2f4b6a8c11"
OTHER = "7a1b2c3d-93d1-4b53-9a51-0d2f4b6a8c12"


@pytest.fixture
def blobs(objects: ObjectStore) -> ObjectBlobStore:
    return ObjectBlobStore(objects)


async def in_pieces(content: bytes, size: int = 1_000_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def put(blobs: ObjectBlobStore, content: bytes, account: str = ACCOUNT) -> Blob:
    return await blobs.put(account, in_pieces(content), max_bytes=len(content))


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def stored(objects: ObjectStore) -> list[str]:
    return [entry["path"] for entry in await obstore.list(objects).collect_async()]


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 12_345_678])
async def test_a_blob_comes_back_by_its_digest(blobs: ObjectBlobStore, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    blob = await put(blobs, content)
    assert blob == Blob(sha256=hashlib.sha256(content).hexdigest(), size=size)
    assert await blobs.exists(ACCOUNT, blob.sha256)
    assert await whole(blobs.get(ACCOUNT, blob.sha256)) == content


async def test_a_range_is_cut_to_what_there_is(blobs: ObjectBlobStore) -> None:
    blob = await put(blobs, b"0123456789")
    for start in range(12):
        for end in (None, 0, 1, 5, 10, 99):
            found = await whole(blobs.get(ACCOUNT, blob.sha256, start=start, end=end))
            assert found == b"0123456789"[start:end]


async def test_a_blob_beyond_the_limit_leaves_nothing(
    blobs: ObjectBlobStore, objects: ObjectStore
) -> None:
    for size in (11, 3_000_000):
        with pytest.raises(BlobTooLarge):
            await blobs.put(ACCOUNT, in_pieces(bytes(size)), max_bytes=size - 1)
    assert await stored(objects) == []


async def test_a_stream_that_breaks_off_leaves_nothing(
    blobs: ObjectBlobStore, objects: ObjectStore
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(ACCOUNT, broken(), max_bytes=10_000_000)
    assert await stored(objects) == []


async def test_the_same_content_is_stored_once(
    blobs: ObjectBlobStore, objects: ObjectStore
) -> None:
    await asyncio.gather(*(put(blobs, b"same") for _ in range(8)))
    (key,) = await stored(objects)
    written = (await obstore.head_async(objects, key))["e_tag"]
    await put(blobs, b"same")
    assert (await obstore.head_async(objects, key))["e_tag"] == written


async def test_a_blob_torn_by_a_power_cut_is_mended_by_the_next_put(
    blobs: ObjectBlobStore, objects: ObjectStore
) -> None:
    blob = await put(blobs, b"content")
    (key,) = await stored(objects)
    await obstore.put_async(objects, key, b"con")
    await put(blobs, b"content")
    assert await whole(blobs.get(ACCOUNT, blob.sha256)) == b"content"


async def test_another_accounts_blob_does_not_exist(blobs: ObjectBlobStore) -> None:
    blob = await put(blobs, b"private")
    assert not await blobs.exists(OTHER, blob.sha256)
    with pytest.raises(KeyError):
        await whole(blobs.get(OTHER, blob.sha256))


@pytest.mark.parametrize("sha256", ["0" * 64, "", "../../x", "G" * 64, "0" * 64 + "\n"])
async def test_an_unknown_digest_is_a_key_error_at_the_first_iteration(
    blobs: ObjectBlobStore, sha256: str
) -> None:
    assert not await blobs.exists(ACCOUNT, sha256)
    chunks = blobs.get(ACCOUNT, sha256)
    with pytest.raises(KeyError):
        await anext(chunks)


async def test_an_account_id_that_is_no_plain_word_is_refused(blobs: ObjectBlobStore) -> None:
    with pytest.raises(ValueError, match="account id"):
        await put(blobs, b"x", account="../other")


async def test_blobs_are_listed_by_pages_and_those_alone_that_came_before(
    objects: ObjectStore,
) -> None:
    blobs = ObjectBlobStore(objects, listed_at_once=4)
    contents = [b"%d" % number for number in range(10)]
    put_here = [await put(blobs, content, ACCOUNT) for content in contents]
    put_there = [await put(blobs, content, OTHER) for content in contents[:5]]
    for stranger in ("blobs/readme", f"blobs/{ACCOUNT}/ab/{'0' * 64}", "logs/1"):
        await obstore.put_async(objects, stranger, b"x")
    now = datetime.now(UTC)
    pages = [page async for page in blobs.listed(now + timedelta(minutes=1))]
    assert len(pages) >= 4
    assert all(len(page) <= 4 for page in pages)
    listed = {(one.account_id, one.sha256, one.size) for page in pages for one in page}
    wanted = {(ACCOUNT, one.sha256, one.size) for one in put_here}
    assert listed == wanted | {(OTHER, one.sha256, one.size) for one in put_there}
    assert [page async for page in blobs.listed(now - timedelta(minutes=1))] == []
