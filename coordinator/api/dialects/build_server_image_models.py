"""Image slugs, as specification 003 has them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from coordinator.api.dialects.build_server_models import ACCOUNT_KEY, MAX_ACCOUNT_CHARACTERS
from coordinator.api.http.fields import (
    Body,
    Instant,
    QueryBool,
    Shown,
)

_IMAGE_PART = "[a-z0-9]+([._-]+[a-z0-9]+)*"
_IMAGE_HOST = "[A-Za-z0-9][A-Za-z0-9.-]{0,100}(:[0-9]{1,5})?"
IMAGE_URL = (
    r"^(oci-layout://[A-Za-z0-9._/-]{1,300}|"
    rf"((docker://)?({_IMAGE_HOST}/)?|https?://{_IMAGE_HOST}/)"
    rf"{_IMAGE_PART}(/{_IMAGE_PART}){{0,20}}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(@sha256:[0-9a-f]{64})?)$"
)
IMAGE_SLUG = r"^[A-Za-z0-9_][!-#%-~]*$"
"""The common spellings; pipelines_schema.read_step knows all that a workflow can name."""


def _image_url(schema: dict[str, Any]) -> None:
    """Its pattern says that it has a character. Where a length says so, too, whoever makes examples
    of it looks for one of a single character, which takes Schemathesis half a minute."""
    schema["pattern"] = IMAGE_URL
    for kind in (schema, *schema.get("anyOf", [])):
        kind.pop("minLength", None)


class ImagesQuery(Body):
    public: QueryBool | None = Field(None, description="`true`: only public ones")


class ImageCreate(Body):
    slug: str = Field(min_length=1, max_length=50, json_schema_extra={"pattern": IMAGE_SLUG})
    image_url: str = Field(min_length=1, max_length=500, json_schema_extra=_image_url)
    public: bool = Field(default=False, strict=True)
    account_id: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_ACCOUNT_CHARACTERS,
        description=f"{ACCOUNT_KEY}; default: the token's own",
    )


class ImageChange(Body):
    """What is absent stays."""

    slug: str | None = Field(
        None, min_length=1, max_length=50, json_schema_extra={"pattern": IMAGE_SLUG}
    )
    image_url: str | None = Field(None, min_length=1, max_length=500, json_schema_extra=_image_url)
    public: bool | None = Field(None, strict=True)


class ImageShown(Shown):
    id: str
    slug: str
    image_url: str
    public: bool
    created_at: Instant
