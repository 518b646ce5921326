"""The log as JSON: a line is about what was bound and what was said."""

from __future__ import annotations

import json
import logging
import sys

import structlog
from structlog.contextvars import bound_contextvars

from pushrod.json_log import JsonLines
from pushrod.serving import _as_log_record


def record_of(message: str, **fields: object) -> logging.LogRecord:
    """As the standard logger makes it of a structlog event."""
    arguments, options = _as_log_record(None, "info", {"event": message, **fields})
    logger = logging.getLogger("some.module")
    return logger.makeRecord(
        logger.name, logging.INFO, "", 0, arguments[0], arguments[1:], None, extra=options["extra"]
    )


def test_an_events_values_are_members() -> None:
    line = json.loads(JsonLines().format(record_of("a thing", build="b1", count=3)))
    assert line["event"] == "a thing"
    assert (line["build"], line["count"], line["logger"]) == ("b1", 3, "some.module")


def test_what_is_bound_is_told_with_each_line_also_of_other_loggers() -> None:
    plain = logging.LogRecord("agent.x", logging.WARNING, "", 0, "attempt %s", ("a-1",), None)
    with bound_contextvars(step="s1", attempt="a-1"):
        line = json.loads(JsonLines().format(plain))
    assert (line["event"], line["step"], line["attempt"]) == ("attempt a-1", "s1", "a-1")
    assert line["level"] == "warning"


def test_nothing_said_takes_the_place_of_what_a_line_always_has() -> None:
    line = json.loads(JsonLines().format(record_of("a thing", level="mine", time="never")))
    assert (line["level"], line["time"] != "never") == ("info", True)


def test_an_error_is_one_line_with_its_traceback() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "ValueError" in json.loads(text)["error"]
    structlog.reset_defaults()
