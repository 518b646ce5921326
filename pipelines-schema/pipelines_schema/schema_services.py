"""The part of the workflow's JSON Schema that describes `services`."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import TEXT_TYPES, described, duration, object_of, text


def services(image: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """`image` and `user` as a step has them."""
    words = {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.MAX_COMMAND_WORDS,
        "items": {"type": TEXT_TYPES, "maxLength": limits.MAX_WORD_CHARACTERS},
    }
    parts = {
        "image": {**image, "description": "Image of the service: a slug, or a reference."},
        "env": described("env", "Environment variables of the service; it has no others."),
        "command": {
            "description": "Words that follow the image's entry point, instead of its command.",
            **words,
        },
        "ready": _ready(words),
        "user": {**user, "description": "The numbers of the user, and its group, it runs as."},
        "memory": {
            "description": "The most memory: a number with `KiB`, `MiB`, `GiB` or `TiB`.",
            "type": "string",
            "pattern": f"^{limits.MEMORY}$",
        },
        "privileged": privileged("The service"),
    }
    return {
        "description": "What runs beside the step, in containers of their own, each reached by "
        "its name. They start one after the other, each once those before it are ready; the "
        "script starts after the last, and they end with it.",
        "type": "object",
        "maxProperties": limits.MAX_SERVICES,
        "propertyNames": {"pattern": f"^(?!localhost$){limits.SERVICE_NAME}$"},
        "additionalProperties": object_of(parts, ["image"]),
    }


def privileged(what: str) -> dict[str, Any]:
    return {
        "description": f"{what} has all rights over the engine's machine, as Docker needs them to "
        "run in it: only of a project that an administrator trusts, on agents that allow it, never "
        "for forks. `false` if left out.",
        "type": "boolean",
    }


def _ready(words: dict[str, Any]) -> dict[str, Any]:
    ways = {
        "tcp": {
            "description": "A port that takes connections.",
            "type": "integer",
            "minimum": 1,
            "maximum": 65535,
        },
        "http": text(
            "A URL, with the service's name as host, that answers with a status from 200 to 399.",
            limits.MAX_WORD_CHARACTERS,
            pattern="^http://[^ ]+$",
        ),
        "exec": {
            "description": "A command in the service that ends with 0: text for `sh`, or words.",
            "anyOf": [
                words,
                {
                    "type": TEXT_TYPES,
                    "minLength": 1,
                    "maxLength": limits.MAX_WORD_CHARACTERS,
                },
            ],
        },
    }
    timeout = duration(
        "How long it may take; the step fails then. A minute if left out.",
        limits.MAX_READY_SECONDS,
    )
    return {
        "description": "When the service may be used: exactly one of `tcp`, `http` and `exec`. "
        "Left out: once it was started.",
        **object_of({**ways, "timeout": timeout}),
        "oneOf": [{"required": [way]} for way in ways],
    }
