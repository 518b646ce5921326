"""Where a login leads to."""

from __future__ import annotations

import re

_LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")


def next_path(asked: str | None) -> str:
    """`asked` if it is a path of this site, else `/`: a login never leads elsewhere.

    `//host` and `/\\host` name another site to browsers, which also drop tabs and line breaks.
    """
    return asked if asked and _LOCAL_PATH.fullmatch(asked) else "/"
