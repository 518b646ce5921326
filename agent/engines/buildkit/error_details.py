"""Where in a Dockerfile a build failed, from the details that BuildKit adds to its error.

The details are a google.rpc.Status whose parts hold JSON; the Dockerfile itself is among them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.message import DecodeError

from agent.engines.buildkit.failures import FailedPlace
from agent.engines.buildkit.pb import status_pb2

SOURCE = "errdefs.Source+json"


def failed_place(details: bytes) -> FailedPlace | None:
    """None where the details name no place, or are not as they should be."""
    try:
        parts = status_pb2.Status.FromString(details).details
        for part in parts:
            if part.type_url.endswith(SOURCE):
                return _place(json.loads(part.value))
    except (DecodeError, ValueError, KeyError, TypeError, IndexError):
        return None
    return None


def _place(source: Any) -> FailedPlace | None:
    lines = base64.b64decode(source["info"]["data"]).decode(errors="replace").splitlines()
    first, last = _span(source["ranges"])
    if not 1 <= first <= len(lines):
        return None
    words = (line.strip().removesuffix("\\").strip() for line in lines[first - 1 : last])
    return FailedPlace(line=first, instruction=" ".join(word for word in words if word))


def _span(ranges: Any) -> tuple[int, int]:
    """The first and last line of the first range; a heredoc has a range for each line."""
    first = ranges[0]["start"]["line"]
    return first, max(one.get("end", one["start"]).get("line", first) for one in ranges)
