"""Signed addresses, made without a request."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from obstore.store import MemoryStore

from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.places import ObjectsPlace, addresses_of, open_objects
from coordinator.objects.signing import with_parameters
from pipelines_schema.redirects import address_to_follow

KEY = "blobs/a-b/0a/0a"
DISPOSITION = "attachment; filename*=UTF-8''a%20b.zip"


def place(folder: Path, location: str, *lines: str) -> ObjectsPlace:
    file = folder / "credentials"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines))
    return ObjectsPlace(
        location=location, region="eu-central-1", credentials_file=file, signed_seconds=60
    )


async def address(where: ObjectsPlace) -> str:
    addresses = addresses_of(where, open_objects(where))
    assert addresses is not None
    assert "hidden" not in repr(addresses)
    return await addresses.of(KEY, DISPOSITION)


async def test_a_key_of_the_file_signs_the_name_too(tmp_path: Path) -> None:
    lines = ("AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=hidden", "AWS_SESSION_TOKEN=t/o=")
    url = await address(place(tmp_path, "s3://bucket/some where", *lines))
    query = parse_qs(urlsplit(url).query)
    assert urlsplit(url).path == f"/bucket/some%20where/{KEY}"
    assert query["response-content-disposition"] == [DISPOSITION]
    assert query["X-Amz-Security-Token"] == ["t/o="]
    assert query["X-Amz-Expires"] == ["60"]
    assert "hidden" not in url
    assert with_parameters(url, "hidden", {}) == url
    assert with_parameters(url, "other", {}) is None
    assert with_parameters(url, None, {}) is None
    assert with_parameters(url.replace("60", "90"), "hidden", {}) is None


async def test_a_key_of_the_environment_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    where = ObjectsPlace(location="s3://bucket", region="eu-central-1", signed_seconds=60)
    assert parse_qs(urlsplit(await address(where)).query)["response-content-disposition"]


async def test_another_clouds_address_is_as_its_library_signs_it(tmp_path: Path) -> None:
    key = base64.b64encode(b"hidden" * 5).decode()
    lines = ("AZURE_STORAGE_ACCOUNT_NAME=a", f"AZURE_STORAGE_ACCOUNT_KEY={key}")
    where = place(tmp_path, "az://container/x", *lines)
    addresses = addresses_of(
        where,
        open_objects(
            ObjectsPlace(location=where.location, credentials_file=where.credentials_file)
        ),
    )
    assert addresses is not None
    url = await addresses.of(KEY, DISPOSITION)
    assert urlsplit(url).path == f"/container/x/{KEY}"
    assert "sig" in parse_qs(urlsplit(url).query)


def test_only_a_bucket_has_addresses_and_only_where_they_are_wanted(tmp_path: Path) -> None:
    folder = ObjectsPlace(location=tmp_path, signed_seconds=60)
    for store in (open_objects(folder), MemoryStore()):
        with pytest.raises(ObjectsUnusable, match="leave objects_signed_seconds out"):
            addresses_of(folder, store)
    assert addresses_of(ObjectsPlace(location=tmp_path), MemoryStore()) is None


@pytest.mark.parametrize(
    ("base", "location", "followed"),
    [
        ("http://ci.example", "http://store.example/x?y", True),
        ("http://ci.example", "https://store.example/x", True),
        ("https://ci.example", "https://store.example/x", True),
        ("https://ci.example", "http://store.example/x", False),
        ("http://ci.example", "file:///etc/passwd", False),
        ("http://ci.example", "/relative", False),
        ("http://ci.example", "http://[broken", False),
        ("http://ci.example", None, False),
    ],
)
def test_an_address_is_followed_on_the_web_and_never_from_tls_to_none(
    base: str, location: str | None, followed: bool
) -> None:
    assert address_to_follow(base, location) == (location if followed else None)
