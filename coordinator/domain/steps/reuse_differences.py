"""What differs between a step and an earlier success of it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coordinator.domain.steps.reuse import Parts

MAX_NAMED = 10

_WORDS = {
    "version": "another version of pushrod looked at it",
    "step": "the step's name changed",
    "workflow": "the workflow's name changed",
    "module": "another module or target was asked for",
    "commit": "the commit changed, which counts because of `git`",
    "git": "`git` changed",
    "image": "image digest changed",
    "script": "the script changed",
    "shell": "`shell` changed",
    "workdir": "`workdir` changed",
    "user": "`user` changed",
    "network": "`network` changed",
    "outputPaths": "`outputPaths` changed",
    "rest": "other keys of the step changed",
}
_NAMED = {
    "labels": ("label {}", "has another value"),
    "env": ("variable {}", "has another value"),
    "params": ("parameter {}", "has another value"),
    "matrix": ("matrix value {}", "changed"),
    "secrets": ("secret {}", "has another version"),
    "services": ("image of service {}", "changed"),
    "values": ("output {}", "has another value"),
    "dependencies": ("files of step {}", "changed"),
}

Files = Mapping[str, str]


def differences(
    now: Parts, before: Parts, files: Files | None = None, files_before: Files | None = None
) -> list[str]:
    """`files` are those of the two, path → what it is; None where they are no longer known."""
    found = list(_files(now, before, files, files_before))
    for part in sorted(now.keys() | before.keys()):
        if part != "files" and part not in _NAMED and now.get(part) != before.get(part):
            found.append(_WORDS.get(part, f"{part} changed"))
    for part, (subject, changed) in _NAMED.items():
        found += _named(now.get(part) or {}, before.get(part) or {}, subject, changed)
    return found


def _files(
    now: Parts, before: Parts, files: Files | None, files_before: Files | None
) -> Iterator[str]:
    if now.get("files") == before.get("files"):
        return
    if files is None or files_before is None:
        yield "files named by `inputs` changed"
        return
    yield from _some(list(_named(files, files_before, "{}", "changed")), "files")


def _some(told: Sequence[str], what: str) -> Iterator[str]:
    yield from told[:MAX_NAMED]
    if len(told) > MAX_NAMED:
        yield f"and {len(told) - MAX_NAMED} more {what}"


def _named(
    now: Mapping[str, Any], before: Mapping[str, Any], subject: str, changed: str
) -> list[str]:
    told = []
    for name in sorted(now.keys() | before.keys()):
        if now.get(name) == before.get(name):
            continue
        how = "is new" if name not in before else "is gone" if name not in now else changed
        told.append(f"{subject.format(name)} {how}")
    return told
