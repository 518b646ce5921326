"""Plugins of a Buildkite step: those that have an equal here."""

from __future__ import annotations

from pipelines_schema.nodes import MapNode, Node, ScalarNode
from pushrod.importing.draft import StepDraft
from pushrod.importing.ledger import Keys, Verdict


def read_plugins(keys: Keys, step: StepDraft) -> None:
    """docker's image is the step's; others are programs of the agent's machine."""
    for item in keys.items("plugins", ScalarNode):
        if isinstance(item, ScalarNode):
            _plugin(keys, item, item.text, None, step)
        elif isinstance(item, MapNode):
            one = keys.ledger.open(item, keys.notes)
            for name in one.names:
                inner = one.map(name) if isinstance(one.peek(name), MapNode) else None
                if inner is None:
                    one.take(name)
                _plugin(one, one.node, name, inner, step)


def _plugin(keys: Keys, place: Node, name: str, inner: Keys | None, step: StepDraft) -> None:
    short = name.partition("#")[0].rsplit("/", 1)[-1].removesuffix("-buildkite-plugin")
    if short == "docker" and inner is not None:
        step.image = inner.text("image") or step.image
        step.workdir = None
        for one in ("workdir", "propagate-environment", "always-pull", "mount-checkout", "init"):
            inner.take(one)
        for text in inner.texts("environment"):
            key, sign, value = text.partition("=")
            if sign:
                step.env[key] = value
            else:
                inner.left("environment", f"`{key}` is the agent's: name it in `secrets`")
        return
    if short == "artifacts" and inner is not None:
        step.output_paths += inner.texts("upload")
        inner.changed("download", "the outputs of the steps that it depends on are there")
        return
    if short == "cache" and inner is not None:
        path = inner.text("path")
        manifest = inner.texts("manifest")
        for one in ("restore", "save", "backend", "compression", "key-extra", "force"):
            inner.take(one)
        if path:
            step.cache_dirs.append({"path": path, "key": list(manifest)} if manifest else path)
        return
    if short in ("docker-login", "ecr", "gcr"):
        why = "log the project in once, by `pushrod registry`"
        keys.at(place, name, Verdict.CHANGED, why)
        for one in () if inner is None else inner.names:
            if inner is not None:
                inner.changed(one, why)
        return
    keys.at(place, name, Verdict.LEFT, "pushrod has no plugins: write what it does as commands")
    for one in () if inner is None else inner.names:
        if inner is not None:
            inner.left(one, "it belongs to the plugin")
