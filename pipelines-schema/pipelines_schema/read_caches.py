"""The `cacheDirs` of a step → `CacheFolder`s, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.cache_folders import CacheFolder, CacheScope
from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_PATHS
from pipelines_schema.nodes import ListNode, MapNode, Node
from pipelines_schema.paths import BadPath, normalised_cache_dir
from pipelines_schema.patterns import path_pattern_problem
from pipelines_schema.problem import Place, shown
from pipelines_schema.suggestions import closest

CACHE = Vocabulary(
    where="an item of `cacheDirs`",
    known=("path", "key", "scope"),
    synonyms={
        "paths": "write an item for each `path`",
        "dir": "write `path`",
        "keys": "write `key`, a list of files",
        "files": "write `key`, a list of files",
        "restoreKeys": "a new cache begins as a copy of the newest by itself",
        "restore-keys": "a new cache begins as a copy of the newest by itself",
        "fallback": "a new cache begins as a copy of the newest by itself",
    },
)
_HINT = "write a list of paths, or remove the key"
_SCOPES = [scope.value for scope in CacheScope]


def read_caches(reading: Reading, entry: Field | None) -> tuple[CacheFolder, ...]:
    if entry is None:
        return ()
    found: dict[str, CacheFolder] = {}
    for item in reading.items(entry, _HINT, MAX_PATHS):
        place, cache = _cache(reading, entry, item)
        if cache is None:
            continue
        if cache.path in found:
            reading.add(place, f"`cacheDirs` names {shown(cache.path)} twice: remove one of them")
        found[cache.path] = cache
    return tuple(found.values())


def _cache(reading: Reading, entry: Field, item: Node) -> tuple[Place, CacheFolder | None]:
    if not isinstance(item, MapNode) or reading.is_json:
        path = _path(reading, item.place, reading.item_text(entry, item))
        return item.place, None if path is None else CacheFolder(path=path)
    fields = reading.fields(item, CACHE)
    key, scope = _key(reading, fields.get("key")), _scope(reading, fields.get("scope"))
    if "path" not in fields:
        reading.add(item.place, "an item of `cacheDirs` needs `path`: the folder to keep")
        return item.place, None
    written = fields["path"]
    text = reading.text(written, "write the path of a folder, such as `~/.cache/pip`")
    if text is None or reading.refuse_expressions(written.value):
        return written.place, None
    path = _path(reading, written.place, text)
    return written.place, None if path is None else CacheFolder(path=path, key=key, scope=scope)


def _path(reading: Reading, place: Place, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return normalised_cache_dir(text)
    except BadPath as error:
        reading.add(place, f"the path {shown(text)} of `cacheDirs` {error}")
        return None


def _key(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    hint = "write a list of files, such as `[package-lock.json]`"
    found: dict[str, None] = {}
    for place, pattern in reading.texts(entry, hint, MAX_PATHS, one_allowed=True):
        problem = path_pattern_problem(pattern)
        if problem is not None:
            reading.add(place, f"the pattern {shown(pattern)} of `key` {problem}")
        elif pattern in found:
            reading.add(place, f"`key` names {shown(pattern)} twice: remove one of them")
        found[pattern] = None
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"`key` is empty: {hint}, or remove it")
    return tuple(found)


def _scope(reading: Reading, entry: Field | None) -> CacheScope:
    hint = "write `step`, `project` or `branch`"
    word = None if entry is None else reading.text(entry, hint)
    if entry is None or word is None:
        return CacheScope.STEP
    if word not in _SCOPES:
        near = closest(word, _SCOPES)
        meant = f"did you mean `{near}`?" if near else hint
        reading.add(entry.place, f"unknown scope {shown(word)}: {meant}")
        return CacheScope.STEP
    return CacheScope(word)
