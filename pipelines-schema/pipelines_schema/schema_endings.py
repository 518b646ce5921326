"""The part of the workflow's JSON Schema on the end of an attempt, and what follows it."""

from __future__ import annotations

from typing import Any

from pipelines_schema import limits
from pipelines_schema.schema_shapes import duration, object_of
from pipelines_schema.workflow import Ending


def timeout() -> dict[str, Any]:
    return duration(
        "How long one attempt may run: `90s`, `10m`, `1h30m` or whole seconds, at "
        "most 24 hours. One hour if left out. Its source, with submodules and LFS files, must be "
        "there within the same time, which is counted apart.",
        limits.MAX_TIMEOUT_SECONDS,
    )


def queue_timeout() -> dict[str, Any]:
    return duration(
        "How long the step may wait for an agent once it could run: `90s`, `10m`, "
        "`1h30m` or whole seconds, at most 168 hours; then it fails with what it waits for. 24 "
        "hours if left out, unless the coordinator's `queue_timeout_seconds` says otherwise.",
        limits.MAX_QUEUE_TIMEOUT_SECONDS,
    )


def grace() -> dict[str, Any]:
    return duration(
        "How long the script may take to end once it is asked to, by SIGTERM to its process "
        "group: at its timeout, at a cancel, and when its agent is told to stop at once. Then it "
        "is killed. `30s`, `2m` or whole seconds, at most 5 minutes; `0` kills it without asking. "
        "10 seconds if left out.",
        limits.MAX_GRACE_SECONDS,
        least_seconds=0,
    )


def retries() -> dict[str, Any]:
    count = {
        "description": "Attempts after the first.",
        "type": "integer",
        "minimum": 0,
        "maximum": limits.MAX_RETRIES,
    }
    cause = {"$ref": "#/$defs/retryCause"}
    causes = {
        "description": "After what another attempt is made: the agent was lost, the time was up, "
        "the script failed, or ended with the code of `exit:N`. The first three if left out.",
        "anyOf": [
            {
                "type": "array",
                "minItems": 1,
                "maxItems": limits.MAX_PATHS,
                "uniqueItems": True,
                "items": cause,
            },
            cause,
        ],
    }
    delay = duration(
        "How long the step waits before each further attempt, out of the queue and without a "
        "place in its `concurrency`: `30s`, `5m` or whole seconds, at most one hour. At once if "
        "left out.",
        limits.MAX_RETRY_DELAY_SECONDS,
        least_seconds=0,
    )
    return {
        "description": "How often the step is tried again, whatever for. If left out: twice, and "
        "only where its agent was lost. `0` is never, not even then.",
        "anyOf": [
            count,
            object_of({"max": count, "on": causes, "delay": delay}, required=["max"]),
        ],
    }


def run_on() -> dict[str, Any]:
    ending = {"type": "string", "enum": [ending.value for ending in Ending]}
    return {
        "description": "How the dependencies must have ended for the step to run: `success` (all "
        "of them, the default), `failure` (at least one failed), both: always, but after a cancel. "
        "`cancelled`: after a cancel, if one of them had begun; a second cancel ends it, too.",
        "anyOf": [
            {
                "type": "array",
                "minItems": 1,
                "maxItems": len(Ending),
                "uniqueItems": True,
                "items": ending,
            },
            ending,
        ],
    }
