"""A blob that arrives is not deleted, and one that is being deleted is waited for."""

from __future__ import annotations

import asyncio

from coordinator.services.blob_claims import BlobClaims

KEY = ("account", "sha")


async def test_what_has_arrived_may_not_be_deleted_until_its_row_is_saved() -> None:
    claims = BlobClaims()
    async with claims.arriving("account") as first, claims.arriving("account") as second:
        await first("sha")
        await second("sha")
        with claims.deleting(KEY) as mine:
            assert not mine
        with claims.deleting(("account", "other")) as mine:
            assert mine
        with claims.deleting(("other account", "sha")) as mine:
            assert mine
    with claims.deleting(KEY) as mine:
        assert mine


async def test_what_arrives_during_a_deletion_waits_for_its_end() -> None:
    claims = BlobClaims()
    async with claims.arriving("account") as arrived:
        with claims.deleting(KEY) as mine:
            assert mine
            arrival = asyncio.ensure_future(arrived("sha"))
            await asyncio.sleep(0)
            assert not arrival.done()
            with claims.deleting(KEY) as twice:
                assert not twice
        await asyncio.wait_for(arrival, 5)
        with claims.deleting(KEY) as mine:
            assert not mine


async def test_an_upload_that_fails_lets_go() -> None:
    claims = BlobClaims()
    try:
        async with claims.arriving("account") as arrived:
            await arrived("sha")
            raise ConnectionError
    except ConnectionError:
        pass
    with claims.deleting(KEY) as mine:
        assert mine
