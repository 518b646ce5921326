"""Greets whoever is named, and says which version does."""

import sys
from pathlib import Path

VERSION_FILE = Path("/etc/greet-version")


def greeting(name: str, version: str = "") -> str:
    said = f"Hello, {name or 'world'}!"
    return f"{said} (greet {version})" if version else said


def version() -> str:
    try:
        return VERSION_FILE.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    print(greeting(" ".join(sys.argv[1:]), version()))
