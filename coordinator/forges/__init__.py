"""Forges: is a webhook theirs, and what does it say? Pure: one module per forge.

Each has `verify(secret, headers, body)` and `parse(headers, body)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from coordinator.forges import generic, github

FORGES: Mapping[str, ModuleType] = {"github": github, "generic": generic}
