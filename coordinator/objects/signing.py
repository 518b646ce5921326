"""Addresses in a store of objects that are good without a token, for a while.

Such an address is a credential: it belongs into no log.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

import obstore
from obstore.store import AzureStore, GCSStore, S3Store

SignableStore = S3Store | GCSStore | AzureStore
SIGNATURE = "X-Amz-Signature"
_sign: Callable[..., Coroutine[Any, Any, str]] = obstore.sign_async


@dataclass(frozen=True, slots=True)
class SignedAddresses:
    store: SignableStore
    seconds: int
    """How long one is good."""
    secret: str | None = field(repr=False)
    """S3's secret key, where somebody gave it to us."""

    async def of(self, key: str, disposition: str) -> str:
        """To GET the object, as the attachment that `disposition` names.

        Of what the store's library signs nothing can be asked besides: where the key is not ours
        (a machine of the cloud, another cloud's store), the name is the object's.
        """
        url = await _sign(self.store, "GET", key, timedelta(seconds=self.seconds))
        shown = {
            "response-content-disposition": disposition,
            "response-content-type": "application/octet-stream",
        }
        return with_parameters(url, self.secret, shown) or url


def with_parameters(
    url: str,
    secret: str | None,
    more: Mapping[str, str],
    *,
    method: str = "GET",
    path: str | None = None,
) -> str | None:
    """A signed URL of a GET with more parameters, signed anew (AWS Signature Version 4, by query);
    for another method, and of another path, where they are given.

    None where it was not signed by this secret.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    signature = query.pop(SIGNATURE, "")
    if secret is None or not hmac.compare_digest(_signature(parts, query, secret), signature):
        return None
    query |= more
    parts = parts if path is None else parts._replace(path=path)
    signed = f"{_written(query)}&{SIGNATURE}={_signature(parts, query, secret, method)}"
    return urlunsplit(parts._replace(query=signed))


def _written(query: Mapping[str, str]) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(query[name], safe="-_.~")) for name in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _signature(
    parts: SplitResult, query: Mapping[str, str], secret: str, method: str = "GET"
) -> str:
    scope = query.get("X-Amz-Credential", "").partition("/")[2]
    asked = [method, parts.path, _written(query), f"host:{parts.netloc}", "", "host"]
    request = hashlib.sha256("\n".join([*asked, "UNSIGNED-PAYLOAD"]).encode()).hexdigest()
    said = ["AWS4-HMAC-SHA256", query.get("X-Amz-Date", ""), scope, request]
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, "\n".join(said).encode(), "sha256").hex()
