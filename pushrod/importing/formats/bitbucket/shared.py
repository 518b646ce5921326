"""What holds for all pipelines of a file: its image, services and caches."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines_schema.nodes import ListNode, MapNode, Node, ScalarNode
from pushrod.importing.draft import Value, WorkflowDraft
from pushrod.importing.ledger import Keys, spot_of
from pushrod.importing.sources import Source


@dataclass(slots=True, kw_only=True)
class Common:
    """What holds for all pipelines of a file."""

    source: Source
    image: str
    git: Value | None = None
    timeout: str | None = None
    services: dict[str, dict[str, Value]] = field(default_factory=dict)
    cache_keys: Keys | None = None
    drafts: list[WorkflowDraft] = field(default_factory=list)

    def begin(self, name: str, place: Node, on: dict[str, Value]) -> WorkflowDraft:
        draft = WorkflowDraft(
            name=name, ledger=self.source.ledger, place=place.place, on=on, skips_alone=True
        )
        self.drafts.append(draft)
        return draft


def read_image(keys: Keys, common: Common) -> str | None:
    if not isinstance(keys.peek("image"), MapNode):
        return keys.text("image")
    inner = keys.map("image")
    if inner is None:
        return None
    user = inner.text("run-as-user")
    if user:
        inner.left("run-as-user", f'write `user: "{user}"` in the steps')
    for name in ("username", "password", "email", "aws"):
        inner.changed(name, "log the project in once, by `pushrod registry`")
    return inner.text("name")


def read_clone(keys: Keys) -> Value | None:
    """Theirs fetches 50 commits unless told otherwise; ours one, and most need no more."""
    clone = keys.map("clone")
    if clone is None:
        return None
    depth = clone.text("depth")
    clone.take("lfs")
    clone.take("skip-ssl-verify")
    if clone.boolean("enabled") is False:
        clone.changed("enabled", "the files are there all the same, without `.git`")
        return False
    if depth == "full":
        return "full"
    return {"depth": int(depth)} if depth and depth.isdigit() and int(depth) > 1 else None


def cache_of(common: Common, name: str) -> Value | None:
    """A cache that the file defines; None where it doesn't."""
    caches = common.cache_keys
    if caches is None or name not in caches:
        return None
    inner = caches.map(name) if isinstance(caches.peek(name), MapNode) else None
    if inner is None:
        return {"path": caches.text(name) or name, "scope": "project"}
    key = inner.map("key")
    path = inner.text("path") or name
    files = [] if key is None else key.texts("files")
    return {"path": path, "key": list(files), "scope": "project"}


def tell_unused(common: Common) -> None:
    """Caches that no step names."""
    caches = common.cache_keys
    for name in () if caches is None else caches.names:
        if caches is not None and spot_of(caches.place(name)) not in caches.ledger.verdicts:
            caches.left(name, "no step uses it")


def read_definitions(keys: Keys, common: Common) -> None:
    definitions = keys.map("definitions")
    if definitions is None:
        return
    common.cache_keys = definitions.map("caches")
    services = definitions.map("services")
    for name in () if services is None else services.names:
        one = services.map(name) if services is not None else None
        if one is not None:
            common.services[name] = _service(one, common)
    # Anchors stand here, which are written out where they are used.
    for name in ("steps", "scripts", "script", "yaml-anchors"):
        for item in definitions.items(name, ScalarNode, ListNode):
            if isinstance(item, MapNode):
                inner = definitions.ledger.open(item, definitions.notes)
                inner.map("step")
    definitions.left("pipelines", "they are called where they stand in `pipelines`")


def _service(keys: Keys, common: Common) -> dict[str, Value]:
    image = read_image(keys, common)
    service: dict[str, Value] = {"image": image or "docker:dind"}
    if image is None or "dind" in image:
        service["privileged"] = True
    if env := keys.variables("variables"):
        service["env"] = dict(env)
    memory = keys.number("memory")
    if memory:
        service["memory"] = f"{memory}MiB"
    keys.take("type")
    return service
