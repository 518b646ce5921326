"""Uploads in parts that a killed coordinator left in the bucket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from obstore.store import S3Store
from structlog.testing import capture_logs

from coordinator.objects.places import ObjectsPlace, open_objects, unfinished_uploads
from coordinator.objects.unfinished import (
    MAX_ANSWER_BYTES,
    UnfinishedUploads,
    UploadsRefused,
)
from tests.empty_objects import settings_of
from tests.integration.coordinator_fixture import eventually, open_coordinator
from tests.ports import free_port
from tests.s3_server import BUCKET, SIGNED, S3Server, write_credentials

NOW = datetime(2026, 1, 10, tzinfo=UTC)


async def begin_upload(session: ClientSession, server: S3Server, key: str) -> None:
    url = f"{server.endpoint}/{BUCKET}/{key}?uploads"
    async with session.post(url, headers={"Authorization": SIGNED}) as answer:
        assert answer.status == 200


async def uploads_at(session: ClientSession, server: S3Server, prefix: str) -> list[str]:
    url = f"{server.endpoint}/{BUCKET}?uploads"
    async with session.get(url, headers={"Authorization": SIGNED}) as answer:
        keys = re.findall("<Key>(.*?)</Key>", await answer.text())
    return [key for key in keys if key.startswith(prefix)]


async def test_a_store_that_is_away_is_told_in_words_without_its_address(tmp_path: Path) -> None:
    write_credentials(tmp_path / "credentials")
    uploads = UnfinishedUploads(
        S3Store(
            "bucket",
            endpoint=f"http://127.0.0.1:{free_port()}",
            region="us-east-1",
            access_key_id="test",
            secret_access_key="test",
            client_options={"allow_http": True},
        ),
        "test",
    )
    with capture_logs() as told:
        await uploads.tidy(lambda: NOW)
    [one] = told
    assert one["why"] == "the bucket does not answer (ClientConnectorError)"


async def test_a_start_ends_those_of_its_prefix_and_no_others(
    tmp_path: Path, s3_server: S3Server
) -> None:
    place = s3_server.place(tmp_path / "credentials", tmp_path.name)
    ours, other = f"{tmp_path.name}/blobs/a b/x+y", f"{tmp_path.name}-other/blobs/x"
    async with ClientSession() as session:
        await begin_upload(session, s3_server, ours)
        await begin_upload(session, s3_server, ours)
        await begin_upload(session, s3_server, other)
        assert len(await uploads_at(session, s3_server, tmp_path.name)) == 3
        async with open_coordinator(tmp_path, **settings_of(place)):

            async def is_clean() -> bool:
                # The test's server says of each that it began in 2010.
                return await uploads_at(session, s3_server, tmp_path.name) == [other]

            await eventually(is_clean)


class Store:
    """Lists two pages, and takes note of what is ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.status = 204
        self.listing: str | None = None

    async def answer(self, request: web.Request) -> web.Response:
        assert "X-Amz-Signature" in request.query
        if request.method == "DELETE":
            self.ended.append((request.path, request.query["uploadId"]))
            return web.Response(status=self.status)
        assert request.query["prefix"] == "here/"
        if self.listing is not None:
            return web.Response(text=self.listing)
        first = "key-marker" not in request.query
        uploads = [("here/a", 25), ("here/young", 23)] if first else [("here/b", 99), ("else", 99)]
        listed = "".join(
            f"<Upload><Key>{key}</Key><UploadId>of-{key}</UploadId>"
            f"<Initiated>{(NOW - timedelta(hours=hours)).isoformat()}</Initiated></Upload>"
            for key, hours in uploads
        )
        head = f"<IsTruncated>{str(first).lower()}</IsTruncated>"
        head += "<NextKeyMarker>here/young</NextKeyMarker>"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return web.Response(text=f'<R xmlns="{space}">{head}{listed}</R>')


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[Store, UnfinishedUploads]]:
    store, port = Store(), free_port()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", store.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    write_credentials(tmp_path / "credentials")
    place = ObjectsPlace(
        location=f"s3://{BUCKET}/here",
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        credentials_file=tmp_path / "credentials",
    )
    uploads = unfinished_uploads(open_objects(place))
    assert uploads is not None
    yield store, uploads
    await runner.cleanup()


async def test_those_of_today_are_left_to_who_makes_them(
    store: tuple[Store, UnfinishedUploads],
) -> None:
    served, uploads = store
    assert await uploads.end_older(NOW - timedelta(days=1)) == 2
    assert served.ended == [
        (f"/{BUCKET}/here/a", "of-here/a"),
        (f"/{BUCKET}/here/b", "of-here/b"),
    ]


async def test_one_that_another_coordinator_ended_is_none(
    store: tuple[Store, UnfinishedUploads],
) -> None:
    served, uploads = store
    served.status = 404
    assert await uploads.end_older(NOW - timedelta(days=1)) == 2


async def test_a_refusal_shows_no_signature(store: tuple[Store, UnfinishedUploads]) -> None:
    served, uploads = store
    served.status = 403
    with pytest.raises(UploadsRefused, match="answered 403 to a DELETE") as caught:
        await uploads.end_older(NOW)
    assert "X-Amz" not in str(caught.value)


def test_a_folder_has_none(tmp_path: Path) -> None:
    assert unfinished_uploads(open_objects(ObjectsPlace(location=tmp_path))) is None


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ("<R><Upload>", "not well-formed"),
        ('<!DOCTYPE R [<!ENTITY a "aa">]><R>&a;</R>', "declares entities"),
        ("<R><Upload><Key>here/a</Key></Upload></R>", "no list of uploads"),
        (f"<R>{' ' * MAX_ANSWER_BYTES}</R>", "has no end"),
    ],
)
async def test_what_is_no_listing_is_told(
    store: tuple[Store, UnfinishedUploads], listing: str, words: str
) -> None:
    served, uploads = store
    served.listing = listing
    with pytest.raises(UploadsRefused, match=words):
        await uploads.end_older(NOW)
