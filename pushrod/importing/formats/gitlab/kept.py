"""What a GitLab job keeps: caches and artifacts."""

from __future__ import annotations

from collections.abc import Callable

from pipelines_schema.nodes import ListNode, MapNode
from pushrod.importing.draft import StepDraft, Value
from pushrod.importing.keeps import is_among, kept_for, output
from pushrod.importing.ledger import Keys
from pushrod.importing.waiting import WAITING, why_waiting

Filled = Callable[[str, str], str | None]
_KEPT = "artifacts are kept also of a script that failed"
_NO_EXPIRY = "write `keep`, a duration from a minute on; a pinned build keeps all that it has"
_KNOWN_REPORTS = {"junit": "junit", "coverage_report": "coverage"}


def read_caches(keys: Keys, step: StepDraft, filled: Filled) -> None:
    if isinstance(keys.peek("cache"), ListNode):
        for item in keys.items("cache"):
            if isinstance(item, MapNode):
                _cache(keys.ledger.open(item, keys.notes), step, filled)
        return
    inner = keys.map("cache") if "cache" in keys else None
    if inner is not None:
        _cache(inner, step, filled)


def _cache(keys: Keys, step: StepDraft, filled: Filled) -> None:
    files: list[str] = []
    scope = "project"
    if isinstance(keys.peek("key"), MapNode):
        key = keys.map("key")
        if key is not None:
            files = key.texts("files") or key.texts("files_commits")
            key.take("prefix")
    else:
        text = keys.text("key") or ""
        if "REF" in text or "BRANCH" in text:
            scope = "branch"
        elif "JOB" in text:
            scope = "step"
    if keys.text("policy") == "pull":
        keys.changed("policy", "a step that reads a cache also writes it")
    keys.take("fallback_keys")
    keys.take("unprotect")
    keys.changed("when", "what a step leaves in a cache is kept however it ends")
    keys.left("untracked", "name the folders")
    for written in keys.texts("paths"):
        path = filled("cache", written)
        path = (path or "").removesuffix("/").removesuffix("/*").removesuffix("/**")
        if not path or "*" in path:
            keys.left("paths", "a cache is a folder, and no pattern")
            continue
        entry: dict[str, Value] = {"path": path}
        if files:
            entry["key"] = list(files)
        if scope != "step":
            entry["scope"] = scope
        step.cache_dirs.append(entry if len(entry) > 1 else path)


def read_artifacts(keys: Keys, step: StepDraft, filled: Filled) -> list[str]:
    """The files of variables for later jobs."""
    artifacts = keys.map("artifacts")
    if artifacts is None:
        return []
    expiry = artifacts.text("expire_in")
    keep = None if expiry is None else kept_for(expiry)
    if expiry is not None and keep is None:
        artifacts.left("expire_in", _NO_EXPIRY)
    for written in artifacts.texts("paths"):
        path = filled("artifacts", written)
        if path and not is_among(path, step.output_paths):
            step.output_paths.append(output(path, keep))
    artifacts.take("name")
    if artifacts.text("when") == "on_failure":
        artifacts.changed("when", _KEPT)
    artifacts.left("exclude", "name what is to be kept, and not what isn't")
    artifacts.left("untracked", "name the files")
    for name in ("expose_as", "public", "access"):
        artifacts.left(name, "who may see the project may see its artifacts")
    reports = artifacts.map("reports")
    return [] if reports is None else _reports(reports, step)


def _reports(reports: Keys, step: StepDraft) -> list[str]:
    for name in reports.names:
        if name in _KNOWN_REPORTS:
            paths = _report_paths(reports, name)
            found: Value = paths[0] if len(paths) == 1 else list(paths)
            if paths:
                step.reports[_KNOWN_REPORTS[name]] = found
            step.output_paths += [one for one in paths if not is_among(one, step.output_paths)]
            if "reports" in WAITING:
                reports.left(name, why_waiting("reports"))
        elif name != "dotenv":
            reports.left(name, "pushrod reads no such reports")
    if "dotenv" in reports:
        files = reports.texts("dotenv")
        why = "later steps find each value as PUSHROD_OUTPUT_<STEP>_<NAME>"
        reports.changed("dotenv", why)
        return files
    return []


def _report_paths(reports: Keys, name: str) -> list[str]:
    if not isinstance(reports.peek(name), MapNode):
        return reports.texts(name)
    inner = reports.map(name)
    if inner is None:
        return []
    inner.take("coverage_format")
    return inner.texts("path")
