"""Why artifacts can't be had or stored."""

from __future__ import annotations


class ArtifactError(Exception):
    """An artifact can't be fetched or stored; the message names it and says why."""


class DamagedError(Exception):
    """An artifact came with another content than its digest says."""
