"""Steps as somebody else has stored them: nothing of them is believed before it was looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipelines_schema.limits import MAX_FILE_BYTES
from pipelines_schema.workflow import Step


def read_sent_step(value: Mapping[str, Any]) -> Step:
    """What `Step.to_json` wrote, in the same release. Raises ValueError."""
    if len(_text(value)) > MAX_FILE_BYTES:
        raise ValueError(f"a step may have {MAX_FILE_BYTES} bytes")
    try:
        step = Step.from_json(value)
        _adapter().validate_python([step])
        written = _text(step.to_json())
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"][1:])
        raise ValueError(f"`{place}`: {error.errors()[0]['msg']}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"no step as this release stores them: {error!r}") from error
    if written != _text(value):
        raise ValueError("it has keys that this release does not know: use the coordinator's")
    return step


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@cache
def _adapter() -> TypeAdapter[list[Step]]:
    """Made at the first use: it takes a sixth of a second."""
    config = ConfigDict(revalidate_instances="always", strict=True)
    return TypeAdapter(list[Step], config=config)
