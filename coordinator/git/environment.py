"""The environment in which we run the git command: nothing inherited but PATH."""

from __future__ import annotations

import os
from collections.abc import Mapping

BOUNDED_MEMORY = {
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "pack.deltaCacheSize": "32m",
    "core.bigFileThreshold": "16m",
    "core.deltaBaseCacheLimit": "32m",
    "core.packedGitLimit": "256m",
    "core.packedGitWindowSize": "16m",
}
"""Keeps one git process below about 200 MB, so that several may run beside the coordinator."""


def git_environment(config: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a git process of ours.

    No configuration of the machine or the user is read. `config` is given as command scope, the
    only one besides those two in which git believes `safe.directory`.
    """
    entries = {
        **BOUNDED_MEMORY,
        # Whoever owns the data folder: the operator named it.
        "safe.directory": "*",
        "core.hooksPath": os.devnull,
        **config,
    }
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(entries)),
    }
    for index, (key, value) in enumerate(entries.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment
