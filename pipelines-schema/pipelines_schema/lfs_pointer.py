"""The few lines that git has in place of a file that Git LFS keeps. Pure."""

from __future__ import annotations

import re

from pipelines_schema.contract_sources import LfsObject

MAX_POINTER_BYTES = 1024
_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size ([0-9]{1,18})$", re.MULTILINE)


def pointed_object(content: bytes) -> LfsObject | None:
    """The object that a file's content points to; None where it is no pointer."""
    if len(content) > MAX_POINTER_BYTES or not content.startswith(_VERSION):
        return None
    oid, size = _OID.search(content), _SIZE.search(content)
    if oid is None or size is None:
        return None
    return LfsObject(oid=oid[1].decode(), size=int(size[1]))
