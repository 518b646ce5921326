"""Where the objects of a test's coordinator are: in its data folder, or in a prefix of a bucket."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.objects.places import ObjectsPlace

if TYPE_CHECKING:
    from tests.s3_server import S3Server

_server: S3Server | None = None
_places: dict[Path, ObjectsPlace] = {}
"""The prefix of each data folder, while there is a server."""


@contextmanager
def objects_at(server: S3Server) -> Iterator[None]:
    """What is put into folders meanwhile is there."""
    global _server
    _server = server
    try:
        yield
    finally:
        _server = None
        _places.clear()


def objects_of(data: Path) -> ObjectsPlace:
    """Those of a coordinator's data folder, which is there."""
    if _server is None:
        return ObjectsPlace(location=data / "objects")
    if data not in _places:
        _places[data] = _server.place(data / "objects-credentials", secrets.token_hex(8))
    return _places[data]


def settings_of(place: ObjectsPlace) -> dict[str, Any]:
    """As a coordinator's settings have it."""
    return {
        "objects": place.location,
        "objects_endpoint": place.endpoint,
        "objects_region": place.region,
        "objects_credentials_file": place.credentials_file,
    }
