"""Uploads in parts that nobody ended: a killed coordinator leaves them in an S3 bucket, which bills
them and lists them among no objects.

The store's library neither lists nor ends those of others: the requests are signed by us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import quote, urlsplit

import aiohttp
import structlog
from obstore.store import S3Store
from yarl import URL

from coordinator.domain.results.xml_events import Attributes, MalformedReport, XmlEvents
from coordinator.objects.signing import SignedAddresses, with_parameters

REQUEST_SECONDS = 60.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A page lists at most 1,000 uploads, each with a key of at most 1 KiB."""
_KEY = "x"
log = structlog.get_logger(__name__)


class UploadsRefused(Exception):
    """The store lets us not look for uploads, or not end them, or answers what is no list."""


@dataclass(frozen=True, slots=True)
class _Upload:
    key: str
    id: str
    began: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedUploads:
    store: S3Store
    secret: str = field(repr=False)

    async def tidy(self, now: Callable[[], datetime]) -> None:
        """None takes a day: what is older was killed, whichever coordinator's it was."""
        try:
            await self.end_older(now() - timedelta(days=1))
        except UploadsRefused as error:
            log.warning("uploads that killed coordinators left stay there", why=str(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            # Its words may have the address.
            why = f"the bucket does not answer ({type(error).__name__})"
            log.warning("uploads that killed coordinators left stay there", why=why)

    async def end_older(self, before: datetime) -> int:
        """End those below our prefix that began before that; how many.

        Raises UploadsRefused, and aiohttp's errors of a store that can't be reached.
        """
        ended = 0
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async for upload in self._uploads(session):
                if upload.began < before:
                    query = {"uploadId": upload.id}
                    await self._ask(session, "DELETE", upload.key, query, also=404)
                    ended += 1
        if ended:
            log.info("ended uploads that killed coordinators left", uploads=ended)
        return ended

    async def _uploads(self, session: aiohttp.ClientSession) -> AsyncIterator[_Upload]:
        prefix = f"{self.store.prefix}/" if self.store.prefix else ""
        page: Mapping[str, str] | None = {}
        while page is not None:
            query = {"uploads": "", "prefix": prefix, **page}
            answer = await self._ask(session, "GET", "", query)
            listed = _Page.read(answer)
            for upload in listed.uploads:
                if upload.key.startswith(prefix):  # not every store heeds it
                    yield upload
            page = listed.next()

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        key: str,
        query: Mapping[str, str],
        *,
        also: int = 200,
    ) -> bytes:
        """Nothing of the address is in the error: it is a credential."""
        async with session.request(method, await self._signed(method, key, query)) as answer:
            if answer.status not in (200, 204, also):
                raise UploadsRefused(f"the bucket answered {answer.status} to a {method}")
            content = bytearray()
            async for chunk in answer.content.iter_any():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise UploadsRefused("the bucket's answer has no end")
            return bytes(content)

    async def _signed(self, method: str, key: str, query: Mapping[str, str]) -> URL:
        """Of a key of the bucket, or of the bucket itself; for a minute."""
        known = await SignedAddresses(self.store, int(REQUEST_SECONDS), None).of(_KEY, "")
        parts = urlsplit(known)
        ours = quote(f"{self.store.prefix}/{_KEY}" if self.store.prefix else _KEY)
        root = parts.path.removesuffix(ours)
        url = with_parameters(known, self.secret, query, method=method, path=root + quote(key))
        if url is None:
            raise UploadsRefused("the bucket is used with another key than the one that we know")
        return URL(url, encoded=True)


class _Page:
    """Of the listing of uploads: the text of each kind of element that came last, by its name."""

    def __init__(self) -> None:
        self.uploads: list[_Upload] = []
        self._texts: dict[str, str] = {}
        self._text = ""

    @classmethod
    def read(cls, answer: bytes) -> Self:
        """Raises UploadsRefused."""
        page = cls()
        events = XmlEvents(page._begin, page._end, page._add)
        try:
            events.feed(answer)
            events.close()
        except (MalformedReport, KeyError, ValueError) as error:
            raise UploadsRefused(f"the bucket's answer is no list of uploads: {error}") from error
        return page

    def next(self) -> Mapping[str, str] | None:
        if self._texts.get("IsTruncated") != "true":
            return None
        return {
            "key-marker": self._texts.get("NextKeyMarker", ""),
            "upload-id-marker": self._texts.get("NextUploadIdMarker", ""),
        }

    def _begin(self, _name: str, _attributes: Attributes) -> None:
        self._text = ""

    def _add(self, text: str) -> None:
        self._text += text

    def _end(self, name: str) -> None:
        self._texts[name] = self._text
        self._text = ""
        if name == "Upload":
            key, number = self._texts.pop("Key"), self._texts.pop("UploadId")
            began = datetime.fromisoformat(self._texts.pop("Initiated"))
            self.uploads.append(_Upload(key=key, id=number, began=began))
