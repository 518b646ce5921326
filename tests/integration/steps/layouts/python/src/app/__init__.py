"""A program that tells its version."""

import sys
from importlib.metadata import version


def main() -> None:
    sys.stdout.write(f"version={version('app')}\n")
