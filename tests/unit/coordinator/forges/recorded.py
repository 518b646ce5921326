"""The recorded payloads of all forges, with the headers that come with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.domain.pushes.deliveries import ForgeEvent, short_name
from coordinator.forges import FORGES

FOLDER = Path(__file__).parents[3] / "webhooks"
BEFORE = "5f1c0f1d8e7b3a29c4d6e8f0a1b2c3d4e5f60718"
AFTER = "9b8a7c6d5e4f30211203f4e5d6c7b8a990817263"
EVENT_HEADERS = {
    "bitbucket": "X-Event-Key",
    "generic": "X-Unused",
    "gitea": "X-Gitea-Event",
    "github": "X-GitHub-Event",
    "gitlab": "X-Gitlab-Event",
}
REPOSITORIES = {
    "bitbucket/cloud": "https://bitbucket.org/anna/shop.git",
    "bitbucket/data-center": "https://bitbucket.example.org/scm/shop/shop.git",
    "gitea": "https://git.example.org/anna/shop.git",
    "generic": "ssh://git@git.example.org/srv/shop.git",
    "github": "https://github.com/anna/shop.git",
    "gitlab": "https://gitlab.com/anna/shop.git",
}

HUGE = 10**30
WRONG = ("missing", None, HUGE, True, "x" * 2000, "\x00\ud800", [None, 7], {"x": [1]})
UNREAD = {"actor", "author", "committer", "owner", "pusher", "sender", "user", "workspace"}
"""People, of whom no event is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    forge: str
    path: str
    """Below FOLDER, without its ending."""
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        name = Path(self.path).name.partition(".")[0]
        event = name.replace("-", ":") if self.forge == "bitbucket" else name
        return {EVENT_HEADERS[self.forge]: event}

    @property
    def repository(self) -> str:
        return REPOSITORIES[str(Path(self.path).parent)]

    def event(self, body: bytes | None = None) -> ForgeEvent:
        return FORGES[self.forge].parse(self.headers, self.body if body is None else body).event


def all_recorded() -> list[Recorded]:
    return [
        Recorded(
            forge=file.relative_to(FOLDER).parts[0],
            path=str(file.relative_to(FOLDER).with_suffix("")),
            body=file.read_bytes(),
        )
        for file in sorted(FOLDER.rglob("*.json"))
    ]


def told(event: ForgeEvent) -> str:
    """What an event means, in a line."""
    if event.ignored is not None:
        return f"ignored: {event.ignored}"
    if event.closed is not None:
        return f"closed {event.closed}"
    pull = event.pull_request
    if pull is None:
        return ", ".join(
            f"{short_name(ref.ref)} {'deleted' if ref.after is None else ref.after[:3]}"
            f" from {ref.before[:3] if ref.before else 'nothing'}"
            for ref in event.refs
        )
    words = [f"{pull.number}: {pull.head_branch} into {pull.base_branch} at {pull.ref}"]
    words += ["opened"] if pull.opened else []
    words += [f"fork {pull.source_url}".replace(" None", "")] if pull.fork else []
    words += ["draft"] if pull.draft else []
    words += ["was draft"] if pull.was_draft else []
    words += [f"given {'+'.join(pull.labels_given)}"] if pull.labels_given is not None else []
    words += [f"of {'+'.join(pull.labels)}"] if pull.labels else []
    words += ["perhaps"] if pull.perhaps_pushed else []
    return "; ".join(words)


def all_fields() -> Iterator[tuple[Recorded, tuple[Any, ...]]]:
    """Each field of each kind of event once, with a payload that has it."""
    seen: set[tuple[Any, ...]] = set()
    for recorded in all_recorded():
        for path in _paths(json.loads(recorded.body)):
            key = (recorded.forge, *recorded.headers.values(), *path)
            if key not in seen:
                seen.add(key)
                yield recorded, path


def damaged(recorded: Recorded, path: tuple[Any, ...], wrong: Any) -> bytes:
    """The payload with something else at `path`."""
    return json.dumps(_damaged(json.loads(recorded.body), path, wrong)).encode()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: Any = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = dict(enumerate(value[:1]))
    for name, one in inner.items():
        if name in UNREAD:
            continue
        yield (*path, name)
        yield from _paths(one, (*path, name))


def _damaged(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    changed = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        changed[path[0]] = _damaged(value[path[0]], path[1:], wrong)
    elif wrong == "missing":
        del changed[path[0]]
    else:
        changed[path[0]] = wrong
    return changed
