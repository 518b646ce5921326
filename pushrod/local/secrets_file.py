"""Secrets from a file of lines `NAME=VALUE`."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from pipelines_schema import secret_name_problem
from pushrod.errors import describe_os_error
from pushrod.local.errors import CannotRun

MOST_BYTES = 1024 * 1024
QUOTES = "\"'"


def read_secrets(path: Path | None) -> Mapping[str, str]:
    """Empty lines and those that begin with `#` say nothing; a value in quotes loses these.

    Raises CannotRun for what can't be read, is no such line, or is open to others; never shows a
    value.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CannotRun(
            f"the secrets in {path} can't be read: {describe_os_error(error)}"
        ) from error
    if mode & 0o077:
        raise CannotRun(f"{path} holds secrets and is open to others: chmod 600 {path}")
    if len(data) > MOST_BYTES:
        raise CannotRun(f"{path} is larger than {MOST_BYTES // 1024} KiB: name a file of secrets")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CannotRun(f"{path} is not UTF-8") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() and not line.lstrip().startswith("#"):
            name, value = _pair(f"{path}:{number}", line)
            if name in found:
                raise CannotRun(f"{path}:{number}: {name} is given twice")
            found[name] = value
    return found


def _pair(place: str, line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    name = name.strip().removeprefix("export ").strip()
    fault = secret_name_problem(name) if equals else None
    if not equals or fault is not None:
        raise CannotRun(f"{place}: write NAME=VALUE" + (f": the name {fault}" if fault else ""))
    if len(value) > 1 and value[0] in QUOTES and value[-1] == value[0]:
        value = value[1:-1]
    if not value:
        raise CannotRun(f"{place}: the value of {name} is empty")
    return name, value
