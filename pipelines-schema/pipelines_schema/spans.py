"""What a build's trace consists of, and how its parts are named: by what they are of, so that
whoever tells of one needs no memory of another, and a restart changes nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")
Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    name: str
    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16."""
    parent_id: str | None
    began_ns: int
    """Since 1970."""
    ended_ns: int
    failed: bool = False
    attributes: Mapping[str, Value]


Emit = Callable[[Span], None]
"""Takes a span at once, and never fails."""


def trace_of_build(build_id: str) -> str:
    """A build's id is random, and as long as a trace's."""
    return build_id.replace("-", "") if _is_uuid(build_id) else _digest(build_id, 32)


def span_of(*names: str) -> str:
    """Of the thing that these name: `build`, its id; `attempt`, its id, …"""
    return _digest("\0".join(names), 16)


def attempt_traceparent(build_id: str, attempt_id: str) -> str:
    """As W3C Trace Context has it: spans below the attempt's."""
    return f"00-{trace_of_build(build_id)}-{span_of('attempt', attempt_id)}-01"


def read_traceparent(text: str) -> tuple[str, str] | None:
    """Trace and span; None for what is none, or not to be recorded."""
    found = _TRACEPARENT.fullmatch(text)
    return None if found is None else (found[1], found[2])


def _is_uuid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
