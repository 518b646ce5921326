"""The log as a JSON object a line, for programs that gather logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `event`, and the ids that it is about: `build`, `step`, `attempt`,
    `agent`, `trace_id` and whatever else was said, under its own name."""

    def format(self, record: logging.LogRecord) -> str:
        from structlog.contextvars import get_contextvars

        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", None) or record.getMessage(),
        }
        for name, value in (get_contextvars() | getattr(record, "fields", {})).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
