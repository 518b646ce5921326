"""The part of the workflow's JSON Schema that describes the `build` of a step."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import TEXT_TYPES, described, object_of, secrets, text


def build() -> dict[str, Any]:
    platform = {"type": "string", "pattern": f"^{limits.PLATFORM.pattern}$"}
    path = {"type": TEXT_TYPES, "minLength": 1}
    tag = {"type": TEXT_TYPES, "minLength": 1, "maxLength": limits.MAX_IMAGE_CHARACTERS}
    whole = object_of(
        {
            "context": {
                "description": "Folder of the workspace that the Dockerfile may copy from, less "
                "what its `.dockerignore` names. All of the workspace if left out.",
                **path,
            },
            "dockerfile": {
                "description": "The Dockerfile, relative to the context. `Dockerfile` if left out.",
                **path,
            },
            "target": text(
                "The stage to build; the last one if left out.", limits.MAX_IMAGE_CHARACTERS
            ),
            "args": described("env", "Values for the Dockerfile's `ARG`s. No place for secrets."),
            "tags": {
                "description": "References that the image is pushed to, registry and tag included: "
                "`registry.example/team/app:1.0`. One of which `${{ tag }}`, `${{ branch }}` or "
                "`${{ ref }}` is empty is left out.",
                "anyOf": [{"type": "array", "maxItems": limits.MAX_TAGS, "items": tag}, tag],
            },
            "push": {
                "description": "Whether the image is pushed. `true` if left out and there are "
                "tags; `false` only builds it.",
                "type": "boolean",
            },
            "platforms": {
                "description": "Platforms of which the image is to be, all under one tag: "
                "`[linux/amd64, linux/arm64]`. The engine's own if left out. Built in parts, by "
                "agents of these platforms, where an engine doesn't run them all.",
                "anyOf": [
                    {
                        "type": "array",
                        "maxItems": limits.MAX_PLATFORMS,
                        "uniqueItems": True,
                        "items": platform,
                    },
                    platform,
                ],
            },
            "secrets": secrets(
                "Secrets of the project that the Dockerfile reads by "
                "`RUN --mount=type=secret,id=NAME`, beside those of the step."
            ),
            "cacheFrom": {
                "description": "A reference under which a registry keeps layers that may be taken.",
                **tag,
            },
            "cacheTo": {
                "description": "A reference under which a registry is to keep the layers, of all "
                "stages.",
                **tag,
            },
            "provenance": {
                "description": "Whether what the engine says of how the image was built is pushed "
                "with it. `false` if left out.",
                "type": "boolean",
            },
            "sbom": {
                "description": "Whether a list of what is in the image is pushed with it. `false` "
                "if left out.",
                "type": "boolean",
            },
        }
    )
    return {
        "description": "The image that the step builds from a Dockerfile, instead of running a "
        "script: see [images](images.md).",
        **whole,
    }
