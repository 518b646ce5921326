"""Where a coordinator's settings come from, what is said of wrong ones, and their reference."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomli
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from coordinator.image_settings import ImageSettings
from coordinator.settings import Settings


class SettingsError(Exception):
    """A setting is unknown or has an impossible value; the message names it and its place."""


def load_settings(
    data: Path | None = None,
    listen: str | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    auth: str | None = None,
) -> Settings:
    """Raises SettingsError, which names the key and the file or variable it stands in."""
    values = _read_toml(config) if config else {}
    for name in Settings.model_fields:
        variable = f"PUSHROD_{name.upper()}"
        if text := (os.environ if environ is None else environ).get(variable):
            values[name] = text
    given = {"data": data, "listen": listen, "auth": auth}
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        arguments = [name for name, value in given.items() if value is not None]
        raise SettingsError(_explain(error, config, arguments)) from error
    return settings.model_copy(update={"data": settings.data.expanduser().absolute()})


def checked_settings(data: Path, values: Mapping[str, Any]) -> Settings:
    """Some settings that are given otherwise, the others as by default. Raises SettingsError."""
    try:
        return Settings.model_validate({"data": data, **values})
    except ValidationError as error:
        raise SettingsError(_explain(error, None, ())) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error


WRITE = {
    "listen": "HOST:PORT with a port up to 65535, such as 127.0.0.1:3000 or [::1]:3000",
    "peer_listen": "HOST:PORT with a port up to 65535, such as 10.0.0.2:3001",
    "peer_address": "HOST:PORT with a port up to 65535, such as 10.0.0.2:3001",
    "public_url": "the URL without a path, such as https://ci.example.org",
    "database": "postgresql://USER@HOST/NAME without a password, which is read from "
    "database_password_file, PGPASSWORD or ~/.pgpass",
    "objects": "a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
    "objects_endpoint": "the URL of the store, such as https://s3.example.org, without a password",
    "otlp_endpoint": "a URL such as http://127.0.0.1:4318",
    "trusted_proxies": "addresses or networks, such as 127.0.0.1 or 10.0.0.0/8",
}
"""Of settings whose rule is a pattern."""
TYPES: Mapping[Any, str] = {
    int: "a whole number",
    int | None: "a whole number",
    float: "a number",
    bool: "true or false",
}


_PASSWORD = re.compile(r"(?<=://)[^/@\s]*:[^@\s]*(@|$)|(?<=password=)[^&\s]*")
HIDDEN = "***"


def _explain(error: ValidationError, config: Path | None, arguments: Sequence[str]) -> str:
    return "; ".join(_sentence(problem, config, arguments) for problem in error.errors())


def _sentence(problem: ErrorDetails, config: Path | None, arguments: Sequence[str]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if not name:
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(Settings.model_fields))
        return f"unknown setting `{name}` in {config}; known are {known}"
    called = f"setting `{name}` (PUSHROD_{name.upper()})"
    if name in arguments:
        called = f"`--{name}`"
    given = _PASSWORD.sub(HIDDEN, str(problem["input"])[:100])
    return f"{called} is {given!r}: write {_wanted(name)}"


def _wanted(name: str) -> str:
    if name in WRITE:
        return WRITE[name]
    setting = Settings.model_fields[name]
    if get_origin(setting.annotation) is Literal:
        return f"one of {_allowed(setting)}"
    kind = TYPES.get(setting.annotation, "text")
    return " ".join([kind, *filter(None, [_allowed(setting)])])


OF_IMAGES = ImageSettings.model_fields
"""They stand last."""
REFERENCE_HEAD = """\
# Settings of the coordinator

Written by `python -m coordinator.settings_file`; a test keeps it equal to the code.

A setting is a key of the TOML file that `pushrod coordinator --config FILE` reads, or a variable in
the environment; the variable wins over the file, and the command line (`--data`, `--listen`,
`--auth`) over both. `pushrod up` takes the variables too. An unknown key and an impossible value
are errors, told at the start.
"""


def reference() -> str:
    """Every setting, in Markdown."""
    fields = sorted(Settings.model_fields.items(), key=lambda item: item[0] in OF_IMAGES)
    rows = [_reference_row(name, field) for name, field in fields]
    head = "| key | variable | default | allowed | meaning |\n|---|---|---|---|---|"
    return "\n".join([REFERENCE_HEAD, head, *rows]) + "\n"


def _reference_row(name: str, field: FieldInfo) -> str:
    default = "~/.local/share/pushrod" if name == "data" else field.default
    shown = "" if default in (None, ()) else f"`{_plain(default)}`"
    words = f"`{name}`", f"`PUSHROD_{name.upper()}`", shown, _allowed(field), field.description
    return "| " + " | ".join(str(word) for word in words) + " |"


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(field.annotation))
    limits = {
        sign: _plain(getattr(limit, sign))
        for limit in field.metadata
        for sign in ("ge", "gt", "le")
        if hasattr(limit, sign)
    }
    if "ge" in limits and "le" in limits:
        return f"{limits['ge']} to {limits['le']}"
    words = {"ge": "at least {}", "gt": "above {}", "le": "at most {}"}
    return ", ".join(words[sign].format(limits[sign]) for sign in words if sign in limits)


def _plain(value: object) -> str:
    """20 rather than 20.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
